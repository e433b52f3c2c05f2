import { hash, timingSafeEqual } from 'node:crypto'

/** Returns the SHA-256 hash of a secret, the only form that is stored. The secrets are random, so no salt is needed. */
export function hashSecret(secret: string): Buffer {
  return hash('sha256', secret, 'buffer')
}

/** Compares two hashes of {@link hashSecret} in constant time. */
export function sameHash(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && timingSafeEqual(a, b)
}
