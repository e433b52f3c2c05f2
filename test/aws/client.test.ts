import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Gateway } from '../../emulator/gateway.ts'
import { defaultGatewayOptions as account } from '../../emulator/options.ts'
import { createApiGateway } from '../../src/aws/api-gateway.ts'
import type { AwsCall } from '../../src/aws/client.ts'
import { createLogger } from '../../src/log.ts'
import { long } from '../support/long.ts'
import { testGateway } from '../support/service.ts'

/** Connects to a gateway, and records every attempt. */
function connect(
  t: TestContext,
  { url }: Gateway,
  options: { callsPerSecond?: number; callTimeoutMs?: number } = {},
) {
  process.env['AWS_ACCESS_KEY_ID'] = account.accessKeyId
  process.env['AWS_SECRET_ACCESS_KEY'] = account.secretAccessKey
  const calls: AwsCall[] = []
  const { apiGateway, close } = createApiGateway({
    region: account.region,
    endpoint: url,
    callTimeoutMs: 5_000,
    callsPerSecond: 0,
    log: createLogger('silent'),
    observeDate: () => undefined,
    onCall: (call) => calls.push(call),
    ...options,
  })
  t.after(close)
  const summary = () => calls.map(({ operation, status, retryAfter }) => [operation, status, retryAfter])
  return { apiGateway, calls, summary }
}

const { signal } = new AbortController()
const key = { name: 'agent', description: '', value: 'k'.repeat(40) }

test('each attempt is observed by the name of its operation, its status and its times', async (t) => {
  const gateway = await testGateway(t, { latency: { CreateApiKey: 50 } })
  const { apiGateway, calls, summary } = connect(t, gateway)
  const { id } = await apiGateway.createKey(key, signal)
  const attachment = { keyId: id, keyName: key.name, usagePlanId: 'demofree', check: false }
  await apiGateway.attachKey(attachment, signal)
  await apiGateway.importKeys(
    [{ ...key, name: 'other', value: 'o'.repeat(40), usagePlanId: 'demofree' }],
    signal,
  )
  await apiGateway.readUsage(
    { keyId: id, usagePlanId: 'demofree', from: '2026-01-01', to: '2026-01-02' },
    signal,
  )
  await apiGateway.deleteKey(id, signal)
  await assert.rejects(apiGateway.describePlan('unknown', signal))
  assert.deepEqual(summary(), [
    ['CreateApiKey', 201, null],
    ['CreateUsagePlanKey', 201, null],
    ['ImportApiKeys', 201, null],
    ['GetUsage', 200, null],
    ['DeleteApiKey', 202, null],
    ['GetUsagePlan', 404, null],
  ])
  assert.ok((calls[0]?.ms ?? 0) >= 45, 'the time of the call')
})

test('a key that exists and is not listed yet exists also if a further attempt is refused', async (t) => {
  const gateway = await testGateway(t)
  const { apiGateway, summary } = connect(t, gateway)
  gateway.account.createKey(key)
  gateway.faults.order({ operation: 'GetApiKeys', when: 'after', kind: 'late', ms: 60_000, times: 10 })
  gateway.faults.order({ operation: 'CreateApiKey', nth: 2, when: 'before', kind: 'denied' })
  await assert.rejects(apiGateway.createKey(key, signal), { effect: 'possible' })
  assert.deepEqual(summary(), [
    ['CreateApiKey', 409, null],
    ['GetApiKeys', 200, null],
    ['CreateApiKey', 403, null],
  ])
})

test(
  'a repeated attempt is observed of its own, with the Retry-After; one without a response has no status',
  long,
  async (t) => {
    const gateway = await testGateway(t)
    const { apiGateway, summary } = connect(t, gateway)
    gateway.faults.order({ operation: 'GetUsagePlan', when: 'before', kind: 'throttle' })
    gateway.faults.order({ operation: 'GetUsagePlan', nth: 2, when: 'before', kind: 'cut' })
    await apiGateway.describePlan('demofree', signal)
    assert.deepEqual(summary(), [
      ['GetUsagePlan', 429, '1'],
      ['GetUsagePlan', null, null],
      ['GetUsagePlan', 200, null],
    ])
  },
)

test(
  'a call that hangs is observed when it is given up, and one that was never sent is not',
  long,
  async (t) => {
    const gateway = await testGateway(t)
    const { apiGateway, calls, summary } = connect(t, gateway, { callTimeoutMs: 500 })
    gateway.faults.order({ operation: 'DeleteApiKey', times: 3, when: 'before', kind: 'hang' })
    await assert.rejects(apiGateway.deleteKey('k', signal))
    assert.deepEqual(summary(), Array(3).fill(['DeleteApiKey', null, null]))
    assert.ok(calls.every(({ ms }) => ms >= 450))
    await assert.rejects(apiGateway.deleteKey('k', AbortSignal.abort(new Error('given up'))))
    assert.equal(calls.length, 3)
  },
)

test('a call waits for the quota before it is sent', async (t) => {
  const gateway = await testGateway(t)
  const { apiGateway, calls } = connect(t, gateway, { callsPerSecond: 4 })
  await Promise.all(Array.from({ length: 17 }, () => apiGateway.describePlan('demofree', signal)))
  assert.equal(calls.length, 17)
  assert.ok(Math.max(...calls.map(({ waitedMs }) => waitedMs)) > 300)
  const waiting = apiGateway.describePlan('demofree', AbortSignal.timeout(50))
  await assert.rejects(waiting)
  assert.equal(calls.length, 17, 'a call that was given up while it waited is none')
})
