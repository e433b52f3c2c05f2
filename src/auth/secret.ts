import { hash, randomBytes, timingSafeEqual } from 'node:crypto'
import { crc32 } from 'node:zlib'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const RANDOM_LENGTH = 32
const CHECKSUM_LENGTH = 6

/** `fkb_` for a bootstrap token, `fkm_` for a management token. */
export type SecretPrefix = 'fkb_' | 'fkm_'

/** The bytes that are read from the CSPRNG at once: many small reads cost more than everything done with the bytes. */
const POOL_BYTES = 8_192
const pool = { bytes: Buffer.alloc(0), next: 0 }

/** Returns a byte from the CSPRNG. No byte is returned twice, and each is erased from the pool when it is returned. */
function randomByte(): number {
  if (pool.next >= pool.bytes.length) Object.assign(pool, { bytes: randomBytes(POOL_BYTES), next: 0 })
  const byte = pool.bytes.readUInt8(pool.next)
  pool.bytes.writeUInt8(0, pool.next)
  pool.next += 1
  return byte
}

/** Returns `length` random characters of `[0-9A-Za-z]` from the CSPRNG, each equally likely. */
export function randomBase62(length: number): string {
  let text = ''
  while (text.length < length) {
    const byte = randomByte()
    // 248 is the largest multiple of 62 in a byte: larger values would favour the first characters.
    if (byte < 248) text += ALPHABET[byte % 62]
  }
  return text
}

function checksum(text: string): string {
  let rest = crc32(text)
  let encoded = ''
  for (let i = 0; i < CHECKSUM_LENGTH; i++) {
    encoded = ALPHABET[rest % 62] + encoded
    rest = Math.floor(rest / 62)
  }
  return encoded
}

/**
 * Creates a secret: the prefix, 32 random base62 characters (190 bits) and the CRC-32 of those in base62, so that
 * secret scanners can recognise a leaked secret offline.
 */
export function createSecret(prefix: SecretPrefix): string {
  const random = randomBase62(RANDOM_LENGTH)
  return `${prefix}${random}${checksum(random)}`
}

/**
 * Checks the format of a secret with this prefix. Returns `'ok'`, `'malformed'` (another prefix, length or alphabet) or
 * `'mistyped'` (the checksum does not match). The result does not tell whether the secret was ever issued.
 */
export function inspectSecret(prefix: SecretPrefix, text: string): 'ok' | 'malformed' | 'mistyped' {
  if (!text.startsWith(prefix)) return 'malformed'
  const body = text.slice(prefix.length)
  if (body.length !== RANDOM_LENGTH + CHECKSUM_LENGTH || !/^[0-9A-Za-z]+$/.test(body)) return 'malformed'
  return checksum(body.slice(0, RANDOM_LENGTH)) === body.slice(RANDOM_LENGTH) ? 'ok' : 'mistyped'
}

/** Returns the SHA-256 hash of a secret, the only form that is stored. The secrets are random, so no salt is needed. */
export function hashSecret(secret: string): Buffer {
  return hash('sha256', secret, 'buffer')
}

/** Compares two hashes of {@link hashSecret} in constant time. */
export function sameHash(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && timingSafeEqual(a, b)
}
