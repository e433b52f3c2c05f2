import { ServiceError } from '../errors.ts'
import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { hashSecret, sameHash } from './secret.ts'
import { requireTokenFormat } from './token-format.ts'

/** Who manages a registration: the registration, and the secret that was presented. */
export interface Manager {
  readonly registration: Registration
  readonly secret: string
  /** The token was renewed since: it is good for nothing but asking again for the answer that renewed it. */
  readonly isOutdated: boolean
}

/**
 * Finds the registration that a management token belongs to.
 * @param registrationId the one that is asked for, which is looked at first; whether it is that one is up to the caller
 * @throws ServiceError `invalid_token`; a typing error is told apart by the checksum, without a look-up
 */
export async function authenticateManagementToken(
  store: Store,
  registrationId: string,
  secret: string,
): Promise<Manager> {
  requireTokenFormat('fkm_', secret, 'management token')
  const hash = hashSecret(secret)
  const asked = await store.getRegistration(registrationId)
  if (asked !== undefined && asked.rotation === null) {
    const { managementHash, previousManagementHash: previous } = asked
    if (sameHash(managementHash, hash)) return { registration: asked, secret, isOutdated: false }
    if (previous !== null && sameHash(previous, hash))
      return { registration: asked, secret, isOutdated: true }
  }
  const own = await store.findByManagementHash(hash)
  if (own === undefined || !sameHash(own.managementHash, hash)) throw unknownManagementToken()
  return { registration: own, secret, isOutdated: false }
}

export function unknownManagementToken(): ServiceError {
  return new ServiceError('invalid_token', 'The management token is not known here.')
}
