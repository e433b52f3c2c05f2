import { crc32 } from 'node:zlib'
import { ServiceError } from '../errors.ts'
import { JWT_IN_TEXT } from '../log.ts'
import { BASE62, randomBase62 } from './random.ts'

const RANDOM_LENGTH = 32
const CHECKSUM_LENGTH = 6

/** `fkb_` for a bootstrap token, `fkm_` for a management token. */
export type SecretPrefix = 'fkb_' | 'fkm_'

function checksum(text: string): string {
  let rest = crc32(text)
  let encoded = ''
  for (let i = 0; i < CHECKSUM_LENGTH; i++) {
    encoded = BASE62[rest % 62] + encoded
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

const TOKEN = new RegExp(`fk[bm]_[0-9A-Za-z]{20}|${JWT_IN_TEXT}`)

/** Returns `true` if a text contains a bootstrap or management token, or more than half of one, or the beginning of a JWT. */
export function containsToken(text: string): boolean {
  return TOKEN.test(text)
}

/**
 * Reports whether a credential has the form of a JWT (RFC 7519): parts with dots between them. So has one that is cut off, encrypted
 * or in another alphabet, whose refusal says so. Tokens of this service have no dot.
 */
export function hasJwtForm(credential: string): boolean {
  return credential.includes('.')
}

/**
 * Checks that `secret` has the format of a token.
 * @param kind the name of that kind of token, for the detail of the error
 * @throws ServiceError `invalid_token` if it does not; the detail distinguishes a typing error from another format
 */
export function requireTokenFormat(prefix: SecretPrefix, secret: string, kind: string): void {
  const format = inspectSecret(prefix, secret)
  if (format === 'mistyped') {
    throw new ServiceError('invalid_token', 'The token has a typing error: its checksum does not match.')
  }
  if (format === 'malformed') {
    throw new ServiceError('invalid_token', `A ${kind} consists of "${prefix}" and 38 letters and digits.`)
  }
}
