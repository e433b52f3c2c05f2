import { type Caller, whyUnusable } from '../auth/bootstrap-token.ts'
import { hasUseLeft } from '../store/records.ts'
import type { Credential, RegistrationCall } from './deps.ts'
import { identifyRequest } from './idempotency/request-identity.ts'
import { type IssueDeps, issueCredential } from './issue-credential.ts'
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
 * receive, costs no use and leaves no key.
 * @throws ServiceError the codes of the token's policy, and those of {@link issueCredential}
 */
export function register(
  deps: IssueDeps,
  { token, secret }: Caller,
  { idempotencyKey, name, description, plan, clientMetadata }: RegistrationRequest,
  call: RegistrationCall,
): Promise<Credential> {
  const requested = plan === '' ? undefined : plan
  const identity =
    idempotencyKey === undefined
      ? null
      : identifyRequest({ tokenSecret: secret, idempotencyKey }, [
          ...[name, description, requested],
          ...(clientMetadata === null ? [] : [clientMetadata]),
        ])
  const request = {
    token,
    identity,
    // A revoked token's sealed secrets are destroyed. A token that has expired or is used up may still retry.
    mayReplay: token.revokedAt === null,
    async authorize() {
      const unusable = whyUnusable(token, deps.clock())
      if (unusable !== undefined) throw unusable
      checkName(token, name)
      const chosen = choosePlan(deps.config.plans, token, requested)
      // Last: only a request that would be served may displace a registration.
      const noneLeft = hasUseLeft(token) ? undefined : await deps.tokenUses.whyNoneLeft(token)
      if (noneLeft !== undefined) throw noneLeft
      return { name, description, plan: chosen, rotation: null, clientMetadata }
    },
    async reauthorize() {},
  }
  return issueCredential(deps, request, call)
}
