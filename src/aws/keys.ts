import {
  type APIGatewayClient,
  CreateApiKeyCommand,
  DeleteApiKeyCommand,
  GetApiKeyCommand,
  paginateGetApiKeys,
  UpdateApiKeyCommand,
} from '@aws-sdk/client-api-gateway'
import { changed, ServiceError } from '../errors.ts'
import { answeredError, toServiceError } from './errors.ts'
import { growingPauses, isPassing, pauseFor } from './late-lists.ts'

export interface KeyToCreate {
  /** A unique name, by which the key can be found. */
  readonly name: string
  /** May be empty. */
  readonly description: string
  /** 20 to 128 characters of `[A-Za-z0-9]`. */
  readonly value: string
}

/** A key that {@link createKey} created, or that an earlier attempt had created. */
export interface CreatedKey {
  readonly id: string
  /** An earlier attempt had created the key, and it was enabled. */
  readonly existed: boolean
}

/**
 * Creates an enabled API key. Safe to repeat: the caller chooses the value, so a second attempt collides with the first
 * (409), and the existing key is found by its name, however late the list shows it, and enabled if it is not.
 * @throws ServiceError see {@link toServiceError}
 */
export async function createKey(
  client: APIGatewayClient,
  key: KeyToCreate,
  signal: AbortSignal,
): Promise<CreatedKey> {
  let cause: unknown
  let exists = false
  for (const pause of growingPauses()) {
    const created = await tryCreate(client, key, signal).catch((error: unknown) => {
      throw exists && error instanceof ServiceError ? changed(error, { effect: 'possible' }) : error
    })
    if (created !== undefined) return created
    exists = true
    try {
      // The value is in use, and no other request can know it.
      const [own] = await findKeys(client, key.name, signal)
      if (own !== undefined) {
        if (!own.enabled) await enableKey(client, own.id, signal)
        return { id: own.id, existed: own.enabled }
      }
    } catch (error) {
      cause = error
      if (!isPassing(error)) break
    }
    if (!(await pauseFor(pause, signal))) break
  }
  // Not the error of the look-up: whatever failed there, the key may exist.
  throw new ServiceError('upstream_unavailable', 'API Gateway has the key but does not list it yet.', {
    effect: 'possible',
    retryAfter: 5,
    cause,
  })
}

/** @returns `undefined`: API Gateway reports a conflict */
async function tryCreate(
  client: APIGatewayClient,
  { name, value, description }: KeyToCreate,
  signal: AbortSignal,
): Promise<CreatedKey | undefined> {
  try {
    const described = description === '' ? {} : { description }
    const command = new CreateApiKeyCommand({ name, value, ...described, enabled: true })
    const { id, enabled } = await client.send(command, { abortSignal: signal })
    if (id === undefined) throw notEnabled()
    if (enabled !== true) await enableKey(client, id, signal)
    return { id, existed: false }
  } catch (error) {
    if (answeredError(error)?.name === 'ConflictException') return undefined
    throw toServiceError(error, 'create an API key')
  }
}

/**
 * Enables a key that was never returned to a caller, if it is not enabled (GetApiKey, UpdateApiKey).
 * @returns `true`: it was enabled already
 * @throws ServiceError `upstream_unavailable` if it is not enabled afterwards; see {@link toServiceError}
 */
export async function ensureEnabled(
  client: APIGatewayClient,
  id: string,
  signal: AbortSignal,
): Promise<boolean> {
  let enabled: boolean | undefined
  try {
    ;({ enabled } = await client.send(new GetApiKeyCommand({ apiKey: id }), { abortSignal: signal }))
  } catch (error) {
    throw toServiceError(error, 'look up an API key')
  }
  if (enabled !== true) await enableKey(client, id, signal)
  return enabled === true
}

/** @throws ServiceError whose effect is possible: the key exists */
async function enableKey(client: APIGatewayClient, id: string, signal: AbortSignal): Promise<void> {
  try {
    if (await setKeyEnabled(client, id, true, signal)) return
  } catch (error) {
    throw changed(toServiceError(error, 'enable an API key'), { effect: 'possible' })
  }
  throw notEnabled()
}

function notEnabled(): ServiceError {
  return new ServiceError('upstream_unavailable', 'API Gateway returned a key that is not enabled.', {
    effect: 'possible',
    retryAfter: 5,
  })
}

/** An existing key, without its value. */
export interface FoundKey {
  readonly id: string
  readonly name: string
}

/** Reads the name of a key (GetApiKey). `null`: there is no such key. @throws ServiceError see {@link toServiceError} */
export async function readKeyName(
  client: APIGatewayClient,
  id: string,
  abortSignal: AbortSignal,
): Promise<string | null> {
  try {
    return (await client.send(new GetApiKeyCommand({ apiKey: id }), { abortSignal })).name ?? ''
  } catch (error) {
    if (answeredError(error)?.name === 'NotFoundException') return null
    throw toServiceError(error, 'look up an API key')
  }
}

/** A key as GetApiKeys lists it. */
export interface ListedKey extends FoundKey {
  readonly enabled: boolean
  readonly description: string
  /** Milliseconds since the epoch; `null`: API Gateway does not say. */
  readonly createdAt: number | null
}

/** Returns the keys whose name starts with `namePrefix`. @throws ServiceError see {@link toServiceError} */
export async function findKeys(
  client: APIGatewayClient,
  namePrefix: string,
  signal: AbortSignal,
): Promise<ListedKey[]> {
  try {
    const found = await listKeys(client, { nameQuery: namePrefix, includeValues: false }, signal)
    return found.map(({ value: _, ...key }) => key)
  } catch (error) {
    throw toServiceError(error, 'look up API keys')
  }
}

/** Lists keys page by page. `value`: only if the query includes values. */
async function listKeys(
  client: APIGatewayClient,
  query: { readonly nameQuery: string; readonly includeValues: boolean },
  abortSignal: AbortSignal,
): Promise<(ListedKey & { readonly value: string | undefined })[]> {
  const found: (ListedKey & { readonly value: string | undefined })[] = []
  for await (const page of paginateGetApiKeys({ client, pageSize: 500 }, query, { abortSignal })) {
    const named = keysNamed(page.items, query.nameQuery)
    for (const { id, name, enabled, description = '', createdDate, value } of named)
      found.push({
        ...{ id, name, description, value, enabled: enabled === true },
        createdAt: createdDate?.getTime() ?? null,
      })
  }
  return found
}

/** A key with its value, which is never logged or stored. */
export interface KeyWithValue extends ListedKey {
  readonly value: string
}

/** Returns the keys whose name starts with `namePrefix`, with their values. @throws ServiceError see {@link toServiceError} */
export async function findKeysWithValues(
  client: APIGatewayClient,
  namePrefix: string,
  signal: AbortSignal,
): Promise<KeyWithValue[]> {
  try {
    const found = await listKeys(client, { nameQuery: namePrefix, includeValues: true }, signal)
    return found.flatMap(({ value, ...key }) => (value === undefined ? [] : { ...key, value }))
  } catch (error) {
    throw toServiceError(error, 'read API keys')
  }
}

/** A number of keys. `isComplete: false`: the time was over before all were counted. */
export interface KeyCount {
  readonly count: number
  readonly isComplete: boolean
}

/**
 * Counts all keys of the account and Region, page by page, until `signal` aborts.
 * @throws ServiceError see {@link toServiceError}
 */
export async function countKeys(client: APIGatewayClient, signal: AbortSignal): Promise<KeyCount> {
  let count = 0
  try {
    const pages = paginateGetApiKeys(
      { client, pageSize: 500 },
      { includeValues: false },
      { abortSignal: signal },
    )
    for await (const page of pages) count += page.items?.length ?? 0
    return { count, isComplete: true }
  } catch (error) {
    if (signal.aborted && count > 0) return { count, isComplete: false }
    throw toServiceError(error, 'count the API keys')
  }
}

/** Keeps only the keys with the prefix: if a server ignores the filter of the query, other keys must not match. */
export function keysNamed<T extends { id?: string | undefined; name?: string | undefined }>(
  items: readonly T[] | undefined,
  namePrefix: string,
): (T & FoundKey)[] {
  return (items ?? []).filter(
    (item): item is T & FoundKey => item.id !== undefined && item.name?.startsWith(namePrefix) === true,
  )
}

/**
 * Deletes a key, which also removes it from its usage plans. Succeeds if the key no longer exists.
 * @throws ServiceError see {@link toServiceError}
 */
export async function deleteKey(client: APIGatewayClient, id: string, signal: AbortSignal): Promise<void> {
  try {
    await client.send(new DeleteApiKeyCommand({ apiKey: id }), { abortSignal: signal })
  } catch (error) {
    if (answeredError(error)?.name !== 'NotFoundException') throw toServiceError(error, 'delete an API key')
  }
}

/**
 * Renames and describes a key whose present name may be replaced (GetApiKey, UpdateApiKey): a name that an operator gave it stays,
 * unless they do so between the two calls. Succeeds if the key no longer exists.
 * @param key `description`: may be empty
 * @throws ServiceError see {@link toServiceError}
 */
export async function renameKey(
  client: APIGatewayClient,
  id: string,
  { name, description }: Pick<KeyToCreate, 'name' | 'description'>,
  mayReplace: (presentName: string) => boolean,
  abortSignal: AbortSignal,
): Promise<void> {
  const patchOperations = [
    { op: 'replace' as const, path: '/name', value: name },
    { op: 'replace' as const, path: '/description', value: description },
  ]
  try {
    const present = await client.send(new GetApiKeyCommand({ apiKey: id }), { abortSignal })
    if (!mayReplace(present.name ?? '')) return
    await client.send(new UpdateApiKeyCommand({ apiKey: id, patchOperations }), { abortSignal })
  } catch (error) {
    if (answeredError(error)?.name !== 'NotFoundException') throw toServiceError(error, 'rename an API key')
  }
}

/**
 * Enables or disables a key (UpdateApiKey).
 * @returns `false`: the key no longer exists
 * @throws ServiceError `upstream_unavailable` if API Gateway answers that the key is not as it was set; see
 *   {@link toServiceError}
 */
export async function setKeyEnabled(
  client: APIGatewayClient,
  id: string,
  enabled: boolean,
  signal: AbortSignal,
): Promise<boolean> {
  const patchOperations = [{ op: 'replace' as const, path: '/enabled', value: String(enabled) }]
  const command = new UpdateApiKeyCommand({ apiKey: id, patchOperations })
  try {
    const answer = await client.send(command, { abortSignal: signal })
    if (answer.enabled === enabled) return true
  } catch (error) {
    if (answeredError(error)?.name === 'NotFoundException') return false
    throw toServiceError(error, enabled ? 'enable an API key' : 'disable an API key')
  }
  const detail = `API Gateway did not ${enabled ? 'enable' : 'disable'} the key.`
  throw new ServiceError('upstream_unavailable', detail, { effect: 'possible', retryAfter: 5 })
}
