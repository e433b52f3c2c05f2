import type { Actor } from '../store/audit.ts'
import type { BootstrapToken, Proof } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { hashSecret } from './secret-hash.ts'
import { createSecret } from './token-format.ts'

/** The lifetime of an access token (ms). */
export const ACCESS_TOKEN_TTL_MS = 600_000

/**
 * Creates and stores an access token: a bootstrap token for one registration of a virtual token. Only its hash is stored.
 * @param proof what the caller exchanges for it, if that can be used only once
 * @returns the secret; `undefined`: the proof was used before
 */
export async function issueAccessToken(
  store: Store,
  { id: tokenId }: BootstrapToken,
  proof: Proof | null,
  actor: Actor,
  now: number,
): Promise<string | undefined> {
  const secret = createSecret('fkb_')
  const token = { secretHash: hashSecret(secret), tokenId, expiresAt: now + ACCESS_TOKEN_TTL_MS }
  const outcome = await store.createAccessToken(token, proof, actor, now)
  return outcome === 'created' ? secret : undefined
}
