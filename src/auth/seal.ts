import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'

const VERSION = 1
const IV_BYTES = 12
const TAG_BYTES = 16

/** The secrets that only the caller has. Without both, the sealed text cannot be read. */
export interface SealingSecrets {
  /** The bootstrap token or management token, as presented. */
  readonly tokenSecret: string
  readonly idempotencyKey: string
}

/**
 * Encrypts `text` for one registration: AES-256-GCM under a key derived by HKDF-SHA-256 (RFC 5869) from the caller's
 * secrets, with the registration id as salt and as additional data.
 * @returns version, nonce, ciphertext and tag
 */
export function seal(secrets: SealingSecrets, registrationId: string, text: string): Uint8Array {
  const iv = randomBytes(IV_BYTES)
  const cipher = createCipheriv('aes-256-gcm', deriveKey(secrets, registrationId), iv)
  cipher.setAAD(Buffer.from(registrationId))
  const ciphertext = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
  return Buffer.concat([Buffer.of(VERSION), iv, ciphertext, cipher.getAuthTag()])
}

/**
 * Decrypts the result of {@link seal}.
 * @throws Error if it was sealed with other secrets or for another registration, or was changed
 */
export function unseal(secrets: SealingSecrets, registrationId: string, sealed: Uint8Array): string {
  const bytes = Buffer.from(sealed)
  if (bytes.length < 1 + IV_BYTES + TAG_BYTES || bytes[0] !== VERSION)
    throw new Error('not in the format of a sealed text')
  const iv = bytes.subarray(1, 1 + IV_BYTES)
  const key = deriveKey(secrets, registrationId)
  const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES })
  decipher.setAAD(Buffer.from(registrationId))
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES))
  const ciphertext = bytes.subarray(1 + IV_BYTES, -TAG_BYTES)
  return Buffer.concat([decipher.update(ciphertext), decipher.final()]).toString('utf8')
}

function deriveKey({ tokenSecret, idempotencyKey }: SealingSecrets, registrationId: string): Uint8Array {
  // Part of the stored format: if it changes, no text that is already in the store can be read.
  const info = `firstkey sealed answer v${VERSION}\0${idempotencyKey}`
  return new Uint8Array(hkdfSync('sha256', tokenSecret, registrationId, info, 32))
}
