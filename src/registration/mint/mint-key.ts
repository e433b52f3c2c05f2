import type { ApiGateway } from '../../aws/api-gateway.ts'
import { ServiceError } from '../../errors.ts'
import type { NewRegistration } from '../../store/records.ts'
import { keyName, keyNamePrefix } from '../key-names.ts'

export interface KeyToMint {
  readonly registration: Pick<NewRegistration, 'id' | 'name' | 'description' | 'usagePlanId' | 'rotation'>
  readonly apiKeyValue: string
  /** Look at the plan whatever API Gateway answers. */
  readonly check: boolean
}

/**
 * Makes one enabled key and puts it on its plan.
 * @returns the key's id in API Gateway
 * @throws ServiceError; API Gateway may then hold a key, attached or not
 */
export async function mint(
  apiGateway: ApiGateway,
  { registration, apiKeyValue, check }: KeyToMint,
  signal: AbortSignal,
): Promise<string> {
  const { id, description, usagePlanId } = registration
  const keyId = await apiGateway.createKey(
    { name: keyName(registration), description, value: apiKeyValue },
    signal,
  )
  try {
    await apiGateway.attachKey({ keyId, keyName: keyNamePrefix([id]), usagePlanId, check }, signal)
    return keyId
  } catch (error) {
    // Whatever the attach says, the key itself is there.
    if (!(error instanceof ServiceError)) throw error
    const { code, message, retryAfter, cause } = error
    throw new ServiceError(code, message, { retryAfter, cause, effect: 'possible' })
  }
}
