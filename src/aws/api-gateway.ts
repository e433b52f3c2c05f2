import type { APIGatewayClient } from '@aws-sdk/client-api-gateway'
import { changed, ServiceError } from '../errors.ts'
import type { Log } from '../log.ts'
import { createChangeQueue } from './change-queue.ts'
import { type ClientOptions, createClient } from './client.ts'
import { type ImportOutcome, importKeys, type KeyToImport } from './import-keys.ts'
import {
  type CreatedKey,
  countKeys,
  createKey,
  deleteKey,
  ensureEnabled,
  type FoundKey,
  findKeys,
  findKeysWithValues,
  type KeyCount,
  type KeyToCreate,
  type KeyWithValue,
  type ListedKey,
  readKeyName,
  renameKey,
  setKeyEnabled,
} from './keys.ts'
import { type KeyQuery, type KeyState, readKey } from './live-key.ts'
import { createPace, type Pace, type Priority } from './pace.ts'
import { type RemainingQuota, readUsage, setRemaining, type UsageDay, type UsageQuery } from './usage.ts'
import {
  type Attachment,
  type AttachOutcome,
  attachKey,
  describePlan,
  findAttached,
  findPlansOf,
  hasPlan,
  type PlanDescription,
} from './usage-plans.ts'

/**
 * The operations of API Gateway's control plane that this service uses. Every call ends when its signal aborts; a
 * change that waits in the queue ends when its turn comes. A call that fails throws ServiceError (`upstream_…`,
 * `key_quota_reached`).
 */
export interface ApiGateway {
  /** Creates an enabled key, or finds the one that an earlier attempt created. */
  createKey(key: KeyToCreate, signal: AbortSignal): Promise<CreatedKey>
  /** Enables a key that was never returned to a caller, if it is not enabled. Returns `true` if it was. */
  ensureEnabled(id: string, signal: AbortSignal): Promise<boolean>
  /** Attaches a key to its usage plan. Attaches and imports of this process wait for one another. */
  attachKey(attachment: Attachment, signal: AbortSignal): Promise<AttachOutcome>
  /** Creates or overwrites many keys and attaches them to their usage plans: all or none. Safe to repeat. */
  importKeys(keys: readonly KeyToImport[], signal: AbortSignal): Promise<ImportOutcome>
  /** Returns the keys on a usage plan whose name starts with `namePrefix`. */
  findAttached(usagePlanId: string, namePrefix: string, signal: AbortSignal): Promise<FoundKey[]>
  /** Deletes a key. Succeeds if the key no longer exists. */
  deleteKey(id: string, signal: AbortSignal): Promise<void>
  /** Renames and describes a key, if its present name may be replaced. Succeeds if the key no longer exists. */
  renameKey(
    id: string,
    key: Pick<KeyToCreate, 'name' | 'description'>,
    mayReplace: (presentName: string) => boolean,
    signal: AbortSignal,
  ): Promise<void>
  /** Enables or disables a key. Returns `false` if the key no longer exists. */
  setKeyEnabled(id: string, enabled: boolean, signal: AbortSignal): Promise<boolean>
  /** Reads the name of a key. `null`: it does not exist. */
  readKeyName(id: string, signal: AbortSignal): Promise<string | null>
  /** Returns the keys whose name starts with `namePrefix`. */
  findKeys(namePrefix: string, signal: AbortSignal): Promise<ListedKey[]>
  /** The same with their values: only for keys that were handed out to no caller. */
  findKeysWithValues(namePrefix: string, signal: AbortSignal): Promise<KeyWithValue[]>
  /** Counts all keys of the account and Region; when the signal aborts, those so far. */
  countKeys(signal: AbortSignal): Promise<KeyCount>
  /** Reads whether a key is enabled, and the usage plans that it is on. `null`: it does not exist. */
  readKey(query: KeyQuery, signal: AbortSignal): Promise<KeyState | null>
  /** Returns the usage plans that a key is on. A key that does not exist is on none. */
  findPlansOf(keyId: string, signal: AbortSignal): Promise<PlanDescription[]>
  /** Returns `true` if a usage plan exists. */
  hasPlan(usagePlanId: string, signal: AbortSignal): Promise<boolean>
  /** Reads the API stages and the limits of a usage plan. */
  describePlan(usagePlanId: string, signal: AbortSignal): Promise<PlanDescription>
  /** Reads the daily usage of a key on its usage plan; the figures are up to half an hour late. */
  readUsage(query: UsageQuery, signal: AbortSignal): Promise<UsageDay[]>
  /** Sets what is left of a key's quota in the present period. Waits for the other changes of this process. */
  setRemaining(quota: RemainingQuota, signal: AbortSignal): Promise<void>
}

export interface ApiGatewayAccess {
  /** For work that a caller waits for. */
  readonly apiGateway: ApiGateway
  /** The same for work that can wait: it uses only the share of the quotas that registrations leave over. */
  readonly lowPriorityApiGateway: ApiGateway
  /** For what owners ask for: it uses only what both leave over, at a rate of its own. */
  readonly queryApiGateway: Pick<ApiGateway, 'findPlansOf' | 'hasPlan' | 'readKey' | 'readUsage'>
  /** Reports whether the quotas leave calls to spare now: work that can wait would not have to. */
  hasSpareCalls(): boolean
  close(): void
}

export interface AccessOptions extends ClientOptions {
  /** The calls a second that this process may make; 0: no limit. */
  readonly callsPerSecond: number
  readonly log: Log
}

/** Creates the clients of all priorities. They share the pace and the queue for changes. */
export function createApiGateway(options: AccessOptions): ApiGatewayAccess {
  const pace = createPace(options.callsPerSecond)
  const changeQueue = createChangeQueue(options.log)
  const logUnsupported = createUnsupportedLog(options.log)
  const open = (priority: Priority) => {
    const client = createClient(options, pace, priority)
    const calls: ApiGateway = {
      createKey: (key, signal) => createKey(client, key, signal),
      ensureEnabled: (id, signal) => ensureEnabled(client, id, signal),
      attachKey: (attachment, signal) => attachKey(client, changeQueue, attachment, signal),
      importKeys: (keys, signal) => importKeys(client, changeQueue, keys, signal),
      findAttached: (usagePlanId, namePrefix, signal) =>
        findAttached(client, { usagePlanId, namePrefix }, signal),
      deleteKey: (id, signal) => deleteKey(client, id, signal),
      renameKey: (id, key, mayReplace, signal) => renameKey(client, id, key, mayReplace, signal),
      setKeyEnabled: (id, enabled, signal) => setKeyEnabled(client, id, enabled, signal),
      readKeyName: (id, signal) => readKeyName(client, id, signal),
      findKeys: (namePrefix, signal) => findKeys(client, namePrefix, signal),
      findKeysWithValues: (namePrefix, signal) => findKeysWithValues(client, namePrefix, signal),
      countKeys: (signal) => countKeys(client, signal),
      readUsage: (query, signal) => logUnsupported(readUsage(client, query, signal)),
      setRemaining: (quota, signal) => setRemaining(client, changeQueue, quota, signal),
      readKey: (query, signal) => logUnsupported(readKey(client, query, signal)),
      findPlansOf: (keyId, signal) => logUnsupported(findPlansOf(client, keyId, signal)),
      hasPlan: (usagePlanId, signal) => hasPlan(client, usagePlanId, signal),
      describePlan: (usagePlanId, signal) => describePlan(client, usagePlanId, signal),
    }
    return { calls, client }
  }
  const registration = open('high')
  const lowPriorityApiGateway = open('low')
  const query = open('query')
  // A change that waits for leftover quota would block the registrations behind it in the queue: an import of low priority pays
  // for its turn before it joins the queue, and is not retried in it.
  let paid: APIGatewayClient | undefined
  const paidClient = () => (paid ??= createClient(options, { ...pace, turn: async () => {} }, 'low', 1))
  return {
    apiGateway: registration.calls,
    lowPriorityApiGateway: {
      ...lowPriorityApiGateway.calls,
      importKeys: (keys, signal) =>
        importKeys(paidClient(), changeQueue, keys, signal, turnOfImport(pace, signal)),
      attachKey: registration.calls.attachKey,
      setRemaining: registration.calls.setRemaining,
    },
    queryApiGateway: query.calls,
    hasSpareCalls: () => pace.waitFor('ImportApiKeys', 'low') === 0,
    close() {
      for (const { client } of [registration, lowPriorityApiGateway, query]) client.destroy()
      paid?.destroy()
    },
  }
}

/** Returns a function that waits for the turn of an import, and of each retry. */
function turnOfImport(pace: Pace, signal: AbortSignal): () => Promise<void> {
  let isFirst = true
  return async () => {
    try {
      await pace.turn('ImportApiKeys', 'low', signal)
      isFirst = false
    } catch (cause) {
      const detail = 'API Gateway had no quota left for an import.'
      throw new ServiceError('upstream_throttled', detail, { cause, effect: isFirst ? 'none' : 'possible' })
    }
  }
}

/** Creates a function that logs once for each operation that the endpoint lacks it, and marks the error as logged. */
function createUnsupportedLog(log: Log): <T>(read: Promise<T>) => Promise<T> {
  const logged = new Set<string>()
  return async (read) => {
    try {
      return await read
    } catch (err) {
      if (!(err instanceof ServiceError) || err.code !== 'upstream_unsupported') throw err
      if (!logged.has(err.message)) log.warn({ err }, 'API Gateway lacks an operation: doing without it')
      logged.add(err.message)
      throw changed(err, { alreadyLogged: true })
    }
  }
}
