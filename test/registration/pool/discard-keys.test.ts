import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { poolKeysIn, readyHere, startPooled, until, untilReady } from '../../support/pool-states.ts'
import type { Service } from '../../support/service.ts'

/** Records keys as a process that died while it made them. */
async function recordAsDead(
  service: Service,
  records: readonly { readonly id: string; readonly createdAt: number }[],
): Promise<void> {
  const keys = records.map((one) => ({ ...one, plan: 'gold', usagePlanId: 'demogold' }))
  await service.deps.store.beginPoolKeys(keys, 'dead', keys.length)
}

describe('keys of the pool that are discarded', { concurrency: 4 }, () => {
  test("a key that an operator renamed is not the pool's any more: it is replaced, and not deleted", async (t) => {
    const service = await startPooled(t, { env: { POOL: 'gold:1' } })
    const { account } = service.gateway
    const [before] = await untilReady(service, 1)
    const key = account.key(before?.apiKeyId ?? '')
    account.rename(key, 'payments')
    await until(service, async () => (await untilReady(service, 1))[0]?.id !== before?.id, 'it is replaced')
    assert.equal(account.keys.get(key.id), key)
    assert.equal(poolKeysIn(service.gateway).length, 1)
  })

  test('a key that a dead process made is deleted once it is seen, and its record when no other can be made', async (t) => {
    const empty = await startPooled(t, { env: { POOL: '' } })
    const { deps, gateway } = empty
    const { store, clock } = deps
    await recordAsDead(empty, [{ id: 'pool_a_1', createdAt: clock() }])
    await store.discardPoolKeys(['pool_a_1'], 'dead', clock())
    const made = gateway.account.createKey({ name: 'pool_a_1 gold' })
    const timing = { sweepAfter: 60_000 }
    const service = await startPooled(t, { beside: empty, env: { POOL: 'gold:1' }, timing })
    await until(service, () => !gateway.account.keys.has(made.id), 'it is deleted')
    assert.deepEqual(
      (await store.listPoolKeys()).map(({ id, state }) => [id, state]),
      [['pool_a_1', 'discarding']],
    )
  })

  test('a record that was written while the clock was wrong blocks its slot no longer than others', async (t) => {
    const empty = await startPooled(t, { env: { POOL: '' } })
    const { store, clock } = empty.deps
    const ahead = clock() + 3_600_000
    const ids = ['pool_a_1', 'pool_a_2', 'pool_a_3']
    await recordAsDead(
      empty,
      ids.map((id) => ({ id, createdAt: ahead })),
    )
    const [gone = '', discarded = ''] = ids
    const change = { id: gone, apiKeyId: 'gone', to: 'warming' as const, seenWorking: false }
    await store.advancePoolKeys([change], 'dead', ahead)
    await store.discardPoolKeys([discarded], 'dead', ahead)
    const service = await startPooled(t, { beside: empty, env: { POOL: 'gold:3' } })
    await until(
      service,
      async () => (await untilReady(service, 3)).every(({ id }) => !ids.includes(id)),
      'all are replaced',
    )
  })

  test('young keys of a plan that covers no stage any more are not handed out either', async (t) => {
    const service = await startPooled(t, { env: { POOL: 'gold:2' }, timing: { sweepAfter: 600_000 } })
    await untilReady(service, 2)
    service.gateway.account.plan('demogold').apiStages = []
    await until(service, () => readyHere(service) === 0, 'none is ready')
    await until(service, () => poolKeysIn(service.gateway).length === 0, 'they are deleted')
    assert.ok(!service.logLines.some((line) => line.includes('an import of keys for the pool did not work')))
  })
})
