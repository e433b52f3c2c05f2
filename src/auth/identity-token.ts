import { ServiceError } from '../errors.ts'
import type { Actor } from '../store/audit.ts'
import type { BootstrapToken, Proof } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { type Caller, identitySecret, tokenActor } from './bootstrap-token.ts'
import type { Federation } from './federation/federation.ts'
import type { VerifiedToken } from './federation/verify-identity-token.ts'

/**
 * Verifies an identity token, finds the rule that allows its identity, and stores the virtual token of the two.
 * @param federation `null`: this service takes no identity tokens
 * @throws ServiceError those of {@link Federation}: `invalid_token`, `token_expired`, `issuer_not_trusted`,
 *   `audience_mismatch`, `identity_not_allowed`, `identity_provider_unavailable`; and those of the store
 */
export async function authenticateIdentityToken(
  { store, federation }: { store: Store; federation: Federation | null },
  jwt: string,
  where: Pick<Actor, 'requestId' | 'clientAddress'>,
): Promise<Caller> {
  if (federation === null) {
    throw new ServiceError(
      'invalid_token',
      'This service takes no identity tokens (JWTs), only bootstrap tokens.',
      {
        nextStep: 'Send a bootstrap token (fkb_…) from the operator.',
      },
    )
  }
  return federatedCaller({ store, federation }, await federation.verify(jwt), where)
}

/**
 * Finds the rule that allows a verified identity, of an identity token or of a login, and stores the virtual token of the two.
 * @throws ServiceError `identity_not_allowed`, `issuer_not_trusted`, and those of the store
 */
export async function federatedCaller(
  { store, federation }: { store: Store; federation: Federation },
  { issuer, claims, proof }: VerifiedToken,
  where: Pick<Actor, 'requestId' | 'clientAddress'>,
): Promise<Caller> {
  const match = federation.match(issuer, claims)
  const token = await store.putVirtualToken(match.token, tokenActor(match.token, where))
  return identityCaller(token, proof)
}

/** Returns the caller that a virtual token stands for. */
export function identityCaller(token: BootstrapToken, proof: Proof | null): Caller {
  return { token, kind: 'identity token', secret: identitySecret(token.id), proof, expiresAt: null }
}

/**
 * Reports whether the rule of a virtual token is in force: a token of the token endpoint is used minutes after its identity was
 * verified. `true` for an ordinary token.
 */
export function isRuleInForce(
  federation: Federation | null,
  { federation: granted }: BootstrapToken,
): boolean {
  if (granted === null || federation === null) return granted === null
  const { rules, issuers } = federation.trust()
  return rules.some(({ id, issuer }) => id === granted.rule && issuers.get(issuer)?.url === granted.issuer)
}
