import type { OpenAPIV3_1 } from 'openapi-types'

/** The headers of answers that say something of this service, for the document: its `components.headers`. */
export const responseHeaders = {
  'X-Request-Id': {
    description: 'The id of the request, as in the log; the "instance" of an error.',
    schema: { type: 'string' },
    example: 'req_0123456789abcdefghij',
  },
  'RateLimit-Policy': {
    description:
      'The limits that count for the caller, requests (q) in seconds (w): of the address, the token or the ' +
      'registration (draft-ietf-httpapi-ratelimit-headers). Absent where nothing was counted.',
    schema: { type: 'string' },
    example: '"address";q=300;w=60',
  },
  RateLimit: {
    description: 'What of each limit is left (r), and the seconds until it is whole again (t).',
    schema: { type: 'string' },
    example: '"address";r=299;t=60',
  },
  'Retry-After': {
    description: 'The seconds to wait before the same request again. Where the code is retryable.',
    schema: { type: 'integer', minimum: 0 },
    example: 5,
  },
  'WWW-Authenticate': {
    description: 'Who is asked for, and why; resource_metadata says where to read on (RFC 6750, RFC 9728).',
    schema: { type: 'string' },
    example:
      'Bearer realm="firstkey", resource_metadata="https://keys.example.com/.well-known/oauth-protected-resource"',
  },
  Location: {
    description: 'Where the registration is managed.',
    schema: { type: 'string', format: 'uri' },
    example: 'https://keys.example.com/register/reg_pyJ4MCUwP1RpDiJX72D7',
  },
  'Idempotency-Replayed': {
    description: 'Only where this is the answer that an earlier request with the same Idempotency-Key got.',
    schema: { type: 'string', enum: ['true'] },
    example: 'true',
  },
  'Preference-Applied': {
    description: 'Only where `Prefer: wait` was heeded (RFC 7240); `ready` says with what success.',
    schema: { type: 'string', enum: ['wait'] },
    example: 'wait',
  },
  Link: {
    description: 'Where this service says what of itself (RFC 8288).',
    schema: { type: 'string' },
    example: '<https://keys.example.com/.well-known/api-catalog>; rel="api-catalog"',
  },
  Vary: {
    description: 'The request headers that the answer depends on.',
    schema: { type: 'string' },
    example: 'Accept',
  },
} satisfies Record<string, OpenAPIV3_1.HeaderObject>

type HeaderName = keyof typeof responseHeaders

/** The `headers` of a response, for the schema of its route. Those that every answer has are added by the document. */
export function headersOf(...names: readonly HeaderName[]): Record<string, { $ref: string }> {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]))
}
