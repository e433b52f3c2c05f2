import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { type ApiGatewayAccess, createApiGateway } from '../../src/aws/api-gateway.ts'
import { preventsStart } from '../../src/aws/errors.ts'
import { type ErrorCode, errorCatalogue } from '../../src/error-catalogue.ts'
import { ServiceError } from '../../src/errors.ts'
import { createLogger } from '../../src/log.ts'

function useKeys(accessKeyId = 'test', secretAccessKey = 'test'): void {
  process.env['AWS_ACCESS_KEY_ID'] = accessKeyId
  process.env['AWS_SECRET_ACCESS_KEY'] = secretAccessKey
}

function connect(t: TestContext, endpoint: string): ApiGatewayAccess {
  const access = createApiGateway({
    region: 'eu-west-1',
    endpoint,
    callTimeoutMs: 2_000,
    callsPerSecond: 0,
    log: createLogger('silent'),
    observeDate: () => undefined,
  })
  t.after(() => access.close())
  return access
}

/** Starts an API Gateway that gives every call the same response, and returns its port. */
async function startAnswering(
  t: TestContext,
  status: number,
  type: string,
  message: string,
): Promise<number> {
  const server = createServer((request, response) => {
    request.resume().once('end', () => {
      response.writeHead(status, type === '' ? {} : { 'x-amzn-errortype': type })
      response.end(JSON.stringify({ message }))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

const signal = new AbortController().signal

/** Creates a key, and returns the error. */
async function failureOf({ apiGateway }: ApiGatewayAccess): Promise<ServiceError> {
  const key = { name: 'n', description: '', value: 'v'.repeat(40) }
  const error = await apiGateway.createKey(key, signal).then(
    () => undefined,
    (error: unknown) => error,
  )
  assert.ok(error instanceof ServiceError, String(error))
  return error
}

const answers: [
  status: number,
  type: string,
  code: ErrorCode,
  retryAfter: number | undefined,
  start: boolean,
][] = [
  [403, 'AccessDeniedException', 'upstream_misconfigured', undefined, false],
  [401, 'UnauthorizedException', 'upstream_misconfigured', undefined, false],
  [403, 'MissingAuthenticationTokenException', 'upstream_misconfigured', undefined, false],
  [403, 'InvalidSignatureException', 'upstream_misconfigured', undefined, false],
  [400, 'BadRequestException', 'upstream_misconfigured', undefined, false],
  [403, 'ExpiredTokenException', 'upstream_unavailable', 30, false],
  [403, 'UnrecognizedClientException', 'upstream_unavailable', 30, false],
  [403, 'InvalidClientTokenId', 'upstream_unavailable', 30, false],
  [400, 'RequestExpired', 'upstream_unavailable', 30, false],
  [408, '', 'upstream_unavailable', 30, true],
  [403, '', 'upstream_unavailable', 30, true],
  [403, 'SomethingElseException', 'upstream_unavailable', 30, true],
  [404, '', 'upstream_unavailable', 30, true],
  [421, '', 'upstream_unavailable', 30, true],
  [429, 'TooManyRequestsException', 'upstream_throttled', 5, true],
  [400, 'ThrottlingException', 'upstream_throttled', 5, true],
  [429, 'LimitExceededException', 'key_quota_reached', undefined, true],
  [500, 'InternalFailure', 'upstream_unavailable', 5, true],
  [501, '', 'upstream_unavailable', 5, true],
]

for (const [status, type, code, retryAfter, start] of answers)
  test(`${status} ${type || 'without a type'} is ${code}${retryAfter === undefined ? '' : `, to be retried after ${retryAfter} s`}`, async (t) => {
    useKeys()
    const port = await startAnswering(t, status, type, 'Forbidden')
    const error = await failureOf(connect(t, `http://127.0.0.1:${port}`))
    assert.deepEqual([error.code, error.retryAfter], [code, retryAfter])
    if (retryAfter !== undefined) assert.ok(errorCatalogue[code].retryable)
    assert.equal(!preventsStart(error), start)
    // After a refusal to the first attempt nothing can exist; a 5xx or a second attempt proves nothing.
    const isRetried = status >= 500 || code === 'upstream_throttled'
    assert.equal(error.effect, isRetried ? 'possible' : 'none')
  })

test('a signature that AWS rejects for its time passes with the clock', async (t) => {
  useKeys()
  const port = await startAnswering(
    t,
    403,
    'InvalidSignatureException',
    'Signature expired: 20261128T080000Z is now earlier than 20261128T090000Z',
  )
  const { code } = await failureOf(connect(t, `http://127.0.0.1:${port}`))
  assert.equal(code, 'upstream_unavailable')
})

const unsent: [title: string, accessKeyId: string, endpoint: (port: number) => string, detail: RegExp][] = [
  [
    'a line break in the access key id',
    'AK\nIA',
    (port) => `http://127.0.0.1:${port}`,
    /configuration is not valid/,
  ],
  ['https:// to a port without TLS', 'AKIA', (port) => `https://127.0.0.1:${port}`, /secure connection/],
]
for (const [title, accessKeyId, endpoint, detail] of unsent)
  test(`${title} is upstream_misconfigured without an effect, because nothing was sent`, async (t) => {
    useKeys(accessKeyId)
    const port = await startAnswering(t, 200, '', '')
    const error = await failureOf(connect(t, endpoint(port)))
    assert.deepEqual([error.code, error.effect], ['upstream_misconfigured', 'none'])
    assert.match(error.message, detail)
    assert.ok(preventsStart(error))
  })

test('no connection is upstream_unavailable, and may have had an effect', async (t) => {
  useKeys()
  const error = await failureOf(connect(t, 'http://127.0.0.1:1'))
  assert.deepEqual([error.code, error.retryAfter, error.effect], ['upstream_unavailable', 5, 'possible'])
})
