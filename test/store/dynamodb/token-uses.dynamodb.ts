import assert from 'node:assert/strict'
import { test } from 'node:test'
import { issueBootstrapToken } from '../../../src/auth/bootstrap-token.ts'
import { SERVICE } from '../../../src/store/audit.ts'
import { writeLease } from '../../../src/store/dynamodb/begin-writes.ts'
import { connect } from '../../../src/store/dynamodb/connection.ts'
import {
  findHeldUses,
  type Reservation,
  reservation,
  reserve,
  spend,
} from '../../../src/store/dynamodb/token-uses.ts'
import { openDynamoDbStore } from '../../../src/store/dynamodb.ts'
import type { NewRegistration } from '../../../src/store/records.ts'
import { startFaultyProxy } from '../../support/dynamodb/faulty-proxy.ts'
import { newTable, storeEnv } from '../../support/dynamodb/new-table.ts'
import { runCli } from '../../support/server-process.ts'
import { serverEnv, tempDir, testGateway, unlimitedPolicy } from '../../support/service.ts'
import { newRegistration } from '../store-contract.ts'

function reservationOf([first, ...others]: readonly NewRegistration[]): Reservation {
  assert.ok(first)
  return reservation(first.tokenId, [first, ...others])
}

test('uses that a dead process spent for registrations it never recorded are refunded once, after its lease expires', async (t) => {
  const options = await newTable()
  const [db, one, two] = [
    connect(options),
    await openDynamoDbStore(options),
    await openDynamoDbStore(options),
  ]
  t.after(() => Promise.all([db.client.destroy(), one.close(), two.close()]))
  const { token } = await issueBootstrapToken(one, { ...unlimitedPolicy, maxUses: 300 }, SERVICE, 1)
  const batch = Array.from({ length: 250 }, () => newRegistration(token.id))
  const lease = { owner: 'dead', until: 5_000 }
  const reserved = [reservationOf(batch.slice(0, 200)), reservationOf(batch.slice(200))]
  await db.transact([
    writeLease(lease),
    spend(token.id, batch),
    ...reserved.map((each) => reserve(each, lease.owner, 1_000)),
  ])
  const uses = async () => (await one.getToken(token.id))?.uses
  assert.equal(await uses(), 250)
  assert.deepEqual(await one.listRecoverable(4_999, 100), [])
  assert.deepEqual(await one.listAbandonedUses(4_999, 100), [])
  assert.deepEqual(await one.refundAbandonedUses(4_999, 100), [])
  assert.equal(await uses(), 250, 'the lease has not expired')
  assert.deepEqual(await one.listRecoverable(5_000, 100), [])
  const abandoned = (await one.listAbandonedUses(5_000, 100)).map(({ tokenId, count }) => [tokenId, count])
  assert.deepEqual(abandoned.sort(), [
    [token.id, 200],
    [token.id, 50],
  ])
  assert.equal(await uses(), 250, 'listing refunds nothing')
  const refunded = await Promise.all(
    [one, two, one, two].map((store) => store.refundAbandonedUses(5_000, 100)),
  )
  assert.equal(
    refunded.flat().reduce((sum, { count }) => sum + count, 0),
    250,
    'each is refunded once',
  )
  assert.equal(await uses(), 0)
  const begun = await one.beginRegistrations(batch, { owner: 'alive', until: 9_000 })
  assert.ok(begun.every(({ outcome }) => outcome === 'begun'))
  assert.equal(await uses(), 250)
})

test('uses that a process with a clock far ahead spent and left are refunded', async (t) => {
  const options = await newTable()
  const [db, store] = [connect(options), await openDynamoDbStore(options)]
  t.after(() => Promise.all([db.client.destroy(), store.close()]))
  const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
  const ahead = 3_600_000
  const batch = [newRegistration(token.id, ahead)]
  await db.transact([
    writeLease({ owner: 'dead', until: ahead + 5_000 }),
    spend(token.id, batch),
    reserve(reservationOf(batch), 'dead', ahead),
  ])
  assert.deepEqual(await store.refundAbandonedUses(1_000, 10), [{ tokenId: token.id, count: 1 }])
  assert.equal((await store.getToken(token.id))?.uses, 0)
})

test('abandoned uses are found behind older ones whose lease still runs, however few are asked for', async (t) => {
  const options = await newTable()
  const [db, store] = [connect(options), await openDynamoDbStore(options)]
  t.after(() => Promise.all([db.client.destroy(), store.close()]))
  const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
  const spent = Array.from({ length: 7 }, () => newRegistration(token.id))
  const running = spent.slice(0, 5).map((one) => reservationOf([one]))
  const dead = reservationOf(spent.slice(5))
  await db.transact([
    writeLease({ owner: 'running', until: 99_000 }),
    writeLease({ owner: 'dead', until: 5_000 }),
    spend(token.id, spent),
    ...running.map((each) => reserve(each, 'running', 1_000)),
    reserve(dead, 'dead', 2_000),
  ])
  assert.deepEqual(await store.refundAbandonedUses(9_000, 1), [{ tokenId: token.id, count: 2 }])
  assert.equal((await store.getToken(token.id))?.uses, 5)
})

test('registrations recover lists abandoned uses after unfinished registrations, and refunds them with --yes', async (t) => {
  const options = await newTable()
  const gateway = await testGateway(t)
  const [db, store] = [connect(options), await openDynamoDbStore(options)]
  t.after(() => Promise.all([db.client.destroy(), store.close()]))
  const { token } = await issueBootstrapToken(store, { ...unlimitedPolicy, maxUses: 300 }, SERVICE, 1)
  const lease = { owner: 'dead', until: 5_000 }
  const unfinished = newRegistration(token.id, Date.now()) // One of hours ago waits for a person.
  await store.beginRegistrations([unfinished], lease)
  const batch = Array.from({ length: 201 }, () => newRegistration(token.id))
  const reserved = [reservationOf(batch.slice(0, 200)), reservationOf(batch.slice(200))]
  await db.transact([spend(token.id, batch), ...reserved.map((each) => reserve(each, lease.owner, 1_000))])
  const uses = async () => (await store.getToken(token.id))?.uses
  assert.equal(await uses(), 202)
  const env = { ...serverEnv(gateway, tempDir(t)), ...storeEnv(options) }
  const cli = (...args: string[]) => runCli(t, ['registrations', 'recover', ...args], env)
  const line = (id: string, action: string, meaning: string, done = '') =>
    `${id}  ${action}${done}: ${meaning}`
  const linesOf = (done?: string) => [
    line(unfinished.id, 'undo', 'its key is deleted and the use is refunded', done),
    ...[
      '1 use that a stopped process spent without recording a registration is refunded',
      '200 uses that a stopped process spent without recording a registration are refunded',
    ].map((meaning) => line(token.id, 'refund', meaning, done)),
  ]
  const sorted = (stdout: string) => {
    const [first = '', ...rest] = stdout.trimEnd().split('\n')
    return [first, ...rest.sort()]
  }

  const auditBefore = await store.listAudit({ limit: 100 })
  const dry = await cli()
  assert.equal(dry.code, 0, dry.stderr)
  assert.deepEqual(sorted(dry.stdout), linesOf())
  assert.match(dry.stderr, /^Nothing was changed\. .*firstkey registrations recover --yes$/m)
  const [own, ...auditAfter] = await store.listAudit({ limit: 100 })
  assert.deepEqual([own?.action, own?.detail], ['command.run', 'registrations recover'])
  assert.deepEqual(auditAfter, auditBefore)

  const [first, ...refunds] = JSON.parse((await cli('--json')).stdout) as { count: number }[]
  assert.deepEqual(first, { id: unfinished.id, action: 'undo', done: false })
  assert.deepEqual(
    refunds.sort((a, b) => a.count - b.count),
    [1, 200].map((count) => ({ id: token.id, action: 'refund', done: false, count })),
  )
  assert.equal(await uses(), 202, 'a dry run refunds nothing')
  assert.equal((await store.getRegistration(unfinished.id))?.status, 'pending')

  const done = await cli('--yes')
  assert.equal(done.code, 0, done.stderr)
  assert.deepEqual(sorted(done.stdout), linesOf(' (done)'))
  assert.equal(await uses(), 0)
  assert.match((await cli()).stderr, /There is nothing to recover/)

  await db.transact([
    spend(token.id, batch.slice(0, 2)),
    reserve(reservationOf(batch.slice(0, 2)), 'dead', 1_000),
  ])
  const last = await cli('--yes', '--json')
  assert.deepEqual(JSON.parse(last.stdout), [{ id: token.id, action: 'refund', done: true, count: 2 }])
  assert.equal(await uses(), 0)
})

test('if two replicas begin large batches with the same requests, each request begins once', async (t) => {
  const options = await newTable()
  const proxy = await startFaultyProxy(t, options.endpoint)
  const [one, two] = [
    await openDynamoDbStore(options),
    await openDynamoDbStore({ ...options, endpoint: proxy.endpoint }),
  ]
  t.after(() => Promise.all([one.close(), two.close()]))
  const { token } = await issueBootstrapToken(one, { ...unlimitedPolicy, maxUses: 500 }, SERVICE, 1)
  const newBatch = () =>
    Array.from({ length: 200 }, (_, i) => ({
      ...newRegistration(token.id),
      idempotency: {
        keyHash: Buffer.from(`key ${i}`),
        requestHash: Buffer.from('body'),
        sealed: Buffer.from('sealed'),
      },
    }))
  proxy.order({ operation: 'TransactWriteItems', kind: 'conflict', times: 3 })
  const outcomes = await Promise.all([
    one.beginRegistrations(newBatch(), { owner: 'one', until: 9_000 }),
    two.beginRegistrations(newBatch(), { owner: 'two', until: 9_000 }),
  ])
  const begun = outcomes.flat().filter(({ outcome }) => outcome === 'begun')
  const twice = outcomes.flat().filter(({ outcome }) => outcome === 'duplicate')
  assert.deepEqual([begun.length, twice.length], [200, 200])
  assert.equal((await one.getToken(token.id))?.uses, 200)
  assert.equal((await one.listRegistrations({ limit: 1_000 })).length, 200)
})

test('uses that are reserved count as held, under their lease', async (t) => {
  const options = await newTable()
  const [db, store] = [connect(options), await openDynamoDbStore(options)]
  t.after(() => Promise.all([db.client.destroy(), store.close()]))
  const { token } = await issueBootstrapToken(store, { ...unlimitedPolicy, maxUses: 2 }, SERVICE, 1)
  const both = [newRegistration(token.id), newRegistration(token.id)]
  const lease = { owner: 'dead', until: 5_000 }
  const reserved = reservationOf(both)
  await db.transact([writeLease(lease), spend(token.id, both), reserve(reserved, lease.owner, 1_000)])
  const held = [{ registration: null, leaseUntil: 5_000 }]
  assert.deepEqual(await store.findHeldUses(token.id, 10), { isOneLeft: false, held, isComplete: true })
  await store.refundAbandonedUses(5_000, 10)
  assert.deepEqual(await store.findHeldUses(token.id, 10), { isOneLeft: true, held: [], isComplete: true })
})

test('a use that is refunded and spent again while the held uses are read does not escape the reading', async (t) => {
  const options = await newTable()
  const [db, store] = [connect(options), await openDynamoDbStore(options)]
  t.after(() => Promise.all([db.client.destroy(), store.close()]))
  const { token } = await issueBootstrapToken(store, { ...unlimitedPolicy, maxUses: 1 }, SERVICE, 1)
  const [first, second] = [newRegistration(token.id), newRegistration(token.id)]
  const lease = { owner: 'a', until: 5_000 }
  const fail = ({ id }: NewRegistration) =>
    store.failRegistrations([{ id, owner: lease.owner }], { failure: 'internal', sweepAt: null, now: 2_000 })
  await store.beginRegistrations([first], lease)
  let isFirst = true
  const interrupted = {
    ...db,
    // The spends are read; before their registrations are, the use moves to another one.
    async *query(...query: Parameters<typeof db.query>) {
      for await (const page of db.query(...query)) {
        if (isFirst) {
          isFirst = false
          await fail(first)
          await store.beginRegistrations([second], { owner: 'b', until: 6_000 })
        }
        yield page
      }
    },
  }
  const { isOneLeft, held } = await findHeldUses(interrupted, token.id, 10)
  assert.deepEqual([isOneLeft, held.map(({ registration }) => registration?.id)], [false, [second.id]])
})
