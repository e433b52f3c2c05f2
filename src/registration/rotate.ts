import { type Manager, unknownManagementToken } from '../auth/management-token.ts'
import { hashSecret, sameHash } from '../auth/secret-hash.ts'
import type { Plan } from '../config.ts'
import { ServiceError } from '../errors.ts'
import type { NewRegistration, Registration } from '../store/records.ts'
import type { Credential, RegistrationCall } from './deps.ts'
import { identifyRequest } from './idempotency/request-identity.ts'
import { type CredentialRequest, type IssueDeps, issueCredential } from './issue-credential.ts'
import { isSuspended } from './lifecycle.ts'
import { registrationEnded, registrationSuspended, rotationRefused } from './use-case-errors.ts'

/** A validated request for a rotation. */
export interface RotationRequest {
  /** The time for which the present key keeps working, in milliseconds, unless it expires before. */
  readonly overlapMs: number
  /** The management token in the response replaces the present one. */
  readonly renewsManagement: boolean
  readonly idempotencyKey: string | undefined
}

/**
 * Issues a new key for a registration, on its plan (see {@link IssueDeps.checkPresentKey}) and with the lifetime that the token
 * gives its keys; that of a federated caller expires when the present one would. The present key ends after the overlap, and a key
 * that overlaps already ends now; both only after the new key was answered. Costs no use of
 * the bootstrap token, which may be revoked or expired.
 * @param manager `secret: null`: an operator
 * @throws ServiceError `registration_ended`, `registration_suspended`, `rotation_in_progress`; `invalid_token` for an outdated management token;
 *   `invalid_idempotency_key` if the management token is renewed without one; and those of {@link issueCredential}
 */
export async function rotate(
  deps: IssueDeps,
  { registration, secret }: Pick<Manager, 'registration'> & { readonly secret: string | null },
  { overlapMs, renewsManagement, idempotencyKey }: RotationRequest,
  call: RegistrationCall,
): Promise<Credential> {
  const { id, name, tokenId } = registration
  const token = await deps.store.getToken(tokenId)
  if (token === undefined) throw new Error(`the token ${tokenId} of ${id} is missing`)
  const content = ['rotate', id, String(overlapMs), String(renewsManagement)]
  const identity =
    idempotencyKey === undefined || secret === null
      ? null
      : identifyRequest({ tokenSecret: secret, idempotencyKey }, content)
  // Without one, a lost response would lose the only token with which it can be recovered.
  if (renewsManagement && identity === null && secret !== null) throw needsIdempotencyKey()
  const request: CredentialRequest = {
    token,
    identity,
    mayReplay: true,
    shown: null,
    async authorize() {
      // Read again: another request may have rotated the key or renewed the token since this one was authenticated.
      const root = await deps.store.getRegistration(id)
      if (root === undefined) throw registrationEnded()
      if (secret !== null && !sameHash(root.managementHash, hashSecret(secret)))
        throw unknownManagementToken()
      // Before API Gateway is asked: requests that an owner repeats meanwhile cost it nothing.
      const refusal = await deps.store.whyNotRotatable(id, deps.clock())
      if (refusal !== undefined) throw await rotationRefused(refusal, deps)
      const current = await presentKeyOf(deps, root)
      return {
        name,
        description: current.description,
        plan: await planOfNextKey(deps, current),
        rotation: { of: id, overlapMs, renewsManagement },
        clientMetadata: current.clientMetadata,
        federated: null,
        // A key of a federated caller lives no longer than its last proof allows.
        ...(token.federation === null ? {} : { expiresAt: current.expiresAt }),
      }
    },
    reauthorize: (rotation) => checkAgain(deps, rotation),
  }
  return issueCredential(deps, request, call)
}

/** Returns the record of a registration's present key. */
export async function presentKeyOf({ store }: IssueDeps, root: Registration): Promise<Registration> {
  const current = root.currentId === null ? root : await store.getRegistration(root.currentId)
  if (current === undefined) throw new Error(`the present key ${root.currentId} of ${root.id} is missing`)
  return current
}

/** Returns the plan for the next key, see {@link CheckPresentKey}. @throws ServiceError if there is to be none */
export async function planOfNextKey(deps: IssueDeps, current: Registration): Promise<Plan> {
  if (current.status !== 'active') throw registrationEnded()
  if (isSuspended(current)) throw registrationSuspended()
  return deps.checkPresentKey(current)
}

/** Checks that a rotation which was begun earlier may still be answered. @throws ServiceError why not */
export async function checkAgain(deps: IssueDeps, { rotation }: NewRegistration): Promise<void> {
  const root = rotation === null ? undefined : await deps.store.getRegistration(rotation.of)
  if (root !== undefined) await planOfNextKey(deps, await presentKeyOf(deps, root))
}

function needsIdempotencyKey(): ServiceError {
  return new ServiceError(
    'invalid_idempotency_key',
    'Renewing the management token requires an Idempotency-Key: without one, a lost response cannot be recovered.',
  )
}
