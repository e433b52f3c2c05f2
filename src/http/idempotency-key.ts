import { ServiceError } from '../errors.ts'

const RULE =
  'Idempotency-Key must be 16 to 255 visible ASCII characters, for example a UUID, bare or in double quotes.'

/**
 * JSON Schema of the header, in terms that Python, Go, Java and JavaScript share. It leaves out the quoted keys with escapes
 * and those of more than 253 characters, which {@link readIdempotencyKey} accepts.
 */
export const idempotencyKeyShape = {
  minLength: 16,
  maxLength: 255,
  pattern: String.raw`^([!#-~]{16,255}|\x22[!#-\x5b\x5d-~]{16,253}\x22)$`,
}

/**
 * Reads `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a quoted string as in the draft, or the bare
 * value that most clients send; both mean the same key. Returns `undefined` if the header is missing.
 * @throws ServiceError `invalid_idempotency_key`
 */
export function readIdempotencyKey(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined
  const text = Array.isArray(header) ? header.join(', ') : header
  const quoted = text.match(/^"((?:[^"\\]|\\["\\])*)"$/)?.[1]?.replace(/\\(["\\])/g, '$1')
  const key = quoted ?? text
  if (!/^[\x21-\x7e]{16,255}$/.test(key) || (quoted === undefined && text.includes('"'))) {
    throw new ServiceError('invalid_idempotency_key', RULE)
  }
  return key
}
