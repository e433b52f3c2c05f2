import { setTimeout as sleep } from 'node:timers/promises'
import { randomBase62 } from '../../auth/random.ts'
import { kindOf } from '../../aws/errors.ts'
import { growingPauses, isPassing, pauseFor } from '../../aws/late-lists.ts'
import { changed, failureOf, ServiceError } from '../../errors.ts'
import { keyNamePrefix, newPoolKeyIds, poolKeyName } from '../key-names.ts'
import { createCircuitBreaker } from '../mint/circuit-breaker.ts'
import { KEY_VALUE_LENGTH } from '../mint/record-pending.ts'
import type { AccountRoom } from './account-room.ts'
import { type Look, lookAtKeys } from './look-at-keys.ts'
import type { PoolDeps } from './pool-deps.ts'
import type { RoundPlan } from './share.ts'
import { deleteUnrecorded, type KeyInMaking, verifyMade } from './verify-made.ts'
import type { WarmKeys } from './warm-keys.ts'

/** Makes the keys of the pool. */
export interface Refill {
  /**
   * Makes keys of a plan, by one import, when no registration waits. A failure of API Gateway is logged, and pauses the plan.
   * @returns `true`: another import can follow at once
   * @throws ServiceError of the store
   */
  fill(order: RoundPlan['refill'][number], signal: AbortSignal): Promise<boolean>
  /** Verifies what imports made: see {@link verifyMade}. @returns the number of keys that may only be late */
  verify(look: Look, signal: AbortSignal): Promise<number>
  /** Reports whether a key is being made here. */
  isMaking(id: string): boolean
  /** Returns the number of keys that wait for a look. */
  unverified(): number
  /**
   * Returns why fewer keys are made than could be, for the operator.
   * @param lacking the names of the plans that lack keys: a failure of another is over
   */
  troubles(lacking: ReadonlySet<string>): string[]
}

/** The most keys in one import: a larger one would delay a registration that arrives meanwhile. */
const AT_ONCE = 100
/** The same while imports are distrusted. */
const AT_ONCE_DISTRUSTED = 2
/** The pauses before an import that failed for an unknown reason is repeated, with the same keys (ms). */
const REPEAT_AFTER_MS = [1_000, 2_000]
/** The looks right after an import. Later rounds look again. */
const LOOKS = 5
/** The interval at which a refill looks whether registrations still wait (ms). */
const YIELD_MS = 25

interface Pause {
  /** The time of the next attempt, on the clock of `performance.now()`. */
  readonly until: number
  /** The pause before it. */
  readonly ms: number
  readonly code: ReturnType<typeof failureOf>
}

export function createRefill(deps: PoolDeps, owner: string, warm: WarmKeys, room: AccountRoom): Refill {
  const { store, lowPriorityApiGateway, config, clock, timing, log, isBusy } = deps
  const making = new Map<string, KeyInMaking>()
  /** By plan, since its latest keys could not be made. */
  const pauses = new Map<string, Pause>()
  const importBreaker = createCircuitBreaker({
    longest: config.mintMode === 'bulk' ? 0 : timing.distrust,
    log,
    messages: {
      failed: 'an import of keys for the pool did not work',
      opened: 'imports do not work: making keys of the pool one at a time, slowly, for now',
    },
  })
  const verifyDeps = { ...deps, owner, warm, making, importBreaker }
  const verify = (look: Look, signal: AbortSignal) => verifyMade(verifyDeps, look, signal)

  /** Registrations go first; but not for ever. */
  async function yieldToRegistrations(signal: AbortSignal): Promise<void> {
    const until = performance.now() + timing.poolPatience
    while (isBusy() && performance.now() < until) await sleep(YIELD_MS, undefined, { signal })
  }

  async function fill(
    { plan, count, most }: RoundPlan['refill'][number],
    signal: AbortSignal,
  ): Promise<boolean> {
    if (performance.now() < (pauses.get(plan.name)?.until ?? 0)) return false
    await yieldToRegistrations(signal)
    const isSingle = config.mintMode === 'single' || !importBreaker.isClosed()
    const limit = importBreaker.distrust() > 0 ? AT_ONCE_DISTRUSTED : AT_ONCE
    const ids = newPoolKeyIds(store.id, isSingle ? 1 : Math.min(count, limit))
    // No longer than a dead process may have needed for it: see `madeBy`.
    const limited = AbortSignal.any([signal, AbortSignal.timeout(timing.undo)])
    const createdAt = clock()
    const keys = ids.map((id) => ({ id, plan: plan.name, usagePlanId: plan.usagePlanId, createdAt }))
    const begun = await store.beginPoolKeys(keys, owner, most)
    if (begun.size === 0) return false
    const made = keys
      .filter(({ id }) => begun.has(id))
      .map((key) => ({ ...key, value: randomBase62(KEY_VALUE_LENGTH), of: begun.size, importedAt: null }))
    for (const key of made) making.set(key.id, key)
    try {
      if (isSingle) await makeSingle(made, limited)
      else await makeByImport(made, limited)
      pauses.delete(plan.name)
      return !isSingle && begun.size < count
    } catch (error) {
      if (signal.aborted) return false
      const left = made.filter(({ id }) => making.get(id)?.importedAt === null).map(({ id }) => id)
      await noteFailure(plan.name, left, error)
      return false
    } finally {
      // Those that may exist are looked for like the keys of a dead process.
      for (const { id } of made) if (making.get(id)?.importedAt === null) making.delete(id)
    }
  }

  async function noteFailure(plan: string, ids: readonly string[], error: unknown): Promise<void> {
    const last = pauses.get(plan)?.ms ?? timing.poolRound
    const ms = Math.min(last * 2, timing.distrust)
    pauses.set(plan, { until: performance.now() + ms, ms, code: failureOf(error) })
    log.warn({ plan, err: error, retry_in_seconds: Math.ceil(ms / 1_000) }, 'could not make keys of the pool')
    if (error instanceof ServiceError && error.code === 'key_quota_reached') await room.isUsedUp()
    if (!(error instanceof ServiceError) || error.effect === 'possible') return
    await store.discardPoolKeys(ids, owner, clock())
    await store.forgetPoolKeys(ids, owner)
  }

  /**
   * Rejects the making of keys whose records others may forget, because this process stood still. A timer is not enough: after
   * such a pause, what was awaited may go on before the timers run.
   */
  function mustBeInTime(keys: readonly KeyInMaking[], signal: AbortSignal): void {
    if (!signal.aborted && keys.every(({ createdAt }) => clock() <= createdAt + timing.undo)) return
    throw new ServiceError('upstream_unavailable', 'There was no time left to make keys.')
  }

  /** @throws ServiceError whose effect is `none` only if no key exists */
  async function makeByImport(made: readonly KeyInMaking[], signal: AbortSignal): Promise<void> {
    const keys = made.map(({ id, plan, usagePlanId, value }) => ({
      ...{ name: poolKeyName(id, plan), description: '', usagePlanId, value },
    }))
    const importAll = () => {
      mustBeInTime(made, signal)
      return lowPriorityApiGateway.importKeys(keys, signal)
    }
    let result = await importAll().catch((error: unknown) => {
      // A proxy on the way may answer 429 for an import that takes effect. There is time to look.
      const isThrottled = error instanceof ServiceError && error.code === 'upstream_throttled'
      throw isThrottled ? asPossible(error) : error
    })
    let isFirst = true
    for (const pause of REPEAT_AFTER_MS) {
      if (result.outcome !== 'unclear' || !(await pauseFor(pause, signal))) break
      isFirst = false
      try {
        result = await importAll()
      } catch (error) {
        throw asPossible(error)
      }
    }
    if (result.outcome === 'imported') {
      for (const key of made) making.set(key.id, { ...key, importedAt: clock() })
      return verifySoon(made, signal)
    }
    const { outcome, error } = result
    if (outcome === 'unsupported') importBreaker.unsupported(error)
    // A full account, or a plan that is gone, says nothing about imports.
    else if (!['quota', 'missing'].includes(kindOf(error.cause))) importBreaker.failed(error, 1)
    throw outcome === 'refused' && isFirst ? error : asPossible(error)
  }

  async function verifySoon(made: readonly KeyInMaking[], signal: AbortSignal): Promise<void> {
    const [first] = made
    const plans = config.plans.filter(({ name }) => name === first?.plan)
    const prefix = keyNamePrefix(made.map(({ id }) => id))
    let looks = 0
    for (const pause of growingPauses()) {
      looks += 1
      try {
        const look = await lookAtKeys(deps, { prefix, plans, extent: 'keys' }, signal)
        if ((await verify(look, signal)) === 0) return
      } catch (error) {
        if (!isPassing(error)) throw error
      }
      if (looks === LOOKS || !(await pauseFor(pause, signal))) return
    }
  }

  async function makeSingle(made: readonly KeyInMaking[], signal: AbortSignal): Promise<void> {
    mustBeInTime(made, signal)
    for (const key of made) {
      const name = poolKeyName(key.id, key.plan)
      const created = await lowPriorityApiGateway.createKey(
        { name, description: '', value: key.value },
        signal,
      )
      try {
        await startWarming(key, created.id, signal)
      } catch (error) {
        throw asPossible(error)
      }
    }
  }

  async function startWarming(one: KeyInMaking, apiKeyId: string, signal: AbortSignal): Promise<void> {
    const { of: _of, importedAt: _at, ...key } = one
    const { id, usagePlanId } = key
    const attachment = { keyId: apiKeyId, keyName: keyNamePrefix([id]), usagePlanId, check: true }
    await lowPriorityApiGateway.attachKey(attachment, signal)
    const moved = await warm.begin([{ ...key, apiKeyId, since: clock() }])
    making.delete(id)
    if (!moved.has(id)) await deleteUnrecorded(deps, [{ ...key, apiKeyId }], signal)
  }

  return {
    fill,
    verify,
    isMaking: (id) => making.has(id),
    unverified: () => [...making.values()].filter(({ importedAt }) => importedAt !== null).length,
    troubles: (lacking) => [
      ...(importBreaker.isClosed() ? [] : ['imports do not work: keys are made one at a time']),
      ...[...pauses].flatMap(([plan, { code }]) =>
        lacking.has(plan) ? [`could not make keys of plan ${plan}: ${code} (see the log)`] : [],
      ),
    ],
  }
}

/** Marks an error as one after which a key may exist all the same. */
function asPossible(error: unknown): unknown {
  return error instanceof ServiceError ? changed(error, { effect: 'possible' }) : error
}
