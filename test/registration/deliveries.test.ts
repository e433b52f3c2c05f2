import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { request } from 'node:http'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { createLogger } from '../../src/log.ts'
import { createDeliveries } from '../../src/registration/deliveries.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { long } from '../support/long.ts'
import { type Registered, registered, type Service, startService } from '../support/service.ts'

/** Ends all responses, records their deliveries, and returns the time of a delivery. */
async function deliveredAt({ app, deps }: Service, id: string): Promise<number | null | undefined> {
  await app.close()
  await deps.deliveries.flush()
  return (await deps.store.getRegistration(id))?.deliveredAt
}

const headersOf = (secret: string, more: Record<string, string> = {}) => ({
  authorization: `Bearer ${secret}`,
  'content-type': 'application/json',
  ...more,
})

const ways: Record<string, (service: Service, secret: string) => Promise<Response>> = {
  'POST /register': ({ register }, secret) => register(secret),
  'POST /register as lines for a shell': ({ register }, secret) =>
    register(secret, undefined, { accept: 'text/plain' }),
  'POST /connect/register': ({ url }, secret) =>
    fetch(`${url}/connect/register`, {
      method: 'POST',
      headers: headersOf(secret),
      body: JSON.stringify({ client_name: 'acme-agent' }),
    }),
}

for (const [way, call] of Object.entries(ways)) {
  test(`${way}: the delivery of the response is recorded`, async (t) => {
    const service = await startService(t)
    const answer = await call(service, (await service.token()).secret)
    assert.equal(answer.status, 201)
    await answer.text()
    const [one] = await service.deps.store.listRegistrations({ limit: 2 })
    assert.ok(one)
    assert.equal(typeof (await deliveredAt(service, one.id)), 'number')
  })
}

test('POST /register/{id}/rotate: the delivery of the response is recorded', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  const url = `${service.url}/register/${own.registration_id}/rotate`
  const answer = await fetch(url, { method: 'POST', headers: headersOf(own.management.token), body: '{}' })
  assert.equal(answer.status, 201)
  await answer.text()
  const [rotation] = await service.deps.store.listRotations(own.registration_id)
  assert.ok(rotation)
  assert.equal(typeof (await deliveredAt(service, rotation.id)), 'number')
})

/** Sends a registration, and breaks the connection after the answer is recorded and before it is written. */
async function hangUpBeforeResponse(service: Service, secret: string, key: string): Promise<void> {
  const { store } = service.deps
  const client = request(`${service.url}/register`, {
    method: 'POST',
    headers: headersOf(secret, { 'idempotency-key': key }),
  })
  client.on('error', () => undefined)
  const { completeRegistrations } = store
  const connected: Promise<NodeJS.EventEmitter[]> = once(service.app.server, 'connection')
  client.end('{"name":"acme-agent"}')
  const [socket] = await connected
  assert.ok(socket)
  const written = new Promise<void>((resolve) => {
    store.completeRegistrations = async (...completions) => {
      store.completeRegistrations = completeRegistrations
      const completed = await completeRegistrations(...completions)
      client.destroy()
      await once(socket, 'close')
      resolve()
      return completed
    }
  })
  await written
  await service.deps.inFlight.settled()
}

test('a response that a broken connection cuts off is not delivered; its replay is', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token({ maxUses: 1 })
  const key = randomUUID()
  await hangUpBeforeResponse(service, secret, key)
  await service.deps.deliveries.flush()
  const [lost] = await service.deps.store.listRegistrations({ limit: 2 })
  assert.ok(lost)
  assert.deepEqual([lost.status, lost.answeredAt, lost.deliveredAt], ['active', null, null])
  const replay = await registered(service, {}, { 'idempotency-key': key }, secret)
  assert.equal(replay.registration_id, lost.id)
  assert.equal(typeof (await deliveredAt(service, lost.id)), 'number')
})

async function inDoubt(t: TestContext): Promise<{ service: Service; own: Registered }> {
  const service = await startService(t, { timing: { deliver: 3_600_000, inDoubtAfter: 0 } })
  const own = await registered(service)
  const one = await service.deps.store.getRegistration(own.registration_id)
  assert.ok(one && one.answeredAt !== null && one.deliveredAt === null)
  return { service, own }
}

const managing: Record<string, readonly [method: string, path: string]> = {
  'GET /register/{id}': ['GET', ''],
  'GET /register/{id}/usage': ['GET', '/usage'],
  'DELETE /register/{id}': ['DELETE', ''],
  'POST /register/{id}/rotate': ['POST', '/rotate'],
}

for (const [call, [method, path]] of Object.entries(managing)) {
  test(`${call}: the management token proves that a registration in doubt was delivered`, async (t) => {
    const { service, own } = await inDoubt(t)
    const answer = await fetch(`${service.url}/register/${own.registration_id}${path}`, {
      method,
      headers: { authorization: `Bearer ${own.management.token}` },
    })
    await answer.text()
    const one = await service.deps.store.getRegistration(own.registration_id)
    assert.equal(typeof one?.deliveredAt, 'number')
  })
}

test('a management call that loses against the undo of its registration says so', async (t) => {
  const { service, own } = await inDoubt(t)
  const { store, clock } = service.deps
  const { getRegistration } = store
  // The undo begins after the call read the registration, and before its delivery is recorded.
  store.getRegistration = async (id) => {
    store.getRegistration = getRegistration
    const found = await getRegistration(id)
    const lease = { owner: 'recovery', until: clock() + 60_000 }
    assert.equal((await store.withdrawAnswers([own.registration_id], clock(), lease)).size, 1)
    return found
  }
  const answer = await fetch(`${service.url}/register/${own.registration_id}`, {
    headers: { authorization: `Bearer ${own.management.token}` },
  })
  const body = (await answer.json()) as { status: string }
  assert.deepEqual([answer.status, body.status], [200, 'pending'])
})

test('deliveries that a locked store refuses are recorded later, and at a stop', long, async (t) => {
  const service = await startService(t, { timing: { deliver: 3_600_000 } })
  const own = [await registered(service), await registered(service)]
  const path = join(service.dataDir, 'firstkey.db')
  const store = openSqliteStore(path)
  const other = new DatabaseSync(path)
  t.after(async () => {
    other.close()
    await store.close()
  })
  const log = createLogger('silent')
  const timing = { deliver: 1, deliverRetry: 1, inDoubtAfter: 0 }
  const deliveries = createDeliveries({ store, clock: Date.now, timing, log })
  other.exec('BEGIN IMMEDIATE')
  for (const { registration_id } of own) deliveries.note(registration_id)
  await deliveries.flush()
  const undelivered = () => store.listInDoubt(Number.MAX_SAFE_INTEGER, 9)
  assert.equal((await undelivered()).length, 2)
  other.exec('COMMIT')
  await deliveries.flush()
  assert.deepEqual(await undelivered(), [])
})
