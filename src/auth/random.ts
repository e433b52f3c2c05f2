import { randomBytes } from 'node:crypto'

/** The digits of base62, in order. */
export const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

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
  const codes: number[] = []
  while (codes.length < length) {
    const byte = randomByte()
    // 248 is the largest multiple of 62 in a byte: larger values would favour the first characters.
    if (byte < 248) codes.push(BASE62.charCodeAt(byte % 62))
  }
  // Characters that are added to a string one by one stay a chain, which takes 20 times the memory.
  return String.fromCharCode(...codes)
}
