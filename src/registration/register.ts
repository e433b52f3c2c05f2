import { type Caller, whyUnusable } from '../auth/bootstrap-token.ts'
import type { Credential, RegistrationCall } from './deps.ts'
import { identifyRequest } from './idempotency/request-identity.ts'
import { type IssueDeps, issueCredential } from './issue-credential.ts'
import { checkName, choosePlan } from './policy.ts'

/** What the client asks for, validated. */
export interface RegistrationRequest {
  readonly name: string
  readonly description: string
  readonly plan: string | undefined
  readonly idempotencyKey: string | undefined
  /** What else makes it the request that it is; left out: nothing. */
  readonly alsoAsked?: string
}

/**
 * One registration: a use of the token for a key. A registration that fails, or whose answer nobody can be given, costs
 * no use and leaves no key.
 * @throws ServiceError every code of the token's policy, and those of {@link issueCredential}
 */
export function register(
  deps: IssueDeps,
  { token, secret }: Caller,
  { idempotencyKey, name, description, plan: asked, alsoAsked }: RegistrationRequest,
  call: RegistrationCall,
): Promise<Credential> {
  const identity =
    idempotencyKey === undefined
      ? null
      : identifyRequest({ token: secret, idempotencyKey }, [
          ...[name, description, asked],
          ...(alsoAsked === undefined ? [] : [alsoAsked]),
        ])
  const request = {
    token,
    identity,
    // A revoked token's answers are destroyed. One that expired since, or was spent, may still ask for what it has.
    mayReplay: token.revokedAt === null,
    async order() {
      const unusable = whyUnusable(token, deps.clock())
      if (unusable !== undefined) throw unusable
      checkName(token, name)
      return { name, description, plan: choosePlan(deps.config.plans, token, asked), rotation: null }
    },
  }
  return issueCredential(deps, request, call)
}
