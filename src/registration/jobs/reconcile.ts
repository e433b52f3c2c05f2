import type { ApiGateway } from '../../aws/api-gateway.ts'
import type { FoundKey } from '../../aws/keys.ts'
import type { Clock } from '../../clock.ts'
import type { Actor } from '../../store/audit.ts'
import type { OperatorStore } from '../../store/operators.ts'
import type { RecordReader } from '../../store/record-reader.ts'
import type { Registration } from '../../store/records.ts'
import type { RegistrationDeps } from '../deps.ts'
import { isKeyName, KEY_NAME_PREFIXES, registrationIdOf } from '../key-names.ts'
import { mustNotHaveKey } from '../lifecycle.ts'

export type ReconcileDeps = Pick<
  RegistrationDeps,
  'store' | 'lowPriorityApiGateway' | 'clock' | 'timing' | 'log'
>

/** What a comparison needs: it reads only. */
export interface DiscrepancyDeps {
  readonly store: RecordReader & Pick<OperatorStore, 'listRegistrations'>
  readonly lowPriorityApiGateway: Pick<ApiGateway, 'findKeys' | 'hasKey'>
  readonly clock: Clock
}

/** Where API Gateway and the store do not agree, though nobody is at work on it. */
export interface Discrepancies {
  /** Keys that are named as this service names them, and that no record knows or that should be gone. */
  readonly strayKeys: readonly FoundKey[]
  /** Registrations and rotations that are recorded as active, whose key is gone. */
  readonly deadRecords: readonly Registration[]
  /** How many of the keys named so the store knows: none of them, and it may be the wrong store. */
  readonly knownKeys: number
}

/** Younger records are left alone (ms): API Gateway may not show a new key at once. */
const SETTLED_AFTER_MS = 10 * 60_000
const ALL = 1_000_000

/** Compares every key of the account that carries this service's naming with the store. Changes nothing. */
export async function findDiscrepancies(
  { store, lowPriorityApiGateway, clock }: DiscrepancyDeps,
  signal: AbortSignal,
): Promise<Discrepancies> {
  // In this order: a key is recorded before it is made, and an active record has its key already.
  const active = await store.listRegistrations({ status: 'active', limit: ALL })
  const found: FoundKey[] = []
  for (const prefix of KEY_NAME_PREFIXES)
    found.push(...(await lowPriorityApiGateway.findKeys(prefix, signal)))
  const keys = found.filter(({ name }) => isKeyName(name))

  const strayKeys: FoundKey[] = []
  let knownKeys = 0
  for (const key of keys) {
    const record = await store.getRegistration(registrationIdOf(key.name))
    if (record !== undefined) knownKeys += 1
    if (record === undefined || mustNotHaveKey(record)) strayKeys.push(key)
  }
  const ids = new Set(found.map(({ id }) => id))
  const settledBefore = clock() - SETTLED_AFTER_MS
  const deadRecords: Registration[] = []
  for (const record of active) {
    if (record.apiKeyId === null || ids.has(record.apiKeyId) || record.createdAt > settledBefore) continue
    // Asked for once more, by its id: somebody may have renamed it, and pages that are read while keys go leave others out.
    if (!(await lowPriorityApiGateway.hasKey(record.apiKeyId, signal))) deadRecords.push(record)
  }
  return { strayKeys, deadRecords, knownKeys }
}

/** Deletes a key that {@link findDiscrepancies} found. @throws ServiceError */
export async function deleteStrayKey(
  { lowPriorityApiGateway, clock, log, store }: ReconcileDeps,
  key: FoundKey,
  actor: Actor,
  signal: AbortSignal,
): Promise<void> {
  const registrationId = registrationIdOf(key.name)
  await lowPriorityApiGateway.deleteKey(key.id, signal)
  const entry = { at: clock(), actor, detail: 'stray', tokenId: null, registrationId, apiKeyId: key.id }
  await store.appendAudit([{ ...entry, action: 'key.deleted' }])
  log.info({ api_key_id: key.id, registration_id: registrationId }, 'stray key deleted')
}

/** Records a registration or rotation whose key is gone as ended. Deletes nothing. @throws ServiceError */
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
