import type { Caller } from '../auth/bootstrap-token.ts'
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

const UUID_V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i

/**
 * Reads the `Idempotency-Key` of a registration. With an identity token it is required and a UUIDv4 (RFC 9562): the response is
 * sealed under it, and the identity is no secret.
 * @throws ServiceError `invalid_idempotency_key`
 */
export function readCallersKey(
  header: string | string[] | undefined,
  { kind }: Pick<Caller, 'kind'>,
): string | undefined {
  const key = readIdempotencyKey(header)
  if (kind === 'identity token' && (key === undefined || !UUID_V4.test(key))) {
    const detail =
      'With an identity token the Idempotency-Key is required and must be a random UUID (version 4): it protects the response.'
    throw new ServiceError('invalid_idempotency_key', detail, {
      nextStep:
        'Send a new random UUID as the Idempotency-Key, and reuse it for every retry of this request.',
    })
  }
  return key
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
