import type { OpenAPIV3_1 } from 'openapi-types'

/** The response headers that carry information of this service, for `components.headers` of the OpenAPI document. */
export const responseHeaders = {
  'X-Request-Id': {
    description: 'The id of the request, as in the log of the service and in "instance" of an error.',
    schema: { type: 'string' },
    example: 'req_0123456789abcdefghij',
  },
  'RateLimit-Policy': {
    description:
      'The limits that apply to the request, as requests (q) in seconds (w), for the address, the token or the ' +
      'registration (draft-ietf-httpapi-ratelimit-headers). Absent if the request was not counted.',
    schema: { type: 'string' },
    example: '"address";q=300;w=60',
  },
  RateLimit: {
    description: 'For each limit, the requests left (r) and the seconds until it is reset (t).',
    schema: { type: 'string' },
    example: '"address";r=299;t=60',
  },
  'Retry-After': {
    description:
      'The seconds to wait before the same request is sent again. Present if the error is retryable.',
    schema: { type: 'integer', minimum: 1 },
    example: 5,
  },
  'WWW-Authenticate': {
    description:
      'The required kind of credentials, and the error of those that were sent (RFC 6750); resource_metadata is ' +
      'the URL of a document about them (RFC 9728).',
    schema: { type: 'string' },
    example:
      'Bearer realm="firstkey", resource_metadata="https://keys.example.com/.well-known/oauth-protected-resource"',
  },
  Location: {
    description: 'The URL to manage the registration, or the one that a redirect leads to.',
    schema: { type: 'string', format: 'uri' },
    example: 'https://keys.example.com/register/reg_4f1c09ab3e_pyJ4MCUwP1RpDiJX72D7',
  },
  'Idempotency-Replayed': {
    description:
      'Present if this is a replay: an earlier request with the same Idempotency-Key minted the key.',
    schema: { type: 'string', enum: ['true'] },
    example: 'true',
  },
  'Preference-Applied': {
    description:
      'Present if `Prefer: wait` was applied (RFC 7240); `ready` says whether the API accepts the key.',
    schema: { type: 'string', enum: ['wait'] },
    example: 'wait',
  },
  Link: {
    description: 'Links to the documents that describe this service, or the required credentials (RFC 8288).',
    schema: { type: 'string' },
    example: '<https://keys.example.com/.well-known/api-catalog>; rel="api-catalog"',
  },
  Vary: {
    description: 'The request headers that the response depends on.',
    schema: { type: 'string' },
    example: 'Accept',
  },
  Accept: {
    description: 'The content type that a body must have (RFC 9110, section 15.5.16).',
    schema: { type: 'string', enum: ['application/json', 'application/x-www-form-urlencoded'] },
    example: 'application/json',
  },
  'Accept-Encoding': {
    description: 'The content coding that a body must have: none.',
    schema: { type: 'string', enum: ['identity'] },
    example: 'identity',
  },
  Pragma: {
    description:
      'Forbids old caches to store the response, as `Cache-Control` does (RFC 7591, section 3.2.1).',
    schema: { type: 'string', enum: ['no-cache'] },
    example: 'no-cache',
  },
} satisfies Record<string, OpenAPIV3_1.HeaderObject>

type HeaderName = keyof typeof responseHeaders

/** Returns the `headers` of a response, for its route's schema. `describeApi` adds those that all responses have. */
export function headersOf(...names: readonly HeaderName[]): Record<string, { $ref: string }> {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]))
}
