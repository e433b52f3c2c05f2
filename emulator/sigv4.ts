import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { SignatureV4 } from '@smithy/signature-v4'
import { ApiError } from './api-error.ts'
import type { GatewayOptions } from './options.ts'

/** The largest allowed difference between the clocks of client and server. */
const MAX_SKEW_MS = 5 * 60_000

export interface SignedRequest {
  readonly method: string
  /** The path and query of the request, unchanged. */
  readonly url: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
}

/** The credentials that are known, and the time that signatures are compared with. */
type SignatureOptions = Pick<GatewayOptions, 'region' | 'accessKeyId' | 'secretAccessKey' | 'clock'>

/** The hash interface that the signer requires, on `node:crypto`. */
class Sha256 {
  #hash
  constructor(secret?: unknown) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', toBytes(secret))
  }
  update(data: unknown): void {
    this.#hash.update(toBytes(data))
  }
  async digest(): Promise<Uint8Array> {
    return this.#hash.digest()
  }
  reset(): void {
    throw new Error('this hash cannot be reset')
  }
}

function toBytes(data: unknown): Uint8Array {
  if (typeof data === 'string') return Buffer.from(data)
  if (data instanceof ArrayBuffer) return new Uint8Array(data)
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  throw new TypeError('the data is neither text nor bytes')
}

/**
 * Verifies an AWS Signature Version 4: signs the request again with the configured secret and compares the signatures.
 * @param service the service that the client has to sign for
 * @throws ApiError 403, with AWS's error types and messages
 */
export async function verifySignature(
  request: SignedRequest,
  options: SignatureOptions,
  service = 'apigateway',
): Promise<void> {
  const authorization = single(request.headers['authorization'])
  const parts = authorization?.match(
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/,
  )
  const date = parseDate(single(request.headers['x-amz-date']))
  if (parts === null || parts === undefined || date === undefined) {
    throw denied('MissingAuthenticationTokenException', 'Missing Authentication Token')
  }
  const [, accessKeyId, , region = '', signedService = '', signedHeaders = '', signature = ''] = parts
  if (accessKeyId !== options.accessKeyId) {
    throw denied('UnrecognizedClientException', 'The security token included in the request is invalid.')
  }
  if (region !== options.region || signedService !== service) {
    throw denied(
      'InvalidSignatureException',
      `Credential should be scoped to a valid region, not '${region}'.`,
    )
  }
  // A test that moves the gateway's clock cannot move that of the SDK, which follows with the first `Date` that it sees.
  const skews = [options.clock(), Date.now()].map((now) => Math.abs(now - date.getTime()))
  if (Math.min(...skews) > MAX_SKEW_MS) {
    throw denied('InvalidSignatureException', 'Signature expired or not yet current.')
  }
  const expected = await sign(request, signedHeaders.split(';'), date, options, service)
  if (!timingSafeEqual(Buffer.from(signature), Buffer.from(expected)) || !bodyMatches(request)) {
    throw denied(
      'InvalidSignatureException',
      'The request signature we calculated does not match the signature you provided.',
    )
  }
}

async function sign(
  request: SignedRequest,
  signedHeaders: readonly string[],
  signingDate: Date,
  options: SignatureOptions,
  service: string,
): Promise<string> {
  const headers: Record<string, string> = {}
  for (const name of signedHeaders) headers[name] = single(request.headers[name]) ?? ''
  const url = new URL(request.url, 'http://local')
  const signer = new SignatureV4({
    service,
    region: options.region,
    credentials: { accessKeyId: options.accessKeyId, secretAccessKey: options.secretAccessKey },
    sha256: Sha256,
    applyChecksum: signedHeaders.includes('x-amz-content-sha256'),
  })
  const signed = await signer.sign(
    {
      method: request.method,
      protocol: 'http:',
      hostname: url.hostname,
      path: url.pathname,
      query: queryOf(url),
      headers,
      body: request.body.length > 0 ? request.body : undefined,
    },
    { signingDate, signableHeaders: new Set(signedHeaders) },
  )
  return signed.headers['authorization']?.split('Signature=')[1] ?? ''
}

/** Compares the body with the hash in the client's header: the signature covers only that hash. */
function bodyMatches({ headers, body }: SignedRequest): boolean {
  const claimed = single(headers['x-amz-content-sha256'])
  return claimed === undefined || claimed === createHash('sha256').update(body).digest('hex')
}

function queryOf(url: URL): Record<string, string[]> {
  const query: Record<string, string[]> = {}
  for (const [name, value] of url.searchParams) query[name] = [...(query[name] ?? []), value]
  return query
}

function parseDate(text: string | undefined): Date | undefined {
  const parts = text?.match(/^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/)
  if (parts === null || parts === undefined) return undefined
  const [, year, month, day, hour, minute, second] = parts
  return new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(',') : value
}

function denied(type: string, message: string): ApiError {
  return new ApiError(403, type, message)
}
