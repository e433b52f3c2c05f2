import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { DynamoDBClient, paginateScan } from '@aws-sdk/client-dynamodb'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { POOL_PREFIX } from '../../src/registration/key-names.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { openDynamoDbStore } from '../../src/store/dynamodb.ts'
import { FROM_THE_POOL } from '../../src/store/pool.ts'
import { newTable, storeEnv } from '../support/dynamodb/new-table.ts'
import type { ReceivedCredential } from '../support/invariants.ts'
import { FAST_SERVER, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway, unlimitedPolicy } from '../support/service.ts'

const SIZE = 12
/** A key without a holder is taken over or deleted within this time (ms). */
const TAKEN_OVER_MS = 60_000
/** The time of a holder (ms): long enough for a busy machine. */
const LEASE_MS = 5_000

test('two replicas on one table share a pool: no two clients get one key, POOL counts for both together, and after kill -9 the other takes the keys over', async (t) => {
  const gateway = await testGateway(t, { propagationMs: 100 })
  const table = await newTable()
  const store = await openDynamoDbStore(table)
  t.after(() => store.close())
  const { secret, token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, Date.now())
  const env = {
    ...{ ...serverEnv(gateway, tempDir(t)), ...storeEnv(table) },
    ...{ POOL: `free:${SIZE}`, API_PROBE_PATH: '/probe', TIMING: JSON.stringify({ poolLease: LEASE_MS }) },
  }
  const start = () => startServer(t, env, FAST_SERVER)

  const received = new Map<string, ReceivedCredential & { readonly ready?: boolean }>()
  /** Registers once on one replica, or on the other if that breaks. */
  async function register(places: readonly { readonly url: string }[]): Promise<void> {
    const headers = {
      authorization: `Bearer ${secret}`,
      'content-type': 'application/json',
      'idempotency-key': randomUUID(),
    }
    const body = JSON.stringify({ name: 'agent' })
    for (let i = 0; i < 100; i++) {
      const { url } = places[i % places.length] ?? { url: '' }
      const answer = await fetch(`${url}/register`, { method: 'POST', headers, body }).then(
        async (one) => (one.status === 201 ? one.json() : undefined),
        () => undefined,
      )
      if (answer === undefined) {
        await sleep(100)
        continue
      }
      const one = answer as ReceivedCredential
      assert.ok(!received.has(one.api_key_value), `two clients have the key of ${one.registration_id}`)
      received.set(one.api_key_value, one)
      return
    }
    assert.fail('no key after 100 requests')
  }
  const registerAll = (count: number, places: readonly { readonly url: string }[]) =>
    Promise.all(Array.from({ length: count }, (_, i) => register(i % 2 === 0 ? places : places.toReversed())))

  // At every call: the keys of the pool that exist, and are not handed out.
  const looks: Promise<number>[] = []
  gateway.onCall = () => {
    const names = [...gateway.account.keys.values()].map(({ name }) => name.split(' ')[0] ?? '')
    const pooled = names.filter((name) => name.startsWith(POOL_PREFIX))
    if (pooled.length > SIZE) looks.push(countFree(pooled))
  }
  async function countFree(pooled: readonly string[]): Promise<number> {
    const owners = await Promise.all(
      pooled.map((id) => store.getRegistration(id.replace(POOL_PREFIX, 'reg_'))),
    )
    return owners.filter((one) => one === undefined).length
  }

  /** The numbers of ready keys by holder, in the order of size. */
  async function shares(): Promise<number[]> {
    const ready = (await store.listPoolKeys()).filter(({ state }) => state === 'ready')
    const byHolder = Map.groupBy(ready, ({ holder }) => holder)
    byHolder.delete(null)
    return [...byHolder.values()].map(({ length }) => length).sort()
  }
  async function untilShared(...expected: number[]): Promise<number> {
    const startedAt = performance.now()
    for (;;) {
      const actual = await shares()
      const tookMs = performance.now() - startedAt
      if (actual.join() === expected.join()) return tookMs
      assert.ok(tookMs < TAKEN_OVER_MS, `${actual} are shared, and not ${expected}`)
      await sleep(100)
    }
  }

  const [one, other] = await Promise.all([start(), start()])
  await untilShared(SIZE / 2, SIZE / 2)
  assert.equal(gateway.account.keys.size, SIZE)

  await registerAll(3 * SIZE, [one, other])
  await untilShared(SIZE / 2, SIZE / 2)

  const burst = registerAll(3 * SIZE, [one, other])
  await sleep(5)
  one.child.kill('SIGKILL')
  await one.ended()
  await burst
  t.diagnostic(`taken over after ${Math.round(await untilShared(SIZE))} ms`)
  assert.equal(gateway.account.keys.size, (await store.countKeys()) + SIZE, 'no key is left over')

  const before = received.size
  await registerAll(SIZE, [other])
  assert.equal(received.size, before + SIZE)
  assert.ok(
    [...received.values()].slice(before).every(({ ready }) => ready === true),
    'what the survivor took over works at once',
  )
  await untilShared(SIZE)

  // With the timings of production: a holder that did not release its keys would keep them for another 15 seconds.
  const stopped = await startServer(t, env)
  await untilShared(SIZE / 2, SIZE / 2)
  stopped.child.kill('SIGTERM')
  assert.equal(await stopped.ended(), 0)
  const { holder } = (await store.listPoolKeys()).find((key) => key.holder !== null) ?? {}
  assert.deepEqual(
    (await store.listPoolHolders()).flatMap(({ owner, until }) => (until > Date.now() ? owner : [])),
    [holder],
    'the replica that stopped holds nothing any more',
  )
  await untilShared(SIZE)
  await registerAll(SIZE, [other])

  for (const { api_key_id, api_key_value } of received.values()) {
    const key = gateway.account.key(api_key_id)
    assert.deepEqual([key.value, key.enabled, [...key.planIds]], [api_key_value, true, ['demofree']])
  }
  assert.deepEqual(
    (await Promise.all(looks)).filter((free) => free > SIZE),
    [],
  )
  assert.equal((await store.getToken(token.id))?.uses, received.size)
  const client = new DynamoDBClient(table)
  t.after(() => client.destroy())
  const items: unknown[] = []
  for await (const { Items = [] } of paginateScan({ client }, { TableName: table.table }))
    items.push(...Items)
  const text = JSON.stringify(items, (_name, value) =>
    value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value,
  )
  for (const { value } of gateway.account.keys.values())
    assert.ok(!text.includes(value), 'no value is stored')
  const entries = await store.listAudit({ limit: 10_000 })
  const pooled = entries.filter(({ detail }) => detail === FROM_THE_POOL).length
  assert.ok(pooled >= 3 * SIZE, `${pooled} of ${received.size} keys are from the pool`)
})
