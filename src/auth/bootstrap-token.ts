import { ServiceError } from '../errors.ts'
import type { Actor } from '../store/audit.ts'
import type { BootstrapToken, TokenPolicy } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { randomBase62 } from './random.ts'
import { hashSecret, sameHash } from './secret-hash.ts'
import { createSecret, requireTokenFormat } from './token-format.ts'

/** The caller of a registration: its bootstrap token, and the secret that it presented. */
export interface Caller {
  readonly token: BootstrapToken
  readonly secret: string
}

/** Creates and stores a bootstrap token. Only its hash is stored: the returned secret exists nowhere else. */
export async function issueBootstrapToken(
  store: Store,
  policy: TokenPolicy,
  actor: Actor,
  now: number,
): Promise<{ token: BootstrapToken; secret: string }> {
  const secret = createSecret('fkb_')
  const token: BootstrapToken = {
    ...policy,
    id: `tok_${randomBase62(20)}`,
    secretHash: hashSecret(secret),
    uses: 0,
    createdAt: now,
    revokedAt: null,
    federation: null,
  }
  await store.createToken(token, actor)
  return { token, secret }
}

/**
 * Finds the token that `secret` belongs to. {@link whyUnusable} checks whether the token may still be used.
 * @throws ServiceError `invalid_token`; the checksum reveals a typing error without a look-up
 */
export async function authenticateBootstrapToken(store: Store, secret: string): Promise<BootstrapToken> {
  requireTokenFormat('fkb_', secret, 'bootstrap token')
  const hash = hashSecret(secret)
  const token = await store.findTokenByHash(hash)
  if (token === undefined || !sameHash(token.secretHash, hash)) {
    throw new ServiceError('invalid_token', 'The bootstrap token is not known to this service.')
  }
  return token
}

/**
 * Returns the reason why a known token may no longer be used: `token_revoked` or `token_expired`; `undefined` if it may be,
 * as far as it has a use left.
 */
export function whyUnusable(token: BootstrapToken, now: number): ServiceError | undefined {
  const { revokedAt, expiresAt } = token
  if (revokedAt !== null) {
    return new ServiceError('token_revoked', `The token was revoked at ${new Date(revokedAt).toISOString()}.`)
  }
  if (expiresAt !== null && expiresAt <= now) {
    return new ServiceError('token_expired', `The token expired at ${new Date(expiresAt).toISOString()}.`)
  }
  return undefined
}
