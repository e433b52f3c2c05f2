import {
  type APIGatewayClient,
  CreateApiKeyCommand,
  DeleteApiKeyCommand,
  paginateGetApiKeys,
} from '@aws-sdk/client-api-gateway'
import { ServiceError } from '../errors.ts'
import { answeredError, toServiceError } from './errors.ts'

export interface KeyToCreate {
  /** A unique name, by which the key can be found. */
  readonly name: string
  /** May be empty. */
  readonly description: string
  /** 20 to 128 characters of `[A-Za-z0-9]`. */
  readonly value: string
}

/**
 * Creates an enabled API key and returns its id. Safe to repeat: the caller chooses the value, so a second attempt
 * collides with the first (409), and the existing key is found by its name.
 * @throws ServiceError see {@link toServiceError}
 */
export async function createKey(
  client: APIGatewayClient,
  key: KeyToCreate,
  signal: AbortSignal,
): Promise<string> {
  const { name, value } = key
  const description = key.description === '' ? {} : { description: key.description }
  try {
    const command = new CreateApiKeyCommand({ name, value, ...description, enabled: true })
    const answer = await client.send(command, { abortSignal: signal })
    if (answer.id === undefined || answer.enabled !== true) {
      throw new ServiceError('upstream_unavailable', 'API Gateway returned a key that is not enabled.', {
        effect: 'possible',
        retryAfter: 5,
      })
    }
    return answer.id
  } catch (error) {
    if (answeredError(error)?.name !== 'ConflictException') throw toServiceError(error, 'create an API key')
    return await findOwn(client, name, signal)
  }
}

/** Finds the key that an earlier attempt created: its value is in use, and no other request can know that value. */
async function findOwn(client: APIGatewayClient, name: string, signal: AbortSignal): Promise<string> {
  let cause: unknown
  try {
    const [found] = await findKeys(client, name, signal)
    if (found !== undefined) return found.id
  } catch (error) {
    cause = error
  }
  // Not the error of the look-up: whatever failed there, the key may exist.
  throw new ServiceError('upstream_unavailable', 'API Gateway has the key but does not list it yet.', {
    effect: 'possible',
    retryAfter: 5,
    cause,
  })
}

/** An existing key, without its value. */
export interface FoundKey {
  readonly id: string
  readonly name: string
}

export interface ListedKey extends FoundKey {
  readonly enabled: boolean
}

/** Returns the keys whose name starts with `namePrefix`. @throws ServiceError see {@link toServiceError} */
export async function findKeys(
  client: APIGatewayClient,
  namePrefix: string,
  signal: AbortSignal,
): Promise<ListedKey[]> {
  try {
    const found: ListedKey[] = []
    const pages = paginateGetApiKeys(
      { client, pageSize: 500 },
      { nameQuery: namePrefix },
      { abortSignal: signal },
    )
    for await (const { items = [] } of pages) {
      const enabled = new Set(items.flatMap((item) => (item.enabled ? item.id : [])))
      found.push(...keysNamed(items, namePrefix).map((key) => ({ ...key, enabled: enabled.has(key.id) })))
    }
    return found
  } catch (error) {
    throw toServiceError(error, 'look up API keys')
  }
}

/** Keeps only the keys with the prefix: if a server ignores the filter of the query, other keys must not match. */
export function keysNamed(
  items: readonly { id?: string | undefined; name?: string | undefined }[] | undefined,
  namePrefix: string,
): FoundKey[] {
  return (items ?? []).flatMap(({ id, name }) =>
    id !== undefined && name?.startsWith(namePrefix) ? [{ id, name }] : [],
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
