import { abortAfter } from '../../abort-after.ts'
import type { ListedKey } from '../../aws/keys.ts'
import { failureOf } from '../../errors.ts'
import { MOST_TROUBLE, type PoolKey } from '../../store/pool.ts'
import { poolNamePrefix } from '../key-names.ts'
import { hasCome } from '../lifecycle.ts'
import type { AccountRoom } from './account-room.ts'
import { deleteDiscarded, madeBy } from './discard-keys.ts'
import { createFilling, rotated } from './fill-up.ts'
import { createForgetting } from './forget-foreign.ts'
import type { HeldKey, KeyShelf } from './held-keys.ts'
import { type Extent, judge, type Look, lookAtKeys } from './look-at-keys.ts'
import type { PoolDeps } from './pool-deps.ts'
import type { PoolLevels } from './pool-levels.ts'
import type { Refill } from './refill.ts'
import { type Place, planRound } from './share.ts'
import { createTending } from './tend-handed-out.ts'
import type { WarmingKey, WarmKeys } from './warm-keys.ts'

/** The parts of the pool in this process. */
export interface PoolParts {
  readonly shelf: KeyShelf
  readonly warm: WarmKeys
  readonly refill: Refill
  readonly room: AccountRoom
  readonly levels: PoolLevels
}

/** The most keys that are deleted in a round: more would delay the refill. */
const DELETED_AT_ONCE = 25
/** A key that has warmed for so long (ms), beyond `POOL_SETTLE`, is not expected to work. */
const HARDLY_WORKS_MS = 900_000

/** The upkeep of the pool, round by round. */
export interface PoolRound {
  /**
   * Shares the keys with the other processes, takes over those that are free, checks those that it holds, deletes what is
   * discarded, and fills up. What fails is left to the next round.
   * @returns `true`: another round has work at once
   * @throws ServiceError of the store, and of API Gateway
   */
  run(stop: AbortSignal): Promise<boolean>
  /** Records this process as a holder for another lease. @throws ServiceError of the store */
  renew(): Promise<void>
}

export function createPoolRound(deps: PoolDeps, parts: PoolParts): PoolRound {
  const { store, config, clock, timing, log } = deps
  const { shelf, warm, refill, room, levels } = parts
  const { owner } = shelf
  const pooled = config.plans.filter(({ name }) => config.pool.has(name))
  let checkAt = 0
  let isCounted = false
  let deletions = 0
  let closed: ReadonlySet<string> = new Set()
  /** Of the latest look. */
  let shown: ReadonlySet<string> | undefined
  /** The code of the failure that ended the latest round. */
  let failure: string | undefined

  const tendHandedOut = createTending(deps)
  const forgetForeign = createForgetting(store, shelf, warm)
  const fillUp = createFilling(refill, timing)

  /** A plan without a stage opens nothing: its keys are not handed out, and others would not work either. */
  function noteClosed(now: ReadonlySet<string>): void {
    const news = [...now].filter((id) => !closed.has(id))
    if (news.length > 0)
      log.warn(
        { usage_plan_ids: news },
        'no keys are made beforehand: the usage plan is gone, or covers no stage',
      )
    closed = now
  }

  function placeOf(id: string): Place | undefined {
    if (refill.isMaking(id)) return 'making'
    if (warm.has(id)) return 'warming'
    return shelf.placeOf(id)
  }

  /** Removes keys from memory before the store gives them up, so that they are not handed out meanwhile. */
  function forget(keys: readonly PoolKey[]): string[] {
    const ids = keys.map(({ id }) => id)
    shelf.remove(ids)
    warm.remove(ids)
    return ids.filter((id) => placeOf(id) === undefined)
  }

  async function look(extent: Extent, stop: AbortSignal): Promise<Look> {
    const limit = abortAfter(timing.undo)
    try {
      const prefix = poolNamePrefix(store.id)
      const order = { prefix, plans: pooled, extent, before: shown }
      const seen = await lookAtKeys(deps, order, AbortSignal.any([stop, limit.signal]))
      shown = seen.shown
      return seen
    } finally {
      limit.cancel()
    }
  }

  /** Holds keys whose values the look shows, and moves those that cannot be used on to their deletion. */
  async function hold(keys: readonly PoolKey[], seen: Look): Promise<PoolKey[]> {
    const ready: HeldKey[] = []
    const warming: WarmingKey[] = []
    const faulty: PoolKey[] = []
    for (const key of keys) {
      const verdict = judge(seen, key, settledAt(key, seen), clock())
      const found = seen.keys.get(key.id)
      if (verdict === 'faulty') faulty.push(key)
      if (verdict !== 'works' || found?.value === undefined) continue
      const { id, plan, usagePlanId, createdAt, seenWorking } = key
      const held = { id, plan, usagePlanId, createdAt, apiKeyId: found.id, value: found.value }
      if (key.state === 'ready') ready.push({ ...held, seenWorking })
      else warming.push({ ...held, since: key.state === 'warming' ? key.changedAt : clock() })
    }
    const making = new Set(keys.filter(({ state }) => state === 'making').map(({ id }) => id))
    await warm.begin(warming.filter(({ id }) => making.has(id)))
    shelf.add(ready)
    warm.add(warming.filter(({ id }) => !making.has(id)))
    const count = ready.length + warming.length
    if (count > 0) log.info({ count, ready: ready.length }, 'keys of the pool taken over')
    return discard(faulty, 'keys of the pool that do not work are discarded')
  }

  /** Discards keys that the look shows disabled, detached or gone. Those on their way out to a request are left to it. */
  async function check(keys: readonly PoolKey[], seen: Look): Promise<PoolKey[]> {
    const held = keys.filter(({ id }) => ['ready', 'warming'].includes(placeOf(id) ?? ''))
    const faulty = held.filter((key) => judge(seen, key, settledAt(key, seen), clock()) === 'faulty')
    return discard(faulty, 'keys of the pool that are disabled, detached or gone are discarded')
  }

  /** Late lists are no evidence against a young key, except of a key that a dead process made: if it is listed, it can be deleted. */
  function settledAt(key: PoolKey, seen: Look): number {
    if (key.state !== 'making') return key.changedAt + timing.sweepAfter
    return seen.keys.has(key.id) ? key.createdAt + timing.undo : madeBy(key, deps)
  }

  /** @returns those that are to be deleted now */
  async function discard(keys: readonly PoolKey[], message: string): Promise<PoolKey[]> {
    const ids = forget(keys)
    if (ids.length === 0) return []
    log.info({ pool_key_ids: ids.slice(0, 20), count: ids.length }, message)
    // Of this and a hand-out that is under way, the store lets one win.
    const moved = await store.discardPoolKeys(ids, owner, clock())
    return keys.filter(({ id }) => moved.has(id))
  }

  async function take(keys: readonly PoolKey[]): Promise<PoolKey[]> {
    if (keys.length === 0) return []
    const ids = keys.map(({ id }) => id)
    const taken = await store.takePoolKeys(ids, owner, clock())
    return keys.filter(({ id }) => taken.has(id))
  }

  function trouble(): string | null {
    const lacking = levels.plans().filter(({ size, counts }) => counts.ready + counts.warming < size)
    const troubles = [
      ...(failure === undefined ? [] : [`the upkeep failed: ${failure}`]),
      ...pooled.flatMap(({ name, usagePlanId }) =>
        closed.has(usagePlanId) ? [`plan ${name} is gone, or covers no stage`] : [],
      ),
      ...room.troubles(),
      ...warm.troubles(),
      ...refill.troubles(new Set(lacking.map(({ plan }) => plan))),
    ]
    return troubles.length === 0 ? null : troubles.join('; ').slice(0, MOST_TROUBLE)
  }

  const renew = () =>
    store.renewPoolHolder({
      owner,
      until: clock() + timing.poolLease,
      sizes: room.sizes(),
      trouble: trouble(),
    })

  /** Returns the keys to delete in this round: those that can be deleted now first, and other ones each time. */
  function nextDeletions(bin: readonly PoolKey[]): PoolKey[] {
    const { now = [], later = [] } = Object.groupBy(bin, (key) =>
      key.apiKeyId !== null || hasCome(madeBy(key, deps), clock()) ? 'now' : 'later',
    )
    deletions += 1
    const next = rotated(now, now.length === 0 ? 0 : (deletions * DELETED_AT_ONCE) % now.length)
    return [...next, ...later].slice(0, DELETED_AT_ONCE)
  }

  async function run(stop: AbortSignal): Promise<boolean> {
    // The count can take a minute, and keys are taken over before that.
    void room.refresh(stop).then(() => {
      isCounted = true
    })
    await renew()
    const had = [...shelf.list(), ...warm.list()]
    const [holders, keys] = [await store.listPoolHolders(), await store.listPoolKeys()]
    forgetForeign(had, keys)
    levels.observe(keys, holders)
    const plan = planRound({
      ...{ keys, holders, owner, placeOf, plans: config.plans, now: clock(), maxAgeMs: config.poolMaxAgeMs },
      longestWarmMs: config.poolSettleMs + HARDLY_WORKS_MS,
    })
    const givenUp = forget(plan.giveUp)
    if (givenUp.length > 0) await store.givePoolKeysUp(givenUp, owner)

    const bin: PoolKey[] = []
    let strays: ListedKey[] | null = null
    const taken = await take(plan.take)
    const isCheckDue = performance.now() >= checkAt
    if (taken.length > 0 || refill.unverified() > 0 || isCheckDue) {
      const seen = await look(taken.length > 0 ? 'values' : 'all', stop)
      checkAt = performance.now() + timing.poolCheck
      noteClosed(seen.closed)
      await refill.verify(seen, stop)
      bin.push(...(await hold(taken, seen)), ...(await check(keys, seen)))
      const recorded = new Set(keys.map(({ id }) => id))
      strays = [...seen.keys].flatMap(([id, key]) =>
        recorded.has(id) || placeOf(id) !== undefined ? [] : [key],
      )
    }

    bin.push(
      ...(await discard(
        await take(plan.discard),
        'keys of the pool that are too old, or too many, are discarded',
      )),
    )
    bin.push(...(await take(plan.unfinished)))
    let isMoreToDo = (await deleteDiscarded(deps, nextDeletions(bin), owner, stop)) > 0
    const orders = plan.refill.filter((order) => !closed.has(order.plan.usagePlanId))
    // Until the keys of the account are counted, the sizes of a round are not cut to the room for them.
    if (orders.length > 0 && (!isCounted || (await fillUp(orders, stop)))) isMoreToDo = true
    if (plan.isFirst && strays !== null) await tendHandedOut(strays, stop)
    return isMoreToDo
  }

  return {
    renew,
    async run(stop) {
      try {
        const isMoreToDo = await run(stop)
        failure = undefined
        return isMoreToDo
      } catch (error) {
        failure = failureOf(error)
        throw error
      } finally {
        levels.check()
      }
    },
  }
}
