import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { defaultGatewayOptions } from '../../emulator/options.ts'
import { createApiGateway } from '../../src/aws/api-gateway.ts'
import { createLogger } from '../../src/log.ts'
import { testGateway } from '../support/service.ts'

/** Opens a gateway with a pace of five calls a second. */
async function pacedAccess(t: TestContext) {
  const gateway = await testGateway(t)
  process.env['AWS_ACCESS_KEY_ID'] = defaultGatewayOptions.accessKeyId
  process.env['AWS_SECRET_ACCESS_KEY'] = defaultGatewayOptions.secretAccessKey
  const access = createApiGateway({
    ...{ region: defaultGatewayOptions.region, endpoint: gateway.url, callTimeoutMs: 5_000 },
    ...{ callsPerSecond: 5, observeDate: () => undefined, log: createLogger('silent') },
  })
  t.after(() => access.close())
  return { gateway, access }
}

test('an import of low priority that waits for the pace does not hold up the changes of registrations', async (t) => {
  const { access } = await pacedAccess(t)
  const signal = AbortSignal.timeout(30_000)
  const keyNamed = (name: string) => [
    { name, description: '', usagePlanId: 'demogold', value: `${name}${'x'.repeat(40)}` },
  ]
  // Until the burst is spent that background work leaves to registrations.
  await Promise.all(Array.from({ length: 12 }, () => access.apiGateway.findKeys('none', signal)))
  const order: string[] = []
  const low = access.lowPriorityApiGateway.importKeys(keyNamed('low'), signal).then(() => order.push('low'))
  const high = access.apiGateway.importKeys(keyNamed('high'), signal).then(() => order.push('high'))
  await Promise.all([low, high])
  assert.deepEqual(order, ['high', 'low'])
})

test('an import of low priority for which there is no quota in time has made no key', async (t) => {
  const { gateway, access } = await pacedAccess(t)
  await Promise.all(
    Array.from({ length: 19 }, () => access.apiGateway.findKeys('none', AbortSignal.timeout(30_000))),
  )
  const key = { name: 'low', description: '', usagePlanId: 'demogold', value: 'x'.repeat(40) }
  await assert.rejects(
    access.lowPriorityApiGateway.importKeys([key], AbortSignal.timeout(20)),
    ({ code, effect }: { code?: string; effect?: string }) =>
      code === 'upstream_throttled' && effect === 'none',
  )
  assert.equal(gateway.answers['ImportApiKeys'], undefined)
})
