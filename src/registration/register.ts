import { type Caller, whyUnusable } from '../auth/bootstrap-token.ts'
import { hasUseLeft } from '../store/records.ts'
import type { Credential, RegistrationCall } from './deps.ts'
import { identifyRequest } from './idempotency/request-identity.ts'
import {
  type CredentialRequest,
  type IssueDeps,
  issueCredential,
  type KeyContent,
} from './issue-credential.ts'
import { repeatRegistration, requireFreshProof } from './repeat-registration.ts'
import { checkAgain } from './rotate.ts'
import { checkName, choosePlan } from './token-policy.ts'

/** A validated request for a registration. */
export interface RegistrationRequest {
  readonly name: string
  readonly description: string
  /** Empty: the default plan of the token. */
  readonly plan: string
  readonly idempotencyKey: string | undefined
  /** The metadata of an OAuth client, as JSON. A retry must repeat it. */
  readonly clientMetadata: string | null
}

/**
 * Registers: spends one use of the token and issues a credential. A registration that fails, or whose response no caller can
 * receive, costs no use and leaves no key. A federated caller that registers a name again may get a new key of the registration
 * that it has, see {@link repeatRegistration}.
 * @throws ServiceError the codes of the token's policy, those of {@link repeatRegistration}, and those of
 *   {@link issueCredential}
 */
export function register(
  deps: IssueDeps,
  caller: Caller,
  { idempotencyKey, name, description, plan, clientMetadata }: RegistrationRequest,
  call: RegistrationCall,
): Promise<Credential> {
  const { token, secret, proof } = caller
  const { federation } = token
  const requested = plan === '' ? undefined : plan
  const identity =
    idempotencyKey === undefined
      ? null
      : identifyRequest({ tokenSecret: secret, idempotencyKey }, [
          ...[name, description, requested],
          ...(clientMetadata === null ? [] : [clientMetadata]),
        ])
  const request: CredentialRequest = {
    token,
    identity,
    shown: caller.kind,
    // A revoked token's sealed secrets are destroyed. A token that has expired or is used up may still retry.
    mayReplay: token.revokedAt === null,
    async authorize() {
      const unusable = whyUnusable(token, deps.clock(), caller)
      if (unusable !== undefined) throw unusable
      checkName(token, name)
      const content: KeyContent = {
        ...{ name, description, plan: choosePlan(deps.config.plans, token, requested) },
        ...{ rotation: null, clientMetadata },
        federated: federation && { proof, holdsName: federation.onRepeat !== 'add' },
      }
      const wanted = { caller, content, requestedPlan: requested, identity, actor: call.actor }
      const rotation = await repeatRegistration(deps, wanted)
      if (rotation !== undefined) return rotation
      if (hasUseLeft(token)) return content
      await requireFreshProof(deps, wanted)
      // Last: only a request that would be served may displace a registration.
      const noneLeft = await deps.tokenUses.whyNoneLeft(token)
      if (noneLeft === undefined) return content
      // The registration that was pending under this name may be the one that lives now, and can be repeated.
      const late = await repeatRegistration(deps, wanted)
      if (late === undefined) throw noneLeft
      return late
    },
    reauthorize: (earlier) => checkAgain(deps, earlier),
  }
  return issueCredential(deps, request, call)
}
