import { type Manager, unknownManagementToken } from '../auth/management-token.ts'
import type { Credential, RegistrationCall } from './context.ts'
import { registrationEnded } from './ended.ts'
import { identifyRequest } from './idempotency.ts'
import { type ObtainDeps, obtain } from './obtain.ts'

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
 * @throws ServiceError `registration_ended`, `rotation_in_progress`; `invalid_token` for an outdated management token;
 *   and those of {@link obtain}
 */
export async function rotate(
  deps: ObtainDeps,
  { registration, secret, isOutdated }: Manager,
  { overlapMs, renewsManagement, idempotencyKey }: RotationRequest,
  call: RegistrationCall,
): Promise<Credential> {
  const { id, name, description, plan, usagePlanId, tokenId } = registration
  const token = await deps.store.getToken(tokenId)
  if (token === undefined) throw new Error(`the token ${tokenId} of ${id} is gone`)
  const asked = ['rotate', id, String(overlapMs), String(renewsManagement)]
  const identity =
    idempotencyKey === undefined ? null : identifyRequest({ token: secret, idempotencyKey }, asked)
  const request = {
    token,
    identity,
    mayReplay: true,
    async order() {
      if (isOutdated) throw unknownManagementToken()
      const current = await deps.store.getRegistration(registration.currentId ?? id)
      if (current?.status !== 'active') throw registrationEnded()
      return {
        name,
        description,
        plan: { name: plan, usagePlanId },
        rotation: { of: id, overlapMs, renewsManagement },
      }
    },
  }
  return obtain(deps, request, call)
}
