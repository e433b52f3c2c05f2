import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runCli } from '../support/server-process.ts'
import { registered, serverEnv, startService } from '../support/service.ts'
import { stockedPool } from '../support/stocked-pool.ts'

test('registrations stats counts all keys of the account, in pages without their values, and says what is left', async (t) => {
  const service = await startService(t)
  const { account } = service.gateway
  await registered(service)
  await registered(service)
  await stockedPool(service).stock(3)
  for (let n = 0; n < 1_200; n++) account.createKey({ name: `other-${n}`, enabled: true })
  const env = serverEnv(service.gateway, service.dataDir)
  const stats = (others: Record<string, string> = {}, ...args: string[]) =>
    runCli(t, ['registrations', 'stats', ...args], { ...env, ...others })

  const { key_quota, account_keys, keys } = JSON.parse((await stats({}, '--json')).stdout)
  assert.equal(keys, 2)
  assert.equal(key_quota, 10_000)
  assert.deepEqual(account_keys, { total: 1_205, other: 1_200, room: 8_795, complete: true })
  const shown = await stats()
  assert.match(
    shown.stderr,
    /^Keys of the account in this Region: 1,205 of 10,000, 1,200 of them not of this store; room for 8,795 more\.$/m,
  )

  // If the time is over before the last page, what was counted is a lower bound.
  const stop = new AbortController()
  let pages = 0
  service.gateway.onCall = (operation, at) => {
    if (operation === 'GetApiKeys' && at === 'arrived') pages += 1
    if (pages === 2) stop.abort()
  }
  assert.deepEqual(await service.deps.lowPriorityApiGateway.countKeys(stop.signal), {
    count: 500,
    isComplete: false,
  })
  service.gateway.onCall = () => undefined

  const unconfigured = await stats({ API_BASE_URL: '' })
  assert.equal(unconfigured.code, 0, unconfigured.stderr)
  assert.match(unconfigured.stdout, /^free +active +2$/m)
  assert.match(unconfigured.stderr, /were not counted: that needs the whole configuration of the server$/m)

  service.gateway.faults.order({ operation: 'GetApiKeys', when: 'before', kind: 'denied', times: 99 })
  const denied = await stats({}, '--json')
  assert.equal(denied.code, 0, denied.stderr)
  assert.equal(JSON.parse(denied.stdout).account_keys, null)
  assert.match(denied.stderr, /were not counted: .*not allow/m)
  service.gateway.faults.clear()

  const unreachable = await stats({ AWS_ENDPOINT_URL_API_GATEWAY: 'http://127.0.0.1:1' })
  assert.equal(unreachable.code, 0, unreachable.stderr)
  assert.match(unreachable.stderr, /Keys of registrations: 2\.$/m)
  assert.match(unreachable.stderr, /were not counted: /)
})
