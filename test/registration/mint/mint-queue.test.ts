import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Gateway } from '../../../emulator/gateway.ts'
import type { OperationName } from '../../../emulator/operation-names.ts'
import { createFairQueue } from '../../../src/registration/fair-queue.ts'
import { long } from '../../support/long.ts'
import { readProblem } from '../../support/problem.ts'
import { startService } from '../../support/service.ts'

test('the queue serves the requests of one token in their order', () => {
  const queue = createFairQueue<number>(10)
  for (const n of [1, 2, 3, 4]) queue.add('a', n)
  assert.deepEqual([queue.take(3), queue.take(3), queue.take(3)], [[1, 2, 3], [4], []])
  assert.equal(queue.size(), 0)
})

test('tokens take turns, so that a flood of one does not delay the others', () => {
  const queue = createFairQueue<string>(100)
  for (let n = 0; n < 50; n++) queue.add('flood', `flood ${n}`)
  assert.equal(queue.ahead('late'), 1)
  queue.add('late', 'late 0')
  queue.add('late', 'late 1')
  assert.equal(queue.ahead('flood'), 52)
  assert.deepEqual(queue.take(5), ['flood 0', 'late 0', 'flood 1', 'late 1', 'flood 2'])
  assert.equal(queue.size(), 47)
})

test('a full queue drops only the newest request of the token with the most requests', () => {
  const queue = createFairQueue<string>(3)
  for (const n of [0, 1, 2]) assert.equal(queue.add('flood', `flood ${n}`), undefined)
  assert.equal(queue.add('flood', 'flood 3'), 'flood 3')
  assert.equal(queue.add('other', 'other 0'), 'flood 2')
  assert.equal(queue.add('other', 'other 1'), 'other 1', 'its token would have as many requests as the flood')
  assert.equal(queue.add('third', 'third 0'), 'flood 1')
  assert.equal(queue.add('fourth', 'fourth 0'), 'fourth 0', 'every token has one request')
  assert.deepEqual(queue.take(9), ['flood 0', 'other 0', 'third 0'])
})

test('requests beyond QUEUE_MAX are rejected with overloaded and Retry-After, and spend no use', async (t) => {
  const { register, token, deps, gateway } = await startService(t, {
    env: { QUEUE_MAX: '5' },
    gateway: { latency: { CreateApiKey: 500, ImportApiKeys: 500 } },
  })
  const { secret, token: issued } = await token()
  const answers = await Promise.all(Array.from({ length: 20 }, () => register(secret)))
  const refused = answers.filter(({ status }) => status === 503)
  assert.ok(refused.length >= 20 - 12, `${refused.length} refused`)
  for (const answer of refused) {
    assert.equal((await readProblem(answer)).code, 'overloaded')
    assert.ok(Number(answer.headers.get('retry-after')) > 0)
  }
  const received = answers.filter(({ status }) => status === 201).length
  assert.equal(received + refused.length, 20)
  assert.equal((await deps.store.getToken(issued.id))?.uses, received)
  assert.equal(gateway.account.keys.size, received)
})

test('requests that would miss the deadline are rejected at once, with Retry-After', long, async (t) => {
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

test('the only request of a token is served before the rest of a flood', long, async (t) => {
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

test(
  'a retry that joins its queued first attempt is served, even if that attempt disconnects',
  long,
  async (t) => {
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
  },
)

/** Records the moments of all calls. `reached` resolves with the first of an operation. */
function watchUntil(gateway: Gateway, awaited: OperationName) {
  const moments: string[] = []
  const { promise: reached, resolve } = Promise.withResolvers<void>()
  gateway.onCall = (operation, moment) => {
    moments.push(`${operation} ${moment}`)
    if (operation === awaited) resolve()
  }
  return { moments, reached }
}

/** Reports whether the second import left before the keys of the first were checked. */
function leftDuringCheck(moments: readonly string[]): boolean {
  const [, second] = moments.flatMap((one, i) => (one === 'ImportApiKeys arrived' ? i : []))
  assert.ok(second !== undefined, 'there are two imports')
  return second < moments.indexOf('GetApiKeys effective')
}

test(
  'a batch grows while the import before it runs, and its own leaves before the keys of that are checked',
  long,
  async (t) => {
    const { register, token, deps, gateway } = await startService(t, {
      env: { MINT_MODE: 'bulk' },
      gateway: { latency: { ImportApiKeys: 3_000, GetApiKeys: 1_000 } },
    })
    const { secret } = await token()
    const { moments, reached } = watchUntil(gateway, 'ImportApiKeys')
    const first = register(secret)
    await reached
    const burst = Array.from({ length: 600 }, () => register(secret))
    const pending = async () =>
      (await deps.store.listRegistrations({ status: 'pending', limit: 1_000 })).length > 1
    while (!(await pending())) await sleep(10)
    assert.ok(!moments.includes('ImportApiKeys effective'), 'it is recorded while the first import runs')
    const statuses = (await Promise.all([first, ...burst])).map(({ status }) => status)
    assert.deepEqual(new Set(statuses), new Set([201]))
    assert.equal(gateway.account.keys.size, 601)
    assert.ok(leftDuringCheck(moments), 'it leaves during the check')
  },
)

for (const { perSecond, leaves } of [
  { perSecond: '0', leaves: 'leaves while the keys before it are checked, if there are calls to spare' },
  { perSecond: '1', leaves: 'waits for the check of the keys before it, if there are no calls to spare' },
])
  test(`the import of a small batch ${leaves}`, long, async (t) => {
    const { register, token, gateway } = await startService(t, {
      env: { MINT_MODE: 'bulk', AWS_CALLS_PER_SECOND: perSecond },
      gateway: { latency: { GetApiKeys: 1_000 } },
    })
    const { secret } = await token()
    const { moments, reached } = watchUntil(gateway, 'GetApiKeys')
    const first = register(secret)
    await reached
    const answers = await Promise.all([first, ...Array.from({ length: 30 }, () => register(secret))])
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([201]))
    assert.equal(leftDuringCheck(moments), perSecond === '0')
  })
