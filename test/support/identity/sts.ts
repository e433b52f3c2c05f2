import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import type { TestContext } from 'node:test'
import { ApiError } from '../../../emulator/api-error.ts'
import { defaultGatewayOptions } from '../../../emulator/options.ts'
import { verifySignature } from '../../../emulator/sigv4.ts'
import { awsClaims } from './claims.ts'
import type { Claims, TestIssuer } from './issuer.ts'

const NAMESPACE = 'https://sts.amazonaws.com/doc/2011-06-15/'
const VERSION = '2011-06-15'
const REQUEST_ID = '<RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId>'

/**
 * Starts a local AWS STS with its one operation GetWebIdentityToken, until the end of the test: the query protocol, signed with
 * the emulator's credentials. `issuer` signs the tokens: it needs a key of each algorithm that is asked for.
 * @param claims claims of the caller, over those of {@link awsClaims}
 * @returns the endpoint (`AWS_ENDPOINT_URL_STS`)
 */
export async function startSts(t: TestContext, issuer: TestIssuer, claims: Claims = {}): Promise<string> {
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      const { status, type, message } =
        error instanceof ApiError ? error : new ApiError(500, 'InternalFailure', String(error))
      const kind = status < 500 ? 'Sender' : 'Receiver'
      const body = `<Error><Type>${kind}</Type><Code>${type}</Code><Message>${escapeXml(message)}</Message></Error>${REQUEST_ID}`
      send(response, status, 'ErrorResponse', body)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '', headers } = request
    const body = await buffer(request)
    await verifySignature({ method, url, headers, body }, defaultGatewayOptions, 'sts')
    const form = new URLSearchParams(body.toString())
    if (form.get('Action') !== 'GetWebIdentityToken' || form.get('Version') !== VERSION)
      throw new ApiError(400, 'InvalidAction', 'Could not find operation')
    const audience = [...form]
      .filter(([name]) => /^Audience\.member\.\d+$/.test(name))
      .map(([, value]) => value)
    const alg = form.get('SigningAlgorithm')
    const seconds = Number(form.get('DurationSeconds') ?? 300)
    if (audience.length === 0 || audience.length > 10)
      throw new ApiError(400, 'ValidationError', 'Audience must have 1 to 10 members')
    if (alg !== 'RS256' && alg !== 'ES384')
      throw new ApiError(400, 'ValidationError', 'SigningAlgorithm must be RS256 or ES384')
    if (!(seconds >= 60 && seconds <= 3600))
      throw new ApiError(400, 'ValidationError', 'DurationSeconds must be from 60 to 3600')
    const now = Math.floor(Date.now() / 1000)
    const expires = new Date((now + seconds) * 1000).toISOString()
    const token = issuer.sign(
      {
        ...awsClaims({}, claims),
        aud: audience.length === 1 ? audience[0] : audience,
        iat: now,
        exp: now + seconds,
      },
      { alg },
    )
    const result = `<WebIdentityToken>${token}</WebIdentityToken><Expiration>${expires}</Expiration>`
    send(
      response,
      200,
      'GetWebIdentityTokenResponse',
      `<GetWebIdentityTokenResult>${result}</GetWebIdentityTokenResult><ResponseMetadata>${REQUEST_ID}</ResponseMetadata>`,
    )
  }
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function send(response: ServerResponse, status: number, element: string, body: string): void {
  response
    .writeHead(status, { 'content-type': 'text/xml' })
    .end(`<${element} xmlns="${NAMESPACE}">${body}</${element}>`)
}

const escapeXml = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
