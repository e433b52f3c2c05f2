import { DAY_MS } from '../clock.ts'
import { ServiceError } from '../errors.ts'
import type { Actor } from '../store/audit.ts'
import type { BootstrapToken, Proof, TokenPolicy } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import type { Federation } from './federation/federation.ts'
import { randomBase62 } from './random.ts'
import { hashSecret, sameHash } from './secret-hash.ts'
import { createSecret, requireTokenFormat } from './token-format.ts'

/** The caller of a registration. */
export interface Caller {
  /** Its bootstrap token; the virtual one for a federated caller. */
  readonly token: BootstrapToken
  /** The credential that it presented: a bootstrap token, one from the token endpoint, or a JWT. */
  readonly kind: 'bootstrap token' | 'access token' | 'identity token'
  /**
   * The text that seals the response and scopes the idempotency key: the presented secret. A retry brings another JWT, so for
   * an identity token it is {@link identitySecret}.
   */
  readonly secret: string
  /** The credential, if it can be used only once. */
  readonly proof: Proof | null
  /** The time from which it begins no registration (ms since the epoch); `null`: never. */
  readonly expiresAt: number | null
}

/**
 * The text that stands for the identity tokens of one caller where a secret is required. It is no secret: what is sealed
 * under it is as secret as the idempotency key, which therefore has to be random. No presented secret can be this text.
 */
export function identitySecret(virtualTokenId: string): string {
  return `identity\0${virtualTokenId}`
}

/** Returns the actor of a caller with this token, for the audit trail. */
export function tokenActor(
  { id, federation }: Pick<BootstrapToken, 'id' | 'federation'>,
  where: Pick<Actor, 'requestId' | 'clientAddress'>,
): Actor {
  const identity = federation && {
    issuer: federation.issuer,
    rule: federation.rule,
    claims: federation.identity,
  }
  return { kind: 'token', id, identity, ...where }
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
 * Finds the caller that `secret` belongs to. {@link whyUnusable} checks whether it may still register.
 * @param deps.federation `null`: the token endpoint is off, whose tokens have the same format
 * @throws ServiceError `invalid_token`; the checksum reveals a typing error without a look-up
 */
export async function authenticateBootstrapToken(
  { store, federation }: { store: Store; federation: Federation | null },
  secret: string,
): Promise<Caller> {
  requireTokenFormat('fkb_', secret, 'bootstrap token')
  const hash = hashSecret(secret)
  const token = await store.findTokenByHash(hash)
  if (token !== undefined && sameHash(token.secretHash, hash)) {
    return { token, kind: 'bootstrap token', secret, proof: null, expiresAt: token.expiresAt }
  }
  const access = federation === null ? undefined : await store.findAccessToken(hash)
  if (access === undefined) {
    throw new ServiceError('invalid_token', 'The bootstrap token is not known to this service.')
  }
  const { token: virtual, expiresAt } = access
  // By a clock that is behind it may be used later: then it must still count as used.
  const proof = { hash, expiresAt: expiresAt + DAY_MS }
  return { token: virtual, kind: 'access token', secret, proof, expiresAt }
}

/**
 * Returns the reason why a known caller may no longer register: `token_revoked`, `token_expired` or, for a federated one,
 * `identity_not_allowed`; `undefined` if it may, as far as a use is left.
 */
export function whyUnusable(
  token: BootstrapToken,
  now: number,
  { kind, expiresAt }: Pick<Caller, 'kind' | 'expiresAt'> = {
    kind: 'bootstrap token',
    expiresAt: token.expiresAt,
  },
): ServiceError | undefined {
  const { revokedAt, federation } = token
  if (revokedAt !== null && federation !== null) return identityNotAllowed()
  if (revokedAt !== null) {
    return new ServiceError('token_revoked', `The token was revoked at ${new Date(revokedAt).toISOString()}.`)
  }
  if (expiresAt !== null && expiresAt <= now) {
    const detail = `The token expired at ${new Date(expiresAt).toISOString()}.`
    const nextStep = kind === 'access token' ? 'Get a new token from the token endpoint.' : undefined
    return new ServiceError('token_expired', detail, { nextStep })
  }
  return undefined
}

/** No rule allows the identity any more, or an operator revoked its virtual token. */
export function identityNotAllowed(): ServiceError {
  return new ServiceError('identity_not_allowed', 'No rule of this service allows this identity to register.')
}
