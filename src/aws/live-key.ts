import { type APIGatewayClient, GetApiKeyCommand, GetUsagePlanKeyCommand } from '@aws-sdk/client-api-gateway'
import { answeredError, toServiceError } from './errors.ts'

export interface KeyQuery {
  readonly keyId: string
  readonly usagePlanId: string
  /** Whether to ask for the secret, too. */
  readonly withValue: boolean
}

export interface KeyState {
  /** Whether the key exists, is enabled and is on the plan. */
  readonly live: boolean
  /** The secret, where it was asked for and the key exists. */
  readonly value: string | undefined
}

/** How a key stands, by GetApiKey and GetUsagePlanKey. @throws ServiceError */
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

/** Whether there is a key of this id (GetApiKey), whatever its name is now. @throws ServiceError */
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
