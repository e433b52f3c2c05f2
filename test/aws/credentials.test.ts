import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { Gateway } from '../../emulator/gateway.ts'
import { type ApiGatewayAccess, createApiGateway } from '../../src/aws/api-gateway.ts'
import { createLogger } from '../../src/log.ts'
import { long } from '../support/long.ts'
import { testGateway } from '../support/service.ts'

interface Credentials {
  readonly AccessKeyId: string
  readonly SecretAccessKey: string
}
/** The credentials that the local gateway accepts, and others. */
const right = {
  AccessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  SecretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
}
const unknown = { ...right, AccessKeyId: 'AKIAUNKNOWN' }
const wrongSecret = { ...right, SecretAccessKey: 'replaced' }

/** A response of the metadata service: credentials, a failure, or none until the client gives up. */
type Answer = Credentials | 'fails' | 'stalls'

/**
 * Starts a metadata service, as containers have it, and points the SDK at it. It gives the `answers` one after the other, and
 * the last of them from then on.
 */
async function startMetadata(t: TestContext, answers: Answer[]) {
  let asked = 0
  const server = createServer((_request, response: ServerResponse) => {
    const answer = answers[Math.min(asked, answers.length - 1)]
    asked += 1
    if (answer === 'stalls') return
    if (answer === 'fails') return void response.writeHead(500).end('{}')
    const Expiration = new Date(Date.now() + 3_600_000).toISOString()
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ ...answer, Token: 'session', Expiration }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_PROFILE']) delete process.env[name]
  const { port } = server.address() as AddressInfo
  process.env['AWS_CONTAINER_CREDENTIALS_FULL_URI'] = `http://127.0.0.1:${port}/`
  process.env['AWS_CONFIG_FILE'] = process.env['AWS_SHARED_CREDENTIALS_FILE'] = '/nonexistent'
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    asked: () => asked,
    /** Replaces the answers by one. */
    answer: (one: Answer) => void answers.splice(0, answers.length, one),
  }
}

function connect(t: TestContext, { url }: Gateway): ApiGatewayAccess {
  const access = createApiGateway({
    region: 'eu-west-1',
    endpoint: url,
    callTimeoutMs: 2_000,
    callsPerSecond: 0,
    log: createLogger('silent'),
    observeDate: () => undefined,
  })
  t.after(() => access.close())
  return access
}

const signal = new AbortController().signal
const read = ({ apiGateway }: ApiGatewayAccess) => apiGateway.describePlan('demofree', signal)

for (const [title, credentials] of [
  ['that AWS does not know', unknown],
  ['whose secret was replaced', wrongSecret],
] as const)
  test(`credentials ${title} are loaded once more for all calls, and the calls succeed`, async (t) => {
    const metadata = await startMetadata(t, [credentials, right])
    const access = connect(t, await testGateway(t))
    await Promise.all(Array.from({ length: 50 }, () => read(access)))
    assert.equal(metadata.asked(), 2)
    await read(access)
    assert.equal(metadata.asked(), 2, 'the credentials are reused')
  })

test('if AWS rejects the new credentials too, the error is retryable, and later ones are used', async (t) => {
  const metadata = await startMetadata(t, [unknown])
  const access = connect(t, await testGateway(t))
  await assert.rejects(read(access), { code: 'upstream_unavailable', retryAfter: 30, effect: 'none' })
  assert.equal(metadata.asked(), 2)
  metadata.answer(right)
  await read(access)
})

test('a metadata service that fails is asked once more', long, async (t) => {
  // The SDK itself asks four times.
  const metadata = await startMetadata(t, ['fails', 'fails', 'fails', 'fails', right])
  await read(connect(t, await testGateway(t)))
  assert.equal(metadata.asked(), 5)
})

test(
  'a metadata service that stalls delays a call by its limit, and blocks no later call',
  long,
  async (t) => {
    const metadata = await startMetadata(t, ['stalls'])
    const access = connect(t, await testGateway(t))
    const startedAt = performance.now()
    await assert.rejects(read(access), { code: 'upstream_unavailable', effect: 'none' })
    // Twice the limit of ten seconds.
    assert.ok(performance.now() - startedAt < 25_000, `${performance.now() - startedAt} ms`)
    metadata.answer(right)
    await read(access)
  },
)
