import { isDeepStrictEqual } from 'node:util'
import type { Actor } from './audit.ts'
import type { AccessToken, BootstrapToken, Proof } from './records.ts'

/**
 * The part of the store that keeps what federated callers stand for: a virtual bootstrap token for each identity, and the access
 * tokens that they exchange a proof for.
 *
 * Errors of every method: see {@link Store}.
 */
export interface FederationStore {
  /**
   * Records a virtual token, or gives the stored one with its id the label and the policy of this one; uses, creation and
   * revocation stay. Reads only if nothing differs. A `maxLive` below the present uses ends no registration.
   *
   * Atomic as a whole: of two that record the same one, one creates it. Audit: `token.created`, nothing for a change.
   * @returns what is stored after that
   */
  putVirtualToken(token: BootstrapToken, actor: Actor): Promise<BootstrapToken>
  /**
   * Records an access token of a virtual token and claims the proof that it was issued for. It is kept for {@link KEPT_MS} after
   * `expiresAt`.
   *
   * Atomic as a whole: of two that claim the same proof, for an access token or a registration, one does. Audit:
   * `access_token.created`.
   * @returns `replayed`, and nothing is written: the proof is claimed already
   * @throws Error if its secret is taken
   */
  createAccessToken(
    token: Omit<AccessToken, 'proof'>,
    proof: Proof | null,
    actor: Actor,
    now: number,
  ): Promise<'created' | 'replayed'>
  /** Finds an access token, which may have expired, by the SHA-256 of its secret, with its virtual token. Reads only. */
  findAccessToken(secretHash: Uint8Array): Promise<FoundAccessToken | undefined>
  /** Returns who claimed a proof, as the outcome `replayed` does; `undefined`: it is free. Reads only. */
  findProof(hash: Uint8Array): Promise<{ readonly holder: string | null } | undefined>
  /** All access tokens that are kept, the first to expire first. Reads only. May lag, see {@link OperatorStore.listingLagMs}. */
  listAccessTokens(): Promise<AccessToken[]>
}

/**
 * The time for which access tokens and proofs are kept after they expired (ms): a retry with the idempotency key of a request is
 * answered for a day.
 */
export const KEPT_MS = 24 * 3_600_000

/** An access token as its holder presents it. */
export interface FoundAccessToken {
  readonly token: BootstrapToken
  readonly expiresAt: number
}

/** The label and the policy of a token, as far as a changed rule changes them. */
export function grantOf(token: BootstrapToken) {
  const { id: _i, secretHash: _s, uses: _u, createdAt: _c, revokedAt: _r, ...grant } = token
  return grant
}

/** Reports whether two virtual tokens have the same label and policy. */
export function isSameGrant(a: BootstrapToken, b: BootstrapToken): boolean {
  // As JSON, so that only what is stored decides.
  const [one, other] = [a, b].map((token) => JSON.parse(JSON.stringify(grantOf(token))))
  return isDeepStrictEqual(one, other)
}
