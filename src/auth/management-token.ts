import { ServiceError } from '../errors.ts'
import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { requireForm } from './form.ts'
import { hashSecret, sameHash } from './secret.ts'

/** Who manages a registration: the registration, and the secret that was presented. */
export interface Manager {
  readonly registration: Registration
  readonly secret: string
  /** The token was renewed since: it is good for nothing but asking again for the answer that renewed it. */
  readonly isOutdated: boolean
}

/**
 * Finds the registration that a management token belongs to.
 * @throws ServiceError `invalid_token`; a typing error is told apart by the checksum, without a look-up
 */
export async function authenticateManagementToken(store: Store, secret: string): Promise<Manager> {
  requireForm('fkm_', secret, 'management token')
  const hash = hashSecret(secret)
  const registration = await store.findByManagementHash(hash)
  if (registration === undefined) throw unknownManagementToken()
  const isOutdated = !sameHash(registration.managementHash, hash)
  const { previousManagementHash: previous } = registration
  if (isOutdated && (previous === null || !sameHash(previous, hash))) throw unknownManagementToken()
  return { registration, secret, isOutdated }
}

export function unknownManagementToken(): ServiceError {
  return new ServiceError('invalid_token', 'The management token is not known here.')
}
