import { abortAfter } from '../../abort-after.ts'
import { ServiceError } from '../../errors.ts'
import { SERVICE } from '../../store/audit.ts'
import type { Lease, Registration } from '../../store/records.ts'
import type { RestoreStore } from '../../store/restores.ts'
import type { AbandonedUses, UpkeepQueries } from '../../store/upkeep.ts'
import type { RegistrationDeps } from '../deps.ts'
import { byGroup, keyNamePrefix, registrationIdOf } from '../key-names.ts'
import { type RecoveryAction, recoveryActionOf, waitsForOperator } from '../lifecycle.ts'
import { removeNamedKeys, undoRegistrations } from '../remove-keys.ts'

/** The maximum number of registrations, and of abandoned uses, in one round of recovery. */
const ROUND = 1_000

export type RecoverDeps = Omit<RegistrationDeps, 'config'>

/** The work of one round of recovery, before it is done. */
export interface RecoveryPlan {
  readonly registrations: readonly { readonly registration: Registration; readonly action: RecoveryAction }[]
  /** Uses to refund. */
  readonly abandonedUses: readonly AbandonedUses[]
  /** The round is full: the next one may find more. */
  readonly mayBeMore: boolean
}

/** The part of the store that says what there is to recover. */
export type RecoveryQueries = UpkeepQueries & Pick<RestoreStore, 'findRestore'>

/** Returns the work that {@link recover} would do now. Writes nothing. @throws ServiceError of the store */
export async function planRecovery(store: RecoveryQueries, now: number): Promise<RecoveryPlan> {
  const { open } = await listOpen(store, now)
  const abandonedUses = await store.listAbandonedUses(now, ROUND)
  return {
    registrations: open.map((registration) => ({
      registration,
      action: recoveryActionOf(registration, now),
    })),
    abandonedUses,
    mayBeMore: isFull(open, abandonedUses),
  }
}

/**
 * Lists what recovery has to look at.
 * @returns `open`: at most one round of it; `left`: what waits for an operator, which takes no place in the round
 */
export async function listOpen(
  store: RecoveryQueries,
  now: number,
): Promise<{ open: Registration[]; left: Registration[] }> {
  const restoredAsOf = await store.findRestore()
  for (let limit = ROUND; ; limit *= 2) {
    const found = await store.listRecoverable(now, limit)
    const { left = [], open = [] } = Object.groupBy(found, (one) =>
      waitsForOperator(one, restoredAsOf, now) ? 'left' : 'open',
    )
    if (open.length >= ROUND || found.length < limit) return { open: open.slice(0, ROUND), left }
  }
}

function isFull(...lists: readonly (readonly unknown[])[]): boolean {
  return lists.some((list) => list.length >= ROUND)
}

/** A registration or rotation that recovery worked on. */
export interface Recovered {
  readonly registration: Registration
  readonly action: RecoveryAction
  /** `false`: the action failed, and a later round tries again. */
  readonly done: boolean
}

/** The work that one round of recovery did. */
export interface Recovery {
  readonly registrations: readonly Recovered[]
  /** Registrations and rotations that were left alone, because only an operator can decide about them. */
  readonly left: readonly Registration[]
  /** Uses that were refunded. */
  readonly refunded: readonly AbandonedUses[]
  /** The round was full: the next one may find more. */
  readonly mayBeMore: boolean
}

/**
 * Runs one round of recovery: refunds abandoned uses, then completes or undoes unfinished registrations and rotations,
 * and makes the late-key checks that are due, oldest first. Registrations that were begun together are looked up together
 * in API Gateway. Leaves alone what waits for an operator. Safe to run in several processes at once: each takes a lease on the registrations that it works on.
 * @param stop ends the round after the present group
 * @returns the work that was done or tried; the reason for a failure is logged
 * @throws ServiceError if the store cannot list the work
 */
export async function recover(deps: RecoverDeps, stop?: AbortSignal): Promise<Recovery> {
  const { clock, leases, log, store, timing } = deps
  const refunded = await store.refundAbandonedUses(clock(), ROUND)
  for (const { tokenId, count } of refunded) log.info({ token_id: tokenId, count }, 'abandoned uses refunded')
  const { open, left } = await listOpen(store, clock())
  const recovered: Recovered[] = []
  for (const group of byGroup(open, ({ id }) => id).flatMap((one) => byAction(one, clock()))) {
    if (stop?.aborted) break
    const lease = leases.hold()
    const limit = abortAfter(timing.undo)
    try {
      recovered.push(...(await recoverGroup(deps, group, lease, limit.signal)))
    } catch (err) {
      // The store failed. Registrations that were taken are listed again when the lease expires.
      const { action, registrations } = group
      recovered.push(...registrations.map((registration) => ({ registration, action, done: false })))
      log.warn(
        { count: group.registrations.length, action: group.action, err },
        'could not recover registrations; will retry',
      )
    } finally {
      limit.cancel()
      leases.drop(lease.owner)
    }
  }
  return { registrations: recovered, left, refunded, mayBeMore: isFull(open, refunded) }
}

/** Registrations of one group of ids, with the same status and the same task. */
interface Group {
  readonly action: RecoveryAction
  readonly registrations: readonly Registration[]
}

function byAction(registrations: readonly Registration[], now: number): Group[] {
  // The store takes leases of registrations with the same status only.
  const groups = Map.groupBy(registrations, (one) => `${recoveryActionOf(one, now)} ${one.status}`)
  return [...groups.values()].flatMap((group) =>
    group[0] === undefined ? [] : [{ action: recoveryActionOf(group[0], now), registrations: group }],
  )
}

async function recoverGroup(
  deps: RecoverDeps,
  { action, registrations }: Group,
  lease: Lease,
  signal: AbortSignal,
): Promise<Recovered[]> {
  const { clock, log, store } = deps
  const [first] = registrations
  if (first === undefined) return []
  const ids = registrations.map(({ id }) => id)
  const dueBy = clock()
  const takenIds = await store.takeLeases(ids, first.status, lease, dueBy)
  const taken = registrations.filter(({ id }) => takenIds.has(id))
  const done = new Set<string>()
  try {
    if (action === 'sweep') await checkForLateKeys(deps, taken, dueBy, done, signal)
    else {
      const toUndo = action === 'adopt' ? await adopt(deps, taken, lease, done, signal) : taken
      const held = toUndo.map(({ id, apiKeyId }) => ({ id, apiKeyId, owner: lease.owner }))
      await undoRegistrations(deps, held, 'abandoned', done, signal)
    }
  } catch (err) {
    log.warn(
      { registration_ids: ids.slice(0, 20), count: taken.length, action, err },
      'could not recover registrations; will retry',
    )
  }
  const left = taken.filter(({ id }) => !done.has(id))
  if (left.length > 0) await store.releaseLeases(left.map(({ id }) => ({ id, owner: lease.owner })))
  for (const { id, tokenId } of taken) {
    if (done.has(id)) log.info({ registration_id: id, token_id: tokenId, action }, 'recovered')
  }
  return taken.map((registration) => ({ registration, action, done: done.has(registration.id) }))
}

/**
 * Keeps the keys of registrations for their retries: finds them by name, enables and attaches them if need be, and
 * completes the registrations as unanswered.
 * @param done receives the ids of those that are completed
 * @returns the registrations to undo: there is no key, it cannot be enabled or attached, or the store did not complete it
 * @throws ServiceError of API Gateway and of the store
 */
async function adopt(
  { apiGateway, lowPriorityApiGateway, clock, log, store, timing }: RecoverDeps,
  registrations: readonly Registration[],
  { owner }: Lease,
  done: Set<string>,
  signal: AbortSignal,
): Promise<Registration[]> {
  const prefix = keyNamePrefix(registrations.map(({ id }) => id))
  const keys = await lowPriorityApiGateway.findKeys(prefix, signal)
  const keysOf = new Map(keys.map((key) => [registrationIdOf(key.name), key]))
  const attached = new Set<string>()
  if (keys.length > 0) {
    for (const usagePlanId of new Set(registrations.map((one) => one.usagePlanId))) {
      for (const { id } of await lowPriorityApiGateway.findAttached(usagePlanId, prefix, signal)) {
        attached.add(`${usagePlanId} ${id}`)
      }
    }
  }

  const toUndo: Registration[] = []
  const attachedKeys: { id: string; registration: Registration; apiKeyId: string }[] = []
  const completeAttached = async () => {
    const completions = attachedKeys
      .splice(0)
      .map((one) => ({ ...one, owner, actor: SERVICE, isAwaited: () => false }))
    const completed = await store.completeRegistrations(completions, clock())
    for (const id of completed.keys()) done.add(id)
    // The store refuses, for example, a rotation whose registration has ended.
    const refused = new Set(completions.flatMap(({ id }) => (completed.has(id) ? [] : id)))
    toUndo.push(...registrations.filter(({ id }) => refused.has(id)))
  }
  const unfinished = []
  for (const registration of registrations) {
    const key = keysOf.get(registration.id)
    const apiKeyId = key?.id
    if (apiKeyId === undefined) toUndo.push(registration)
    else if (key?.enabled && attached.has(`${registration.usagePlanId} ${apiKeyId}`))
      attachedKeys.push({ id: registration.id, registration, apiKeyId })
    else unfinished.push({ registration, apiKeyId })
  }
  await completeAttached()
  for (const { registration, apiKeyId } of unfinished) {
    const { id, usagePlanId } = registration
    const attachment = { keyId: apiKeyId, keyName: keyNamePrefix([id]), usagePlanId, check: true }
    try {
      // A part of the time: a key that cannot be attached must not keep the others from it in every round.
      const limit = AbortSignal.any([signal, AbortSignal.timeout(timing.undo / 4)])
      await lowPriorityApiGateway.ensureEnabled(apiKeyId, limit)
      await apiGateway.attachKey(attachment, limit)
      attachedKeys.push({ id, registration, apiKeyId })
      await completeAttached()
    } catch (error) {
      if (signal.aborted) throw error
      // The others are not affected. This one is not in `done`, so a later round tries again.
      if (error instanceof ServiceError && error.code === 'upstream_misconfigured') toUndo.push(registration)
      else log.warn({ registration_id: id, err: error }, 'could not enable or attach key; will retry')
    }
  }
  return toUndo
}

/**
 * Makes late-key checks: deletes keys that were created after their registrations had failed.
 * @param done receives the ids of those that are checked
 * @throws ServiceError of API Gateway and of the store
 */
async function checkForLateKeys(
  { lowPriorityApiGateway, store }: RecoverDeps,
  registrations: readonly Registration[],
  dueBy: number,
  done: Set<string>,
  signal: AbortSignal,
): Promise<void> {
  await removeNamedKeys(lowPriorityApiGateway, registrations, signal, async (gone) => {
    const ids = gone.map(({ id }) => id)
    await store.finishSweeps(ids, dueBy)
    for (const id of ids) done.add(id)
  })
}
