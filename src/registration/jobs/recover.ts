import { ServiceError } from '../../errors.ts'
import { SERVICE } from '../../store/audit.ts'
import type { Lease, Registration } from '../../store/records.ts'
import type { AbandonedUses, UpkeepQueries } from '../../store/upkeep.ts'
import type { RegistrationDeps } from '../deps.ts'
import { abortAfter } from '../idempotency/deadline.ts'
import { byGroup, keyNamePrefix, registrationIdOf } from '../key-names.ts'
import { type RecoveryAction, recoveryActionOf } from '../lifecycle.ts'
import { removeKeys, undoRegistrations } from '../remove-keys.ts'

/** How many registrations one round of recovery looks at. */
const ROUND = 1_000

export type RecoverDeps = Omit<RegistrationDeps, 'config'>

/** The work that recovery finds. */
export interface RecoveryPlan {
  readonly registrations: readonly { readonly registration: Registration; readonly action: RecoveryAction }[]
  /** Uses that dead processes spent for registrations which they never recorded. They are refunded. */
  readonly abandonedUses: readonly AbandonedUses[]
}

/** Reads what {@link recover} would do now. Writes nothing. */
export async function planRecovery(store: UpkeepQueries, now: number): Promise<RecoveryPlan> {
  const open = await store.listRecoverable(now, ROUND)
  return {
    registrations: open.map((registration) => ({
      registration,
      action: recoveryActionOf(registration, now),
    })),
    abandonedUses: await store.listAbandonedUses(now, ROUND),
  }
}

export interface Recovered {
  readonly registration: Registration
  readonly action: RecoveryAction
  /** `false`: it could not be done now, and comes again in the next round. */
  readonly done: boolean
}

/**
 * One round: ends what was left unfinished, oldest first, a group at a time: what
 * was begun together is looked up together. Safe to run in several processes at once: each works under a lease.
 * @param stop ends the round after the group it is at
 * @returns what was done to which; why something could not be done is logged
 */
export async function recover(deps: RecoverDeps, stop?: AbortSignal): Promise<Recovered[]> {
  const { clock, leases, log, store, timing } = deps
  for (const { tokenId, count } of await store.refundAbandonedUses(clock(), ROUND))
    log.info({ token_id: tokenId, count }, 'abandoned uses refunded')
  const open = await store.listRecoverable(clock(), ROUND)
  const results: Recovered[] = []
  for (const group of byGroup(open, ({ id }) => id).flatMap((one) => byAction(one, clock()))) {
    if (stop?.aborted) break
    const lease = leases.hold()
    const limit = abortAfter(timing.undo)
    try {
      results.push(...(await recoverGroup(deps, group, lease, limit.signal)))
    } catch (err) {
      // The store itself: what was taken is free again when its lease lapses.
      log.warn({ count: group.registrations.length, action: group.action, err }, 'could not be recovered yet')
    } finally {
      limit.cancel()
      leases.drop(lease.owner)
    }
  }
  return results
}

interface Group {
  readonly action: RecoveryAction
  readonly registrations: readonly Registration[]
}

function byAction(registrations: readonly Registration[], now: number): Group[] {
  // What is active and what is pending is taken by itself: only one of them changes its status.
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
    if (action === 'sweep') await sweep(deps, taken, dueBy, done, signal)
    else {
      const lost = action === 'adopt' ? await adopt(deps, taken, lease, done, signal) : taken
      const held = lost.map(({ id }) => ({ id, owner: lease.owner }))
      await undoRegistrations(deps, held, 'abandoned', done, signal)
    }
  } catch (err) {
    log.warn(
      { registration_ids: ids.slice(0, 20), count: taken.length, action, err },
      'could not be recovered yet',
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
 * Looks for the keys, puts those on their plans that are not there, and records them as waiting for their retries.
 * @returns those that have no key that works
 */
async function adopt(
  { apiGateway, lowPriorityApiGateway, clock, log, store }: RecoverDeps,
  registrations: readonly Registration[],
  { owner }: Lease,
  done: Set<string>,
  signal: AbortSignal,
): Promise<Registration[]> {
  const prefix = keyNamePrefix(registrations.map(({ id }) => id))
  const keys = await lowPriorityApiGateway.findKeys(prefix, signal)
  const keyIds = new Map(keys.map(({ id, name }) => [registrationIdOf(name), id]))
  const attached = new Set<string>()
  if (keys.length > 0) {
    for (const usagePlanId of new Set(registrations.map((one) => one.usagePlanId))) {
      for (const { id } of await lowPriorityApiGateway.findAttached(usagePlanId, prefix, signal)) {
        attached.add(`${usagePlanId} ${id}`)
      }
    }
  }

  const lost: Registration[] = []
  const working: { id: string; registration: Registration; apiKeyId: string }[] = []
  const record = async () => {
    const completions = working
      .splice(0)
      .map((one) => ({ ...one, owner, actor: SERVICE, isAwaited: () => false }))
    const completed = await store.completeRegistrations(completions, clock())
    for (const id of completed.keys()) done.add(id)
    // What can be handed out no more, because what it rotates has ended, is undone.
    const refused = new Set(completions.flatMap(({ id }) => (completed.has(id) ? [] : id)))
    lost.push(...registrations.filter(({ id }) => refused.has(id)))
  }
  const unattached = []
  for (const registration of registrations) {
    const apiKeyId = keyIds.get(registration.id)
    if (apiKeyId === undefined) lost.push(registration)
    else if (attached.has(`${registration.usagePlanId} ${apiKeyId}`))
      working.push({ id: registration.id, registration, apiKeyId })
    else unattached.push({ registration, apiKeyId })
  }
  await record()
  for (const { registration, apiKeyId } of unattached) {
    const { id, usagePlanId } = registration
    const attachment = { keyId: apiKeyId, keyName: keyNamePrefix([id]), usagePlanId, check: true }
    try {
      await apiGateway.attachKey(attachment, signal)
      working.push({ id, registration, apiKeyId })
      await record()
    } catch (error) {
      if (signal.aborted) throw error
      // One that cannot be attached now does not hold up the others.
      if (error instanceof ServiceError && error.code === 'upstream_misconfigured') lost.push(registration)
      else log.warn({ registration_id: id, err: error }, 'could not be put on its plan yet')
    }
  }
  return lost
}

async function sweep(
  { lowPriorityApiGateway, store }: RecoverDeps,
  registrations: readonly Registration[],
  dueBy: number,
  done: Set<string>,
  signal: AbortSignal,
): Promise<void> {
  await removeKeys(lowPriorityApiGateway, registrations, signal, async (gone) => {
    const ids = gone.map(({ id }) => id)
    await store.finishSweeps(ids, dueBy)
    for (const id of ids) done.add(id)
  })
}
