import { abortAfter } from '../../abort-after.ts'
import type { Actor } from '../../store/audit.ts'
import type { DailyUsage, Registration } from '../../store/records.ts'
import type { Store } from '../../store/store.ts'
import type { RegistrationDeps } from '../deps.ts'
import { byGroup, keyNamePrefix, registrationIdOf } from '../key-names.ts'
import { isUnanswered, waitsForOperator } from '../lifecycle.ts'
import { undoRegistrations } from '../remove-keys.ts'
import { isUsedByCaller } from '../used-by-caller.ts'
import { readDaysUsed } from './days-used.ts'
import { listOpen } from './recover.ts'

const ALL = 1_000_000

export type LeftDeps = Pick<
  RegistrationDeps,
  'store' | 'lowPriorityApiGateway' | 'clock' | 'timing' | 'leases' | 'log'
>

/**
 * Lists the registrations and rotations about which only an operator can decide, see `waitsForOperator`. Reads only.
 * @throws ServiceError of the store
 */
export async function listLeft(store: Store, now: number): Promise<Registration[]> {
  const restoredAsOf = await store.findRestore()
  if (restoredAsOf === null) return (await listOpen(store, now)).left
  // Also those under a lease that the backup has: without them the restore would seem to be dealt with.
  const pending = await store.listRegistrations({ status: 'pending', limit: ALL })
  const active = await store.listRegistrations({ status: 'active', limit: ALL })
  return [...pending, ...active].filter((one) => waitsForOperator(one, restoredAsOf, now))
}

/** The key of a registration that waits for an operator, as API Gateway reports it. */
export interface LeftKey {
  readonly registration: Registration
  /** `null`: API Gateway has no key for it. */
  readonly apiKeyId: string | null
  /** The days of the last 90 on which the key was used; `null`: that cannot be read. */
  readonly daysUsed: DailyUsage | null
}

/** Looks up the keys of registrations, and whether they were used. @throws ServiceError of API Gateway */
export async function lookAtLeft(deps: LeftDeps, registrations: readonly Registration[]): Promise<LeftKey[]> {
  const { lowPriorityApiGateway, clock, timing, log } = deps
  const looks: LeftKey[] = []
  for (const group of byGroup(registrations, ({ id }) => id)) {
    const limit = AbortSignal.timeout(timing.undo)
    const keys = await lowPriorityApiGateway.findKeys(keyNamePrefix(group.map(({ id }) => id)), limit)
    const keysOf = new Map(keys.map((key) => [registrationIdOf(key.name), key]))
    for (const registration of group) {
      // A key that came from the pool may not have been renamed.
      const apiKeyId =
        keysOf.get(registration.id)?.id ?? (await ifExisting(deps, registration.apiKeyId, limit))
      const key = { apiKeyId, usagePlanId: registration.usagePlanId }
      const one = abortAfter(timing.undo)
      const daysUsed = await readDaysUsed(lowPriorityApiGateway, key, clock(), one.signal)
        .catch((err: unknown) => {
          log.warn({ registration_id: registration.id, err }, 'could not read whether the key was used')
          return null
        })
        .finally(() => one.cancel())
      looks.push({ registration, apiKeyId, daysUsed })
    }
  }
  return looks
}

/** Returns the id of a key if API Gateway has it, or `null`. @throws ServiceError of API Gateway */
async function ifExisting(
  { lowPriorityApiGateway }: LeftDeps,
  keyId: string | null,
  signal: AbortSignal,
): Promise<string | null> {
  if (keyId === null) return null
  const state = await lowPriorityApiGateway.readKey({ keyId, withValue: false }, signal)
  return state === null ? null : keyId
}

/**
 * The decision about a registration. `kept`: it counts as delivered. `undone`: its key is deleted and its use refunded.
 * `released`: it is treated like any other from now on, so that a retry can ask for it until it is undone. `open`: nothing was
 * decided, because its usage cannot be read, or something else changed it meanwhile.
 */
export type Decision = 'kept' | 'undone' | 'released' | 'open'

export const wasUsed = ({ registration, daysUsed }: Pick<LeftKey, 'registration' | 'daysUsed'>): boolean =>
  daysUsed !== null && isUsedByCaller(registration, daysUsed)

/** The decision that {@link decideLeft} makes. @param keep keeps also the keys that were not used */
export function planDecision(left: LeftKey, keep: boolean): Decision {
  const { registration, apiKeyId, daysUsed } = left
  if (apiKeyId !== null && (keep || wasUsed(left))) return 'kept'
  if (apiKeyId !== null && daysUsed === null) return 'open'
  return registration.status === 'pending' ? 'undone' : 'released'
}

/**
 * Carries out the operator's decision about one registration. A key that was used was delivered.
 * @throws ServiceError of API Gateway and of the store
 */
export async function decideLeft(
  deps: LeftDeps,
  left: LeftKey,
  keep: boolean,
  actor: Actor,
): Promise<Decision> {
  const { store, clock } = deps
  const { id, status } = left.registration
  const decision = planDecision(left, keep)
  if (status === 'pending') return decision === 'open' ? 'open' : decidePending(deps, left, decision, actor)
  if (decision !== 'kept') return decision
  if (isUnanswered(left.registration) && (await store.markAnswered(id, actor, clock())) === undefined)
    return 'open'
  await store.markDelivered([id], clock())
  return 'kept'
}

/** Under a lease: of this and a retry that continues the registration, one gets it. */
async function decidePending(
  deps: LeftDeps,
  { registration, apiKeyId }: LeftKey,
  decision: Decision,
  actor: Actor,
): Promise<Decision> {
  const { store, clock, leases, timing } = deps
  const { id } = registration
  const lease = leases.hold()
  const held = { id, owner: lease.owner }
  try {
    if (!(await store.takeLeases([id], 'pending', lease, clock())).has(id)) return 'open'
    if (decision === 'kept' && apiKeyId !== null) {
      const completion = { ...held, registration, actor, apiKeyId, isAwaited: () => true }
      const completed = (await store.completeRegistrations([completion], clock())).has(id)
      if (completed) await store.markDelivered([id], clock())
      return completed ? 'kept' : 'open'
    }
    const undone = new Set<string>()
    await undoRegistrations(
      deps,
      [{ ...held, apiKeyId }],
      'abandoned',
      undone,
      AbortSignal.timeout(timing.undo),
    )
    return undone.has(id) ? 'undone' : 'open'
  } finally {
    await store.releaseLeases([held])
    leases.drop(lease.owner)
  }
}
