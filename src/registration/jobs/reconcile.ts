import { setTimeout as sleep } from 'node:timers/promises'
import type { ApiGateway } from '../../aws/api-gateway.ts'
import type { FoundKey, ListedKey } from '../../aws/keys.ts'
import type { Clock } from '../../clock.ts'
import type { Actor } from '../../store/audit.ts'
import type { Registration } from '../../store/records.ts'
import type { Store } from '../../store/store.ts'
import type { RegistrationDeps } from '../deps.ts'
import { type JudgeKeyDeps, judgeKey, type KeyFault } from '../judge-key.ts'
import { idsOfKey, KEY_NAME_PREFIXES, poolNamePrefix, registrationIdOf, storeOf } from '../key-names.ts'
import { isSuspended, mustNotHaveKey } from '../lifecycle.ts'
import { recordOfKey } from '../record-of-key.ts'

export type ReconcileDeps = Pick<
  RegistrationDeps,
  'store' | 'lowPriorityApiGateway' | 'clock' | 'timing' | 'log'
>

/** The part of {@link ReconcileDeps} that {@link findDiscrepancies} needs. It only reads. */
export interface DiscrepancyDeps extends JudgeKeyDeps {
  readonly store: Pick<
    Store,
    'id' | 'getRegistration' | 'listRegistrations' | 'listPoolKeys' | 'listingLagMs'
  >
  readonly lowPriorityApiGateway: Pick<ApiGateway, 'findKeys' | 'findAttached' | 'readKey'>
  readonly clock: Clock
}

/** The differences between API Gateway and the store, except those of registrations that are still being worked on. */
export interface Discrepancies {
  /** Stray keys: keys with a record that must not have a key. */
  readonly strayKeys: readonly FoundKey[]
  /** Keys of this store that have no record, also none of the pool: they may be in use, and the store older than they are. */
  readonly unknownKeys: readonly ListedKey[]
  /** Keys that a version before store ids made, and that have no record: they may belong to another store. */
  readonly unmarkedKeys: readonly ListedKey[]
  /** The number of keys of each other store, by its id. */
  readonly otherStores: ReadonlyMap<string, number>
  /** Dead records: registrations and rotations that are `active`, but whose key no longer exists. */
  readonly deadRecords: readonly Registration[]
  /** Registrations and rotations that are `active`, but whose key is disabled in API Gateway, although not suspended. */
  readonly disabledKeys: readonly Registration[]
  /** Those whose key is on no usage plan that opens the API. */
  readonly detachedKeys: readonly Registration[]
  /**
   * Registrations and rotations that are `active` and younger than {@link SETTLED_AFTER_MS}, whose key the lists of API Gateway
   * do not show enabled and on its plan: they may only be late.
   */
  readonly youngRecords: readonly Registration[]
  /** The number of keys that have a record. If it is 0, this may be the wrong store. */
  readonly knownKeys: number
}

/** The age from which a record can be dead (ms): API Gateway may not list a new key at once. */
export const SETTLED_AFTER_MS = 10 * 60_000
const ALL = 1_000_000

/**
 * Compares the firstkey keys of the account and Region with the store. They are recognized by their names, see
 * {@link storeOf}. Changes nothing.
 * @throws ServiceError of API Gateway and of the store
 */
export async function findDiscrepancies(deps: DiscrepancyDeps, signal: AbortSignal): Promise<Discrepancies> {
  const { store, lowPriorityApiGateway } = deps
  // The order matters: an active record already has its key, and a key is minted only after its record is written.
  const active = await store.listRegistrations({ status: 'active', limit: ALL })
  const pooled = await idsOfPool(store)
  const found: ListedKey[] = []
  for (const prefix of KEY_NAME_PREFIXES)
    found.push(...(await lowPriorityApiGateway.findKeys(prefix, signal)))

  const strayKeys: FoundKey[] = []
  const unknownKeys: ListedKey[] = []
  const unmarkedKeys: ListedKey[] = []
  const otherStores = new Map<string, number>()
  let knownKeys = 0
  // Keys of the pool that were recorded since. Before the records are read: one that was handed out meanwhile has one.
  const isNew = ({ name }: ListedKey) =>
    name.startsWith(poolNamePrefix(store.id)) && !pooled.has(registrationIdOf(name))
  if (found.some(isNew)) {
    await sleep(store.listingLagMs)
    for (const id of await idsOfPool(store)) pooled.add(id)
  }
  for (const key of found) {
    const storeId = storeOf(key.name)
    if (storeId === undefined) continue
    if (storeId !== null && storeId !== store.id) {
      otherStores.set(storeId, (otherStores.get(storeId) ?? 0) + 1)
      continue
    }
    const record = await recordOfKey(store, key.name)
    if (record !== undefined || pooled.has(registrationIdOf(key.name))) knownKeys += 1
    else if (!isNew(key) || (await exists(deps, key, signal)))
      (storeId === null ? unmarkedKeys : unknownKeys).push(key)
    if (record !== undefined && mustNotHaveKey(record)) strayKeys.push(key)
  }
  const { faulty, youngRecords } = await findFaultyKeys(deps, active, found, signal)
  return {
    strayKeys,
    unknownKeys,
    unmarkedKeys,
    otherStores,
    knownKeys,
    deadRecords: faulty.get('gone') ?? [],
    disabledKeys: faulty.get('disabled') ?? [],
    detachedKeys: faulty.get('detached') ?? [],
    youngRecords,
  }
}

async function idsOfPool(store: Pick<Store, 'listPoolKeys'>): Promise<Set<string>> {
  return new Set((await store.listPoolKeys()).map(({ id }) => id))
}

/** A list may show a pool key for a while that was deleted, and whose record is removed since. */
async function exists(
  { lowPriorityApiGateway }: DiscrepancyDeps,
  { id: keyId }: ListedKey,
  signal: AbortSignal,
): Promise<boolean> {
  return (await lowPriorityApiGateway.readKey({ keyId, withValue: false }, signal)) !== null
}

/**
 * Returns the active records whose key does not work, by the fault. Those that the lists of API Gateway do not show as
 * expected are looked up one by one: a list may lack a key that was renamed, or if others were deleted between two pages.
 * Young ones are not looked up: after a burst there may be thousands.
 */
async function findFaultyKeys(
  deps: DiscrepancyDeps,
  active: readonly Registration[],
  found: readonly ListedKey[],
  signal: AbortSignal,
): Promise<{ faulty: Map<KeyFault, Registration[]>; youngRecords: Registration[] }> {
  const { lowPriorityApiGateway, clock } = deps
  const attached = new Set<string>()
  for (const usagePlanId of new Set(active.map((one) => one.usagePlanId)))
    for (const prefix of KEY_NAME_PREFIXES)
      for (const { id } of await lowPriorityApiGateway.findAttached(usagePlanId, prefix, signal))
        attached.add(`${usagePlanId} ${id}`)
  const enabled = new Map(found.map((key) => [key.id, key.enabled]))
  const settledBefore = clock() - SETTLED_AFTER_MS
  const faulty = new Map<KeyFault, Registration[]>()
  const youngRecords: Registration[] = []
  for (const record of active) {
    const { apiKeyId: keyId, usagePlanId, createdAt } = record
    if (keyId === null) continue
    const isAsIntended = enabled.get(keyId) === !isSuspended(record)
    if (isAsIntended && attached.has(`${usagePlanId} ${keyId}`)) continue
    if (createdAt > settledBefore) {
      youngRecords.push(record)
      continue
    }
    const state = await lowPriorityApiGateway.readKey({ keyId, withValue: false }, signal)
    const { fault } = await judgeKey(deps, state, usagePlanId)
    if (fault === 'disabled' && isSuspended(record)) continue // As intended.
    if (fault !== null) faulty.set(fault, [...(faulty.get(fault) ?? []), record])
  }
  return { faulty, youngRecords }
}

/**
 * Deletes a stray key that {@link findDiscrepancies} found, and records that in the audit trail.
 * @throws ServiceError of API Gateway and of the store
 */
export async function deleteStrayKey(
  { lowPriorityApiGateway, clock, log, store }: ReconcileDeps,
  key: FoundKey,
  actor: Actor,
  signal: AbortSignal,
): Promise<void> {
  const registrationId = (await recordOfKey(store, key.name))?.id ?? idsOfKey(key.name)[0] ?? null
  await lowPriorityApiGateway.deleteKey(key.id, signal)
  const entry = { at: clock(), actor, detail: 'stray', tokenId: null, registrationId, apiKeyId: key.id }
  await store.appendAudit([{ ...entry, action: 'key.deleted' }])
  log.info({ api_key_id: key.id, registration_id: registrationId }, 'stray key deleted')
}

/**
 * Records a dead record that {@link findDiscrepancies} found as revoked and `ended`. Deletes nothing in API Gateway.
 * @throws ServiceError of the store
 */
export async function endDeadRecord(
  { store, clock }: ReconcileDeps,
  record: Registration,
  actor: Actor,
): Promise<void> {
  const ending = await store.endKeys([record.id], actor, clock())
  await store.finishEndings(
    ending.map(({ id }) => id),
    clock(),
  )
}
