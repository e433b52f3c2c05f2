import type { Log } from '../log.ts'
import { createChangeLine } from './change-line.ts'
import { type ClientOptions, createClient } from './client.ts'
import { type ImportOutcome, importKeys, type KeyToImport } from './import-keys.ts'
import { createKey, deleteKey, type FoundKey, findKeys, type KeyToCreate } from './keys.ts'
import { hasKey, type KeyQuery, type KeyState, readKey } from './live-key.ts'
import { createPace, type Urgency } from './pace.ts'
import { readUsage, type UsageDay, type UsageQuery } from './usage.ts'
import {
  type Attachment,
  attachKey,
  describePlan,
  findAttached,
  type PlanDescription,
} from './usage-plans.ts'

/**
 * API Gateway's control plane as this service needs it. Every call ends when its signal does (a change that stands in
 * line, when its turn comes), and throws ServiceError (`upstream_…`, `key_quota_reached`) where it fails.
 */
export interface ApiGateway {
  /** Creates an enabled key, or finds the one an earlier attempt made; answers its id. */
  createKey(key: KeyToCreate, signal: AbortSignal): Promise<string>
  /** Puts a key on its plan. Attaches and imports of this process wait for one another. */
  attachKey(attachment: Attachment, signal: AbortSignal): Promise<void>
  /** Creates, or overwrites, many keys and puts them on their plans: all or none. Safe to repeat. */
  importKeys(keys: readonly KeyToImport[], signal: AbortSignal): Promise<ImportOutcome>
  /** The keys on a plan whose name starts with `namePrefix`. */
  findAttached(usagePlanId: string, namePrefix: string, signal: AbortSignal): Promise<FoundKey[]>
  /** Deletes a key; one that is gone already is fine. */
  deleteKey(id: string, signal: AbortSignal): Promise<void>
  /** The keys whose name starts with `namePrefix`. */
  findKeys(namePrefix: string, signal: AbortSignal): Promise<FoundKey[]>
  /** Whether there is a key of this id. */
  hasKey(id: string, signal: AbortSignal): Promise<boolean>
  /** Whether a key exists, is enabled and is on its plan. */
  readKey(query: KeyQuery, signal: AbortSignal): Promise<KeyState>
  /** What a plan covers and allows. */
  describePlan(usagePlanId: string, signal: AbortSignal): Promise<PlanDescription>
  /** What a key used of its plan, a day each; up to half an hour late. */
  readUsage(query: UsageQuery, signal: AbortSignal): Promise<UsageDay[]>
}

export interface ApiGatewayAccess {
  /** For what a caller waits for. */
  readonly apiGateway: ApiGateway
  /** The same, for what can wait: it takes only the share of the quotas that registrations leave over. */
  readonly background: ApiGateway
  close(): void
}

export interface AccessOptions extends ClientOptions {
  /** Calls a second that this process may make; 0: any number. */
  readonly callsPerSecond: number
  readonly log: Log
}

export function createApiGateway(options: AccessOptions): ApiGatewayAccess {
  const pace = createPace(options.callsPerSecond)
  const changeLine = createChangeLine(options.log)
  const open = (urgency: Urgency) => {
    const client = createClient(options, pace, urgency)
    const calls: ApiGateway = {
      createKey: (key, signal) => createKey(client, key, signal),
      attachKey: (attachment, signal) => attachKey(client, changeLine, attachment, signal),
      importKeys: (keys, signal) => importKeys(client, changeLine, keys, signal),
      findAttached: (usagePlanId, namePrefix, signal) =>
        findAttached(client, { usagePlanId, namePrefix }, signal),
      deleteKey: (id, signal) => deleteKey(client, id, signal),
      findKeys: (namePrefix, signal) => findKeys(client, namePrefix, signal),
      readUsage: (query, signal) => readUsage(client, query, signal),
      hasKey: (id, signal) => hasKey(client, id, signal),
      readKey: (query, signal) => readKey(client, query, signal),
      describePlan: (usagePlanId, signal) => describePlan(client, usagePlanId, signal),
    }
    return { calls, client }
  }
  const registration = open('registration')
  const background = open('background')
  return {
    apiGateway: registration.calls,
    // A change that waits for leftovers would hold up the line in which registrations stand.
    background: { ...background.calls, attachKey: registration.calls.attachKey },
    close() {
      registration.client.destroy()
      background.client.destroy()
    },
  }
}
