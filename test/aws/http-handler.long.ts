import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ApiGatewayAccess, createApiGateway } from '../../src/aws/api-gateway.ts'
import { createLogger } from '../../src/log.ts'
import { stalls, startStallingServer } from '../support/stalling-server.ts'

process.env['AWS_ACCESS_KEY_ID'] = 'test'
process.env['AWS_SECRET_ACCESS_KEY'] = 'test'

const ATTEMPT_MS = 200
/** Three attempts and the SDK's pauses, on a busy machine. */
const CALL_MS = 3_000

function connect(endpoint: string): ApiGatewayAccess {
  return createApiGateway({
    region: 'eu-west-1',
    endpoint,
    callTimeoutMs: ATTEMPT_MS,
    callsPerSecond: 0,
    observeDate: () => undefined,
    log: createLogger('silent'),
  })
}

const endless = new AbortController().signal
/** Larger than what the sockets of both sides buffer. */
const largeImport = Array.from({ length: 20_000 }, (_, i) => ({
  name: `agent-${i}`.padEnd(500, '-'),
  value: `${i}`.padStart(40, '0'),
  description: '',
  usagePlanId: 'p',
}))

for (const [name, stall] of Object.entries(stalls))
  for (const protocol of ['http', 'https'] as const)
    test(`a call ends within its limit if the ${protocol} server ${name}, and its connections are closed`, async (t) => {
      const server = await startStallingServer(t, stall)
      const access = connect(`${protocol}://127.0.0.1:${server.port}`)
      t.after(() => access.close())
      const startedAt = performance.now()
      const attached = access.apiGateway.attachKey(
        { keyId: 'k', keyName: 'n', usagePlanId: 'p', check: false },
        endless,
      )
      // Behind the stalled call in the queue for changes.
      const imported = access.apiGateway.importKeys(largeImport, endless).then((result) => {
        if (result.outcome !== 'imported') throw result.error
      })
      // Bytes that are no TLS are a fault of the endpoint, not of the moment.
      const isNoTls = protocol === 'https' && name.startsWith('sends')
      const code = isNoTls ? 'upstream_misconfigured' : 'upstream_unavailable'
      await assert.rejects(attached, { code })
      assert.ok(performance.now() - startedAt < CALL_MS, `${performance.now() - startedAt} ms`)
      await assert.rejects(imported, { code })
      while (server.open() > 0) await sleep(10)
    })

test('a response that never stops is cut at its largest size', async (t) => {
  const part = ' '.repeat(1_024 * 1_024)
  const server = await startStallingServer(t, (socket) => {
    socket.resume().write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n')
    const more = (error?: Error | null) => void (error || socket.write(`100000\r\n${part}\r\n`, more))
    more()
  })
  const access = createApiGateway({
    region: 'eu-west-1',
    endpoint: `http://127.0.0.1:${server.port}`,
    callTimeoutMs: 60_000,
    callsPerSecond: 0,
    observeDate: () => undefined,
    log: createLogger('silent'),
  })
  t.after(() => access.close())
  await assert.rejects(access.apiGateway.deleteKey('k', endless), (error: Error) =>
    /larger than/.test(String((error.cause as Error).message)),
  )
})

test('a call ends when its signal aborts, while a body drips', async (t) => {
  const server = await startStallingServer(
    t,
    stalls['sends one byte of the body at a time'] ?? (() => assert.fail()),
  )
  const access = connect(`http://127.0.0.1:${server.port}`)
  t.after(() => access.close())
  await assert.rejects(access.apiGateway.deleteKey('k', AbortSignal.timeout(50)), {
    code: 'upstream_unavailable',
  })
})
