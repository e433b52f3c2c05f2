import { type Manager, unknownManagementToken } from '../auth/management-token.ts'
import { hashSecret, sameHash } from '../auth/secret.ts'
import { ServiceError } from '../errors.ts'
import type { Credential, RegistrationCall } from './deps.ts'
import { registrationEnded } from './errors.ts'
import { identifyRequest } from './idempotency/request-identity.ts'
import { type IssueDeps, issueCredential } from './issue-credential.ts'

/** What the client asks for, validated. */
export interface RotationRequest {
  /** How long the key there is now still works, in milliseconds, unless it expires before. */
  readonly overlapMs: number
  /** Whether the answer's management token takes the place of the present one. */
  readonly renewsManagement: boolean
  readonly idempotencyKey: string | undefined
}

/**
 * A new key for a registration, on the same plan, for as long as the token's keys live; the present one goes after the
 * overlap, and one that overlaps already goes now. All that only once the answer was given: until then the present key
 * stays. Costs no use of the bootstrap token, which may be revoked or expired.
 * @param manager `secret: null` is the operator
 * @throws ServiceError `registration_ended`, `rotation_in_progress`; `invalid_token` for an outdated management token;
 *   `invalid_idempotency_key` where the management token is renewed without one; and those of {@link issueCredential}
 */
export async function rotate(
  deps: IssueDeps,
  { registration, secret }: Pick<Manager, 'registration'> & { readonly secret: string | null },
  { overlapMs, renewsManagement, idempotencyKey }: RotationRequest,
  call: RegistrationCall,
): Promise<Credential> {
  const { id, name, description, plan, usagePlanId, tokenId } = registration
  const token = await deps.store.getToken(tokenId)
  if (token === undefined) throw new Error(`the token ${tokenId} of ${id} is gone`)
  const asked = ['rotate', id, String(overlapMs), String(renewsManagement)]
  const identity =
    idempotencyKey === undefined || secret === null
      ? null
      : identifyRequest({ token: secret, idempotencyKey }, asked)
  // A lost answer would lose the one token by which it could be made good.
  if (renewsManagement && identity === null && secret !== null) throw needsIdempotencyKey()
  const request = {
    token,
    identity,
    mayReplay: true,
    async order() {
      // Anew: since the request was authenticated another one may have rotated the key, or renewed the token.
      const root = await deps.store.getRegistration(id)
      if (root === undefined) throw registrationEnded()
      if (secret !== null && !sameHash(root.managementHash, hashSecret(secret)))
        throw unknownManagementToken()
      const current = root.currentId === null ? root : await deps.store.getRegistration(root.currentId)
      if (current === undefined) throw new Error(`the present key ${root.currentId} of ${id} is missing`)
      if (current.status !== 'active') throw registrationEnded()
      return {
        name,
        description,
        plan: { name: plan, usagePlanId },
        rotation: { of: id, overlapMs, renewsManagement },
      }
    },
  }
  return issueCredential(deps, request, call)
}

function needsIdempotencyKey(): ServiceError {
  return new ServiceError(
    'invalid_idempotency_key',
    'To renew the management token an Idempotency-Key is required: without one a lost answer could not be had again.',
  )
}
