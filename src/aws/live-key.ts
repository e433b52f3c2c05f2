import { type APIGatewayClient, GetApiKeyCommand, GetUsagePlanKeyCommand } from '@aws-sdk/client-api-gateway'
import { answeredError, toServiceError } from './errors.ts'

export interface KeyQuery {
  readonly keyId: string
  readonly usagePlanId: string
  /** `true` to also read the secret. */
  readonly withValue: boolean
}

export interface KeyState {
  /** `true` if the key exists, is enabled and is on the usage plan. */
  readonly live: boolean
  /** The secret; `undefined` if it was not requested, or if the key does not exist or is not on the usage plan. */
  readonly value: string | undefined
}

/** Reads the state of a key with GetApiKey and GetUsagePlanKey. @throws ServiceError see {@link toServiceError} */
export async function readKey(
  client: APIGatewayClient,
  { keyId, usagePlanId, withValue }: KeyQuery,
  abortSignal: AbortSignal,
): Promise<KeyState> {
  try {
    const [key] = await Promise.all([
      client.send(new GetApiKeyCommand({ apiKey: keyId, includeValue: withValue }), { abortSignal }),
      client.send(new GetUsagePlanKeyCommand({ usagePlanId, keyId }), { abortSignal }),
    ])
    return { live: key.enabled === true, value: key.value }
  } catch (error) {
    if (answeredError(error)?.name === 'NotFoundException') return { live: false, value: undefined }
    throw toServiceError(error, 'look up an API key')
  }
}

/**
 * Returns `true` if a key with this id exists, whatever its name (GetApiKey).
 * @throws ServiceError see {@link toServiceError}
 */
export async function hasKey(
  client: APIGatewayClient,
  id: string,
  abortSignal: AbortSignal,
): Promise<boolean> {
  try {
    await client.send(new GetApiKeyCommand({ apiKey: id }), { abortSignal })
    return true
  } catch (error) {
    if (answeredError(error)?.name === 'NotFoundException') return false
    throw toServiceError(error, 'look up an API key')
  }
}
