import assert from 'node:assert/strict'
import { test } from 'node:test'
import { judge, type Look, lookAtKeys } from '../../../src/registration/pool/look-at-keys.ts'
import { long } from '../../support/long.ts'
import { callsOf, startPooled, until, untilReady } from '../../support/pool-states.ts'

/** A list of two pages lacks some keys, as if they had moved from one page to another while the pages were read. */
const moved = {
  operation: 'GetApiKeys' as const,
  when: 'after' as const,
  kind: 'late' as const,
  ms: 600_000,
  every: 100,
  times: 2,
}

test('a key of a list of several pages is faulty only if two looks in a row lack it', async (t) => {
  const { deps, gateway } = await startPooled(t, { env: { POOL: '' } })
  const { account, faults } = gateway
  const prefix = 'pool_a_'
  const keys = Array.from({ length: 510 }, (_, i) => {
    const id = `${prefix}${i}`
    const key = account.createKey({ name: `${id} gold`, enabled: true })
    account.attach('demogold', key.id)
    return { id, usagePlanId: 'demogold', apiKeyId: key.id }
  })
  const plans = deps.config.plans
  const look = (before?: Look) =>
    lookAtKeys(deps, { prefix, plans, extent: 'keys', before: before?.shown }, AbortSignal.timeout(60_000))
  const verdicts = (seen: Look) => new Set(keys.map((key) => judge(seen, key, 0, Date.now())))
  const first = await look()
  assert.deepEqual(verdicts(first), new Set(['works']))
  faults.order(moved)
  const second = await look(first)
  assert.deepEqual(verdicts(second), new Set(['works', 'late']))
  faults.order(moved)
  assert.deepEqual(verdicts(await look(second)), new Set(['works', 'faulty']))
})

test('a large pool loses no key because one look lacks it', long, async (t) => {
  const service = await startPooled(t, { env: { POOL: 'gold:510' } })
  const before = await untilReady(service, 510)
  const { gateway } = service
  const looks = callsOf(gateway, 'GetApiKeys').length
  gateway.faults.order(moved)
  await until(service, () => callsOf(gateway, 'GetApiKeys').length >= looks + 8, 'further looks')
  assert.deepEqual(
    (await untilReady(service, 510)).map(({ id }) => id),
    before.map(({ id }) => id),
  )
  assert.equal(callsOf(gateway, 'DeleteApiKey').length, 0)
})
