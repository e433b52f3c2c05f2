import { ServiceError } from '../errors.ts'
import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { hashSecret, sameHash } from './secret-hash.ts'
import { requireTokenFormat } from './token-format.ts'

/** The caller that manages a registration: the registration, and the management token that was presented. */
export interface Manager {
  readonly registration: Registration
  readonly secret: string
  /** `true` if the token has been renewed since: then it is valid only to retry the request that renewed it. */
  readonly isOutdated: boolean
}

/**
 * Finds the registration that a management token belongs to.
 * @param registrationId the registration that the request names, which is checked first. The result may be another one:
 *   the caller has to compare them.
 * @throws ServiceError `invalid_token`; the checksum reveals a typing error without a look-up
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

/** Returns the error for a management token that is unknown, or that has been replaced. */
export function unknownManagementToken(): ServiceError {
  return new ServiceError('invalid_token', 'The management token is not known to this service.')
}
