import pLimit from 'p-limit'
import { type ClientOptions, createClient } from './client.ts'
import { createKey, deleteKey, findKeys, type KeyToCreate } from './keys.ts'
import { type Attachment, attachKey, describePlan } from './usage-plans.ts'

/**
 * API Gateway's control plane as this service needs it. Every call ends when its signal does, and throws
 * ServiceError (`upstream_…`, `key_quota_reached`) where it fails.
 */
export interface ApiGateway {
  /** Creates an enabled key, or finds the one an earlier attempt made; answers its id. */
  createKey(key: KeyToCreate, signal: AbortSignal): Promise<string>
  /** Puts a key on its plan and checks it. Attaches of this process wait for one another. */
  attachKey(attachment: Attachment, signal: AbortSignal): Promise<void>
  /** Deletes a key; one that is gone already is fine. */
  deleteKey(id: string, signal: AbortSignal): Promise<void>
  /** The ids of the keys whose name starts with `namePrefix`. */
  findKeys(namePrefix: string, signal: AbortSignal): Promise<string[]>
  /** How many API stages a plan covers. */
  describePlan(usagePlanId: string, signal: AbortSignal): Promise<{ stages: number }>
  close(): void
}

export function createApiGateway(options: ClientOptions): ApiGateway {
  const client = createClient(options)
  const attachLine = pLimit(1)
  return {
    createKey: (key, signal) => createKey(client, key, signal),
    attachKey: (attachment, signal) => attachKey(client, attachLine, attachment, signal),
    deleteKey: (id, signal) => deleteKey(client, id, signal),
    findKeys: (namePrefix, signal) => findKeys(client, namePrefix, signal),
    describePlan: (usagePlanId, signal) => describePlan(client, usagePlanId, signal),
    close: () => client.destroy(),
  }
}
