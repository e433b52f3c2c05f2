import { type APIGatewayClient, GetApiKeyCommand, GetUsagePlanKeyCommand } from '@aws-sdk/client-api-gateway'
import { answeredError, toServiceError } from './errors.ts'

/** Whether a key exists, is enabled (GetApiKey) and is on a plan (GetUsagePlanKey). @throws ServiceError */
export async function isLive(
  client: APIGatewayClient,
  { keyId, usagePlanId }: { readonly keyId: string; readonly usagePlanId: string },
  abortSignal: AbortSignal,
): Promise<boolean> {
  try {
    const [key] = await Promise.all([
      client.send(new GetApiKeyCommand({ apiKey: keyId }), { abortSignal }),
      client.send(new GetUsagePlanKeyCommand({ usagePlanId, keyId }), { abortSignal }),
    ])
    return key.enabled === true
  } catch (error) {
    if (answeredError(error)?.name === 'NotFoundException') return false
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
