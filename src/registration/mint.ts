import type { ApiGateway } from '../aws/api-gateway.ts'
import { ServiceError } from '../errors.ts'

export interface KeyOrder {
  /** Unique among all keys of the account: the registration's id. The key's name starts with it. */
  readonly registrationId: string
  readonly name: string
  readonly description: string
  readonly value: string
  readonly usagePlanId: string
}

/**
 * Makes an enabled key, puts it on its plan and checks that it is there.
 * @returns the key's id in API Gateway
 * @throws ServiceError; API Gateway may then hold a key, attached or not: see {@link unmint}
 */
export async function mint(apiGateway: ApiGateway, order: KeyOrder, signal: AbortSignal): Promise<string> {
  const keyName = keyNamePrefix(order.registrationId)
  const keyId = await apiGateway.createKey(
    { name: `${keyName}${order.name}`, description: order.description, value: order.value },
    signal,
  )
  try {
    await apiGateway.attachKey({ keyId, keyName, usagePlanId: order.usagePlanId }, signal)
    return keyId
  } catch (error) {
    // Whatever the attach says, the key itself is there.
    if (!(error instanceof ServiceError)) throw error
    const { code, message, retryAfter, cause } = error
    throw new ServiceError(code, message, { retryAfter, cause, effect: 'possible' })
  }
}

/**
 * Finds the key that an interrupted {@link mint} left behind and sees to it that it is on its plan.
 * @returns its id; `undefined` where there is none
 * @throws ServiceError
 */
export async function attachExisting(
  apiGateway: ApiGateway,
  { id, usagePlanId }: { id: string; usagePlanId: string },
  signal: AbortSignal,
): Promise<string | undefined> {
  const keyName = keyNamePrefix(id)
  const [keyId] = await apiGateway.findKeys(keyName, signal)
  if (keyId !== undefined) await apiGateway.attachKey({ keyId, keyName, usagePlanId }, signal)
  return keyId
}

/** Removes whatever {@link mint} left behind, found by name: it may have made a key without learning its id. */
export async function unmint(
  apiGateway: ApiGateway,
  registrationId: string,
  signal: AbortSignal,
): Promise<void> {
  for (const id of await apiGateway.findKeys(keyNamePrefix(registrationId), signal)) {
    await apiGateway.deleteKey(id, signal)
  }
}

/** The space ends the id, so that no other registration's key has this prefix. */
function keyNamePrefix(registrationId: string): string {
  return `${registrationId} `
}
