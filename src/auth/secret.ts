import { hash, randomBytes, timingSafeEqual } from 'node:crypto'
import { crc32 } from 'node:zlib'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const RANDOM_LENGTH = 32
const CHECKSUM_LENGTH = 6

/** `fkb_` a bootstrap token, `fkm_` a management token. */
export type SecretPrefix = 'fkb_' | 'fkm_'

/** Asked of the CSPRNG at once: asking for a few bytes at a time costs more than all that is done with them. */
const POOL_BYTES = 8_192
const pool = { bytes: Buffer.alloc(0), next: 0 }

/** A byte from the CSPRNG, never given twice and gone from memory when it is given. */
function randomByte(): number {
  if (pool.next >= pool.bytes.length) Object.assign(pool, { bytes: randomBytes(POOL_BYTES), next: 0 })
  const byte = pool.bytes.readUInt8(pool.next)
  pool.bytes.writeUInt8(0, pool.next)
  pool.next += 1
  return byte
}

/** `length` characters of `[0-9A-Za-z]` from the CSPRNG, each equally likely. */
export function randomBase62(length: number): string {
  let text = ''
  while (text.length < length) {
    const byte = randomByte()
    // 248 is the largest multiple of 62 in a byte: taking more would favour the first characters.
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
 * A new secret: prefix, 32 random base62 characters (190 bits) and the base62 CRC-32 of those, so that secret
 * scanners can recognise a leaked one without asking anybody.
 */
export function createSecret(prefix: SecretPrefix): string {
  const random = randomBase62(RANDOM_LENGTH)
  return `${prefix}${random}${checksum(random)}`
}

/**
 * Whether `text` has the form of a secret with this prefix: `'ok'`, `'malformed'` (another prefix, length or
 * alphabet) or `'mistyped'` (the checksum does not match). Says nothing about whether the secret was ever issued.
 */
export function inspectSecret(prefix: SecretPrefix, text: string): 'ok' | 'malformed' | 'mistyped' {
  if (!text.startsWith(prefix)) return 'malformed'
  const body = text.slice(prefix.length)
  if (body.length !== RANDOM_LENGTH + CHECKSUM_LENGTH || !/^[0-9A-Za-z]+$/.test(body)) return 'malformed'
  return checksum(body.slice(0, RANDOM_LENGTH)) === body.slice(RANDOM_LENGTH) ? 'ok' : 'mistyped'
}

/** SHA-256 of a secret, the only form in which one is stored. The secrets are random, so no salt is needed. */
export function hashSecret(secret: string): Buffer {
  return hash('sha256', secret, 'buffer')
}

/** Constant-time comparison of two hashes made by {@link hashSecret}. */
export function sameHash(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && timingSafeEqual(a, b)
}
