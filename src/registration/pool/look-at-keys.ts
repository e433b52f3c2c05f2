import type { ApiGateway } from '../../aws/api-gateway.ts'
import { kindOf } from '../../aws/errors.ts'
import type { KeyWithValue, ListedKey } from '../../aws/keys.ts'
import type { Plan } from '../../config.ts'
import { ServiceError } from '../../errors.ts'
import type { PoolKey } from '../../store/pool.ts'
import { registrationIdOf } from '../key-names.ts'
import { hasCome } from '../lifecycle.ts'
import type { PoolDeps } from './pool-deps.ts'

/** The keys of the pool as API Gateway lists them. */
export interface Look {
  /** By the id of the pool key. `value`: only if the look was for values. */
  readonly keys: ReadonlyMap<string, ListedKey & Partial<Pick<KeyWithValue, 'value'>>>
  /** Reports whether the look was for this key, among others. */
  readonly covers: (id: string) => boolean
  /** Reports whether a key is on a usage plan. */
  readonly isAttached: (keyId: string, usagePlanId: string) => boolean
  /** The ids of the usage plans that are gone, or cover no stage: their keys open nothing. */
  readonly closed: ReadonlySet<string>
  /** The keys that are listed, and on one of the plans: by {@link shownAs}. */
  readonly shown: ReadonlySet<string>
  /** Reports whether a key that the look lacks may only have moved from one page to another while the pages were read. */
  readonly mayHaveMoved: (id: string, usagePlanId: string) => boolean
  /** Reports whether the look before showed a key on its plan: one that this look lacks is not late. */
  readonly wasShown: (id: string, usagePlanId: string) => boolean
}

export interface LookOrder {
  /** The prefix of the names of the keys. */
  readonly prefix: string
  readonly plans: readonly Plan[]
  readonly extent: Extent
  /** {@link Look.shown} of the look before; `undefined`: this is the first. */
  readonly before?: ReadonlySet<string> | undefined
}

/** The number of keys on a page of a list. */
const PAGE = 500

/** The extent of a look. `keys`: only the keys. `all`: also whether their plans cover a stage. `values`: also their values. */
export type Extent = 'keys' | 'all' | 'values'

/**
 * Looks at the keys whose name starts with `prefix`, at the keys of the plans, and at the stages that these cover.
 * @throws ServiceError of API Gateway
 */
export async function lookAtKeys(
  { lowPriorityApiGateway }: Pick<PoolDeps, 'lowPriorityApiGateway'>,
  { prefix, plans, extent, before }: LookOrder,
  signal: AbortSignal,
): Promise<Look> {
  const attached = new Set<string>()
  const closed = new Set<string>()
  const lookAtPlan = async ({ usagePlanId }: Plan) => {
    for (const { id } of await lowPriorityApiGateway.findAttached(usagePlanId, prefix, signal))
      attached.add(`${usagePlanId} ${id}`)
    if (extent === 'keys' || (await coversStage(lowPriorityApiGateway, usagePlanId, signal))) return
    closed.add(usagePlanId)
  }
  const [listed] = await Promise.all([
    extent === 'values'
      ? lowPriorityApiGateway.findKeysWithValues(prefix, signal)
      : lowPriorityApiGateway.findKeys(prefix, signal),
    ...plans.map(lookAtPlan),
  ])
  const keys = new Map(listed.map((key) => [registrationIdOf(key.name), key]))
  const shown = new Set<string>()
  for (const [id, key] of keys)
    for (const { usagePlanId } of plans)
      if (attached.has(`${usagePlanId} ${key.id}`)) shown.add(shownAs(id, usagePlanId))
  return {
    keys,
    shown,
    mayHaveMoved: (id, usagePlanId) =>
      keys.size >= PAGE && (before === undefined || before.has(shownAs(id, usagePlanId))),
    wasShown: (id, usagePlanId) => before?.has(shownAs(id, usagePlanId)) === true,
    covers: (id) => `${id} `.startsWith(prefix),
    isAttached: (keyId, usagePlanId) => attached.has(`${usagePlanId} ${keyId}`),
    closed,
  }
}

const shownAs = (id: string, usagePlanId: string) => `${usagePlanId} ${id}`

async function coversStage(
  apiGateway: ApiGateway,
  usagePlanId: string,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    return (await apiGateway.describePlan(usagePlanId, signal)).stages.length > 0
  } catch (error) {
    if (error instanceof ServiceError && kindOf(error.cause) === 'missing') return false
    throw error
  }
}

/**
 * The verdict of a look on a key. `works`: it is enabled and on its plan. `late`: the lists do not show that, and may be late, or
 * their pages lack keys that moved. `faulty`: it is disabled, or gone, or detached, or its plan opens nothing.
 */
export type KeyVerdict = 'works' | 'late' | 'faulty'

/** @param settledAt the time from which a list that lacks the key is no longer late; as in `hasCome`, not too far ahead */
export function judge(
  { keys, isAttached, closed, mayHaveMoved, wasShown }: Look,
  { id, usagePlanId, apiKeyId }: Pick<PoolKey, 'id' | 'usagePlanId' | 'apiKeyId'>,
  settledAt: number,
  now: number,
): KeyVerdict {
  // The plan itself says so: no list is late.
  if (closed.has(usagePlanId)) return 'faulty'
  const found = keys.get(id)
  // Keys are made enabled, so that this is no late list: an operator disabled it, or an import did not enable it.
  if (found?.enabled === false) return 'faulty'
  const isRight = found !== undefined && (apiKeyId === null || apiKeyId === found.id)
  if (isRight && isAttached(found.id, usagePlanId)) return 'works'
  const isSettled = wasShown(id, usagePlanId) || hasCome(settledAt, now)
  return isSettled && !mayHaveMoved(id, usagePlanId) ? 'faulty' : 'late'
}
