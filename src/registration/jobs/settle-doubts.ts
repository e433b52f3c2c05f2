import { setTimeout as sleep } from 'node:timers/promises'
import { abortAfter } from '../../abort-after.ts'
import type { Config } from '../../config.ts'
import { isLogged } from '../../errors.ts'
import type { Registration } from '../../store/records.ts'
import type { RegistrationDeps } from '../deps.ts'
import { waitsForOperator } from '../lifecycle.ts'
import { undoAnswers } from '../remove-keys.ts'
import { isUsedByCaller } from '../used-by-caller.ts'
import { readDaysUsed } from './days-used.ts'

/** The maximum number of registrations of one round: API Gateway has no more keys. */
const ROUND = 10_000
/** The maximum number of registrations that are settled together. */
const AT_ONCE = 20

export type SettleDeps = Pick<
  RegistrationDeps,
  'store' | 'lowPriorityApiGateway' | 'clock' | 'clockCheck' | 'timing' | 'leases' | 'log'
> & { readonly config: Pick<Config, 'inDoubtMs'> }

/**
 * The result for a registration or rotation that was in doubt. `undone`: its key is deleted and its use refunded. `open`: it
 * could not be settled and a later round tries again, or something else settled it meanwhile.
 */
export type DoubtOutcome = 'delivered' | 'undone' | 'open'

export interface Settled {
  readonly registration: Registration
  readonly outcome: DoubtOutcome
}

/**
 * Settles registrations and rotations that have been in doubt for `config.inDoubtMs`. A rotation counts as delivered: its owner
 * has the management token, and can rotate again. So does a registration whose key was used; any other is undone. One that a
 * retry can ask for stays in doubt until its idempotency key is forgotten, and one whose usage cannot be read until it can.
 * Settles nothing while the clock is in doubt, and undoes nothing that waits for an operator. Safe to run in several processes at once.
 * @param stop ends the round after the present registrations
 * @returns the results; the reason for `open` is logged
 * @throws ServiceError of the store, if it cannot list the work
 */
export async function settleDoubts(deps: SettleDeps, stop?: AbortSignal): Promise<Settled[]> {
  const { store, clock, clockCheck, config, log } = deps
  const now = await clockCheck.certainNow()
  if (now === undefined) return []
  const answeredBy = now - config.inDoubtMs
  const restoredAsOf = await store.findRestore()
  const over = await store.listInDoubt(answeredBy, ROUND)
  const rotations = over.filter(({ rotation }) => rotation !== null)
  if (rotations.length > 0) await store.markDelivered(idsOf(rotations), clock())
  const settled: Settled[] = rotations.map((registration) => ({ registration, outcome: 'delivered' }))

  const own = over.filter(({ rotation, idempotency }) => rotation === null && idempotency === null)
  const readUses = createUseReader(deps, stop)
  for (let next = 0; next < own.length && !stop?.aborted; next += AT_ONCE) {
    const some = own.slice(next, next + AT_ONCE)
    const { used, unused } = await readUses(some)
    const outcomes = new Map<string, DoubtOutcome>()
    const limit = abortAfter(deps.timing.undo)
    const undone = new Set<string>()
    try {
      if (used.length > 0) await store.markDelivered(used, clock())
      for (const id of used) outcomes.set(id, 'delivered')
      const waiting = new Set(idsOf(some.filter((one) => waitsForOperator(one, restoredAsOf, now))))
      const over = some.filter(({ id }) => unused.includes(id) && !waiting.has(id))
      await undoAnswers(deps, over, answeredBy, { failure: 'undelivered', undone, signal: limit.signal })
    } catch (err) {
      log.warn({ registration_ids: idsOf(some), err }, 'could not settle registrations in doubt; will retry')
    } finally {
      limit.cancel()
    }
    for (const id of undone) outcomes.set(id, 'undone')
    settled.push(
      ...some.map((registration) => ({ registration, outcome: outcomes.get(registration.id) ?? 'open' })),
    )
  }
  for (const { registration, outcome } of settled) {
    const { id, tokenId } = registration
    if (outcome !== 'open') log.info({ registration_id: id, token_id: tokenId, outcome }, 'doubt settled')
  }
  return settled
}

const idsOf = (some: readonly Registration[]) => some.map(({ id }) => id)

/** The ids of registrations whose keys were used, and of those whose keys were not; others could not be read. */
interface Uses {
  readonly used: string[]
  readonly unused: string[]
}

/** Creates a reader for one round. After a usage plan could not be read, it leaves out the other keys of that plan. */
function createUseReader(
  { lowPriorityApiGateway, clock, timing, log }: SettleDeps,
  stop?: AbortSignal,
): (some: readonly Registration[]) => Promise<Uses> {
  const unreadable = new Set<string>()
  return async (some) => {
    const uses: Uses = { used: [], unused: [] }
    for (const one of some) {
      if (stop?.aborted || unreadable.has(one.usagePlanId)) continue
      const limit = abortAfter(timing.undo)
      try {
        const days = await readDaysUsed(lowPriorityApiGateway, one, clock(), limit.signal)
        const known = isUsedByCaller(one, days) ? uses.used : uses.unused
        known.push(one.id)
      } catch (err) {
        unreadable.add(one.usagePlanId)
        const fields = { registration_id: one.id, usage_plan_id: one.usagePlanId, err }
        if (!isLogged(err)) log.warn(fields, 'could not read whether keys in doubt were used; will retry')
      } finally {
        limit.cancel()
      }
      await sleep(timing.endSpacing)
    }
    return uses
  }
}
