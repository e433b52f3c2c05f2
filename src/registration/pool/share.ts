import type { Plan } from '../../config.ts'
import type { PoolHolder, PoolKey } from '../../store/pool.ts'
import { hasCome } from '../lifecycle.ts'
import { poolSize } from './pool-report.ts'

/** The place of a key that this process holds. `out`: a request is about to hand it out. */
export type Place = 'ready' | 'out' | 'warming' | 'making'

/** The records of the store, and the keys that this process has. */
export interface Situation {
  readonly keys: readonly PoolKey[]
  readonly holders: readonly PoolHolder[]
  readonly owner: string
  readonly plans: readonly Plan[]
  /** `undefined`: the value of the key is not in the memory of this process. */
  readonly placeOf: (id: string) => Place | undefined
  readonly maxAgeMs: number
  /** A key that warms for longer is replaced. */
  readonly longestWarmMs: number
  readonly now: number
}

/** The work of one round, by what has to be done with each key. */
export interface RoundPlan {
  /** Keys to hold: they are free, or this process lost their values. */
  readonly take: readonly PoolKey[]
  /** Keys to give up for the other holders. */
  readonly giveUp: readonly PoolKey[]
  /** Keys that are too old, or that no holder wants: free ones to take first, and own ones. */
  readonly discard: readonly PoolKey[]
  /** Keys whose deletion is not over, and that no other process works on. */
  readonly unfinished: readonly PoolKey[]
  /** The number of keys to make, and the most records of the plan. */
  readonly refill: readonly { readonly plan: Plan; readonly count: number; readonly most: number }[]
  /** This process does what one of all has to do. */
  readonly isFirst: boolean
}

/** The part of a plan's keys that are replaced at once: the others are handed out meanwhile. */
const RENEWED_AT_ONCE = 1 / 4

/**
 * Plans a round: shares each plan's keys among the holders, and replaces old ones. The size of a plan is the smallest that a
 * live holder wants, so that the pool shrinks as soon as one of them has the new configuration.
 */
export function planRound(situation: Situation): RoundPlan {
  const { keys, holders, owner, plans, now } = situation
  const live = holders.filter((one) => one.owner === owner || !hasCome(one.until, now))
  const owners = live.map((one) => one.owner).sort()
  const isFree = ({ holder }: PoolKey) => holder === null || !owners.includes(holder)
  const isFirst = owners[0] === owner
  const { discarding = [], wanted = [] } = Object.groupBy(keys, ({ state }) =>
    state === 'discarding' ? 'discarding' : 'wanted',
  )
  const names = new Set([...plans.map(({ name }) => name), ...keys.map(({ plan }) => plan)])
  const parts = [...names].map((name) => {
    const plan = plans.find((one) => one.name === name)
    const size = poolSize(name, live)
    // The first holder takes the rest of the division, and what no holder wants.
    const share = Math.floor(size / owners.length) + (owners.indexOf(owner) < size % owners.length ? 1 : 0)
    return planOne({
      ...{ situation, plan, size, share, isFree, isFirst },
      all: wanted.filter((key) => key.plan === name),
      discarding: discarding.filter((key) => key.plan === name).length,
    })
  })
  return {
    take: parts.flatMap(({ take }) => take),
    giveUp: parts.flatMap(({ giveUp }) => giveUp),
    discard: parts.flatMap(({ discard }) => discard),
    unfinished: discarding.filter((key) => key.holder === owner || (isFirst && isFree(key))),
    refill: parts.flatMap(({ refill }) => refill),
    isFirst,
  }
}

interface PlanSituation {
  readonly situation: Situation
  /** `undefined`: the plan is not on offer any more. */
  readonly plan: Plan | undefined
  readonly size: number
  readonly share: number
  readonly all: readonly PoolKey[]
  readonly discarding: number
  readonly isFree: (key: PoolKey) => boolean
  readonly isFirst: boolean
}

function planOne(one: PlanSituation): Omit<RoundPlan, 'unfinished' | 'isFirst'> {
  const { situation, plan, size, share, isFree, isFirst } = one
  const { owner, placeOf } = situation
  // A plan that has another usage plan now: its old keys would open the API under other limits.
  const { right = [], wrong = [] } = Object.groupBy(one.all, ({ usagePlanId }) =>
    usagePlanId === plan?.usagePlanId ? 'right' : 'wrong',
  )
  const own = right.filter(({ holder }) => holder === owner)
  const lost = own.filter(({ id }) => placeOf(id) === undefined)
  const free = right.filter(isFree).sort(byUse)
  const movable = own.filter(({ id }) => ['ready', 'warming', undefined].includes(placeOf(id)))
  const giveUp = movable.toReversed().slice(0, Math.max(0, own.length - share))
  const take = free.slice(0, Math.max(0, share - own.length))
  const surplus = Math.max(0, right.length - size)
  const unwanted = isFirst ? free.slice(take.length).slice(0, surplus) : []
  const outdated = wrong.filter((key) =>
    key.holder === owner ? placeOf(key.id) !== 'out' : isFirst && isFree(key),
  )
  const count = Math.min(share - own.length - take.length, size - one.all.length - one.discarding)
  return {
    take: [...take, ...lost.filter((key) => !giveUp.includes(key))],
    giveUp,
    discard: [...unwanted, ...outdated, ...(own.length < share ? [] : worn(situation, own, share))],
    refill: plan === undefined || count <= 0 ? [] : [{ plan, count, most: size }],
  }
}

/** Ready keys first, then the others in the order of their age. */
const byUse = (a: PoolKey, b: PoolKey) =>
  Number(b.state === 'ready') - Number(a.state === 'ready') || a.createdAt - b.createdAt

/**
 * Returns the keys of a full share to replace, because they are too old, or have warmed for too long: a part at a time, while no
 * others are on their way.
 */
function worn(
  { placeOf, maxAgeMs, longestWarmMs, now }: Situation,
  own: readonly PoolKey[],
  share: number,
): PoolKey[] {
  const isWorn = ({ id, state, createdAt, changedAt }: PoolKey) => {
    const place = placeOf(id)
    if (place === 'ready') return createdAt <= now - maxAgeMs
    return place === 'warming' && state === 'warming' && changedAt <= now - longestWarmMs
  }
  const isOnItsWay = (key: PoolKey) => ['warming', 'making'].includes(placeOf(key.id) ?? '') && !isWorn(key)
  if (own.some(isOnItsWay)) return []
  return own.filter(isWorn).slice(0, Math.max(1, Math.floor(share * RENEWED_AT_ONCE)))
}
