import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { test } from 'node:test'
import { createFairQueue } from '../../../src/registration/fair-queue.ts'
import { readProblem } from '../../support/problem.ts'
import { startService } from '../../support/service.ts'

test('first come first served for one token', () => {
  const queue = createFairQueue<number>(10)
  for (const n of [1, 2, 3, 4]) queue.add('a', n)
  assert.deepEqual([queue.take(3), queue.take(3), queue.take(3)], [[1, 2, 3], [4], []])
  assert.equal(queue.size(), 0)
})

test('tokens take turns, so that a flood of one does not hold up the others', () => {
  const queue = createFairQueue<string>(100)
  for (let n = 0; n < 50; n++) queue.add('flood', `flood ${n}`)
  assert.equal(queue.ahead('late'), 1)
  queue.add('late', 'late 0')
  queue.add('late', 'late 1')
  assert.equal(queue.ahead('flood'), 52)
  assert.deepEqual(queue.take(5), ['flood 0', 'late 0', 'flood 1', 'late 1', 'flood 2'])
  assert.equal(queue.size(), 47)
})

test('a full queue: the newest of the longest line has to go, and nobody else', () => {
  const queue = createFairQueue<string>(3)
  for (const n of [0, 1, 2]) assert.equal(queue.add('flood', `flood ${n}`), undefined)
  assert.equal(queue.add('flood', 'flood 3'), 'flood 3')
  assert.equal(queue.add('other', 'other 0'), 'flood 2')
  assert.equal(queue.add('other', 'other 1'), 'other 1', 'not longer than the longest')
  assert.equal(queue.add('third', 'third 0'), 'flood 1')
  assert.equal(queue.add('fourth', 'fourth 0'), 'fourth 0', 'all have one')
  assert.deepEqual(queue.take(9), ['flood 0', 'other 0', 'third 0'])
})

test('more than QUEUE_MAX: overloaded, with Retry-After, at once and at no cost', async (t) => {
  const { register, token, deps, gateway } = await startService(t, {
    env: { QUEUE_MAX: '5' },
    gateway: { latency: { CreateApiKey: 500 } },
  })
  const { secret, token: issued } = await token()
  const answers = await Promise.all(Array.from({ length: 20 }, () => register(secret)))
  const refused = answers.filter(({ status }) => status === 503)
  assert.ok(refused.length >= 20 - 12, `${refused.length} refused`)
  for (const answer of refused) {
    assert.equal((await readProblem(answer)).code, 'overloaded')
    assert.ok(Number(answer.headers.get('retry-after')) > 0)
  }
  const given = answers.filter(({ status }) => status === 201).length
  assert.equal(given + refused.length, 20)
  assert.equal((await deps.store.getToken(issued.id))?.uses, given)
  assert.equal(gateway.account.keys.size, given)
})

test('what cannot be done in time is refused at once, with the time after which it can', async (t) => {
  const { register, token, gateway } = await startService(t, {
    env: { MINT_MODE: 'single', REGISTER_TIMEOUT_MS: '2000' },
    gateway: { latency: { CreateApiKey: 200, CreateUsagePlanKey: 200 } },
  })
  const { secret } = await token()
  assert.equal((await register(secret)).status, 201)
  const before = performance.now()
  const answers = await Promise.all(
    Array.from({ length: 40 }, async () => {
      const answer = await register(secret)
      return { answer, ms: performance.now() - before }
    }),
  )
  const overloaded = []
  for (const { answer, ms } of answers) {
    if (answer.status !== 201 && (await readProblem(answer)).code === 'overloaded')
      overloaded.push({ answer, ms })
  }
  assert.ok(overloaded.length > 20, `${overloaded.length} of 40`)
  for (const { answer, ms } of overloaded) {
    assert.ok(ms < 1_000, `refused after ${ms} ms`)
    assert.ok(Number(answer.headers.get('retry-after')) > 0)
  }
  assert.ok(gateway.account.keys.size >= 5)
})

test('a token with one waiting is served before the rest of a flood', async (t) => {
  const { register, token } = await startService(t, {
    env: { MINT_MODE: 'single' },
    gateway: { latency: { CreateUsagePlanKey: 50 } },
  })
  const [flood, quiet] = [await token(), await token()]
  const order: string[] = []
  const one = async (secret: string, name: string) => {
    assert.equal((await register(secret)).status, 201)
    order.push(name)
  }
  const all = Array.from({ length: 40 }, () => one(flood.secret, 'flood'))
  while (order.length === 0) await Promise.race(all)
  all.push(one(quiet.secret, 'quiet'))
  await Promise.all(all)
  assert.ok(order.indexOf('quiet') < 20, `served as number ${order.indexOf('quiet')}`)
})

test('a retry that joins its first attempt in the queue is waited for, though that attempt hung up', async (t) => {
  const service = await startService(t, { gateway: { latency: { CreateApiKey: 700 } } })
  const { secret } = await service.token()
  const busy = service.register(secret)
  const headers = {
    authorization: `Bearer ${secret}`,
    'content-type': 'application/json',
    'idempotency-key': randomUUID(),
  }
  const hangUp = new AbortController()
  const send = (init: RequestInit = {}) =>
    fetch(`${service.url}/register`, { method: 'POST', headers, body: '{"name":"acme-agent"}', ...init })
  await once(service.app.server, 'request')
  const first = assert.rejects(send({ signal: hangUp.signal }))
  await once(service.app.server, 'request')
  const retry = send()
  await once(service.app.server, 'request')
  hangUp.abort()
  await first
  assert.deepEqual([(await busy).status, (await retry).status], [201, 201])
})
