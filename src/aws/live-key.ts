import { type APIGatewayClient, GetApiKeyCommand } from '@aws-sdk/client-api-gateway'
import { answeredError, toServiceError } from './errors.ts'
import { findPlansOf, type PlanDescription } from './usage-plans.ts'

export interface KeyQuery {
  readonly keyId: string
  /** `true` to also read the secret. */
  readonly withValue: boolean
}

/** An existing key, as API Gateway shows it. */
export interface KeyState {
  readonly enabled: boolean
  /** The usage plans that the key is on. */
  readonly plans: readonly PlanDescription[]
  /** The secret; `undefined` if it was not requested. */
  readonly value: string | undefined
}

/**
 * Reads the state of a key (GetApiKey, GetUsagePlans). `null`: there is no such key.
 * @throws ServiceError see {@link toServiceError}
 */
export async function readKey(
  client: APIGatewayClient,
  { keyId, withValue }: KeyQuery,
  abortSignal: AbortSignal,
): Promise<KeyState | null> {
  const [key, plans] = await Promise.all([
    client
      .send(new GetApiKeyCommand({ apiKey: keyId, includeValue: withValue }), { abortSignal })
      .catch(missing),
    findPlansOf(client, keyId, abortSignal),
  ])
  return key === null ? null : { enabled: key.enabled === true, plans, value: key.value }
}

function missing(error: unknown): null {
  if (answeredError(error)?.name === 'NotFoundException') return null
  throw toServiceError(error, 'look up an API key')
}
