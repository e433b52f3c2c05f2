import { codeOf, ServiceError } from '../../errors.ts'
import type { Completed } from '../../store/minting.ts'
import type { Credential, RegistrationDeps } from '../deps.ts'
import { abortAfter } from '../idempotency/deadline.ts'
import { undo } from '../remove-keys.ts'
import { callerGone, isAwaited, type PendingMint } from './mint-request.ts'

/** A work whose key is made, attached and checked. */
export interface Minted {
  readonly work: PendingMint
  readonly apiKeyId: string
  /** Whether the API takes it; `null` or left out: nobody looked. */
  readonly ready?: boolean | null
}

/**
 * Records registrations as `active`, all in one transaction, and answers their orders.
 *
 * Without an idempotency key nobody can ask for the result later, so what nobody waits for any more is undone. With
 * one the key waits for the retry.
 * @returns the ids of those that became `active`
 */
export async function complete(deps: RegistrationDeps, minted: readonly Minted[]): Promise<Set<string>> {
  const { clock, store } = deps
  for (const { work } of minted) work.keyMayExist = true
  const isWanted = ({ work }: Minted) => work.registration.idempotency !== null || isAwaited(work.order)
  const { wanted = [], unwanted = [] } = Object.groupBy(minted, (one) =>
    isWanted(one) ? 'wanted' : 'unwanted',
  )
  try {
    const completions = wanted.map(({ work, apiKeyId }) => ({
      id: work.id,
      owner: work.owner,
      registration: work.registration,
      actor: work.order.call.actor,
      apiKeyId,
      isAwaited: () => isAwaited(work.order),
    }))
    const completed =
      wanted.length === 0
        ? new Map<string, Completed>()
        : await store.completeRegistrations(completions, clock())
    const unheard: PendingMint[] = []
    for (const { work, apiKeyId, ready = null } of wanted) {
      const one = completed.get(work.id)
      if (one === undefined) continue
      if (one.answered && isLostForGood(work)) unheard.push(work)
      else answer(work, { apiKeyId, ready, replaced: one.replaced }, clock())
    }
    await withdraw(deps, unheard)
    const lost = wanted.filter(({ work }) => !completed.has(work.id))
    await fail(deps, worksOf(lost), overtaken())
    await fail(deps, worksOf(unwanted), callerGone())
    return new Set(completed.keys())
  } catch (error) {
    await fail(deps, worksOf(minted), error)
    return new Set()
  }
}

/** Whether nobody waits any more, and nobody can ask again. The owner of a rotated key can: by rotating it once more. */
function isLostForGood({ registration, order }: PendingMint): boolean {
  return registration.idempotency === null && registration.rotation === null && !isAwaited(order)
}

/** While the answers were recorded their callers gave up: they are undone. */
async function withdraw(deps: RegistrationDeps, unheard: readonly PendingMint[]): Promise<void> {
  if (unheard.length === 0) return
  const lease = deps.leases.hold()
  try {
    const ids = unheard.map(({ id }) => id)
    await deps.store.withdrawAnswers(ids, lease)
    await fail(
      deps,
      unheard.map((work) => ({ ...work, owner: lease.owner })),
      callerGone(),
    )
  } finally {
    deps.leases.drop(lease.owner)
  }
}

const worksOf = (minted: readonly Minted[]) => minted.map(({ work }) => work)

function answer(
  { registration, answer, order }: PendingMint,
  { apiKeyId, ready, replaced }: Pick<Credential, 'apiKeyId' | 'ready' | 'replaced'>,
  now: number,
): void {
  const { id, tokenId, plan, createdAt, rotation } = registration
  const fields = { registration_id: id, token_id: tokenId, plan, api_key_id: apiKeyId, ms: now - createdAt }
  if (rotation === null) order.call.log.info(fields, 'registered')
  else order.call.log.info({ ...fields, rotation_of: rotation.of }, 'rotated')
  order.resolve({ registration, apiKeyId, answer, replaced, ready, replayed: order.begun !== null })
}

/** This process slept through its lease, and recovery or a retry elsewhere took the registration over. */
function overtaken(): ServiceError {
  return new ServiceError('upstream_unavailable', 'The registration took too long and was taken over.', {
    retryAfter: 1,
  })
}

/**
 * Undoes registrations, and only then answers their orders with `error`: a retry finds its use given back. What cannot
 * be undone now stays pending, for recovery.
 */
export async function fail(
  deps: RegistrationDeps,
  works: readonly PendingMint[],
  error: unknown,
): Promise<void> {
  if (works.length === 0) return
  const { clock, log, store, timing } = deps
  const failure = codeOf(error)
  for (const { id, registration, order } of works) {
    const fields = { registration_id: id, token_id: registration.tokenId, plan: registration.plan }
    order.call.log.warn({ ...fields, err: error }, 'registration failed')
  }
  const limit = abortAfter(timing.undo)
  const undone = new Set<string>()
  try {
    const { unclear = [], clear = [] } = Object.groupBy(works, (work) =>
      work.keyMayExist ? 'unclear' : 'clear',
    )
    if (clear.length > 0) {
      const failed = await store.failRegistrations(clear, { failure, sweepAt: null, now: clock() })
      for (const id of failed) undone.add(id)
    }
    if (unclear.length > 0) await undo(deps, unclear, failure, undone, limit.signal)
  } catch (err) {
    const fields = { registration_ids: works.slice(0, 20).map(({ id }) => id), count: works.length, err }
    log.error(fields, 'registrations could not be undone and stay pending')
  } finally {
    limit.cancel()
    const left = works.filter(({ id }) => !undone.has(id))
    // Otherwise they lapse by themselves.
    if (left.length > 0) await store.releaseLeases(left).catch(() => undefined)
    for (const { order } of works) order.reject(error)
  }
}
