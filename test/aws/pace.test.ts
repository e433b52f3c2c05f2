import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createPace, type Priority } from '../../src/aws/pace.ts'
import { long } from '../support/long.ts'
import { startService } from '../support/service.ts'

/** Waits for `count` turns at once. Returns the milliseconds after which each came, in the order of the requests. */
async function turns(
  pace: ReturnType<typeof createPace>,
  count: number,
  operation = 'GetApiKey',
  priority: Priority = 'high',
): Promise<number[]> {
  const startedAt = performance.now()
  return Promise.all(
    Array.from({ length: count }, async () => {
      await pace.turn(operation, priority)
      return performance.now() - startedAt
    }),
  )
}

test('a burst is sent at once, and further calls at the rate per second', async () => {
  const times = await turns(createPace(50), 219)
  assert.ok(
    times.slice(0, 199).every((ms) => ms < 200),
    'the calls of 4 seconds, less one',
  )
  const last = times.at(-1) ?? 0
  assert.ok(last > 350, `20 more at 50 a second took ${last} ms`)
})

test('CreateApiKey and DeleteApiKey have half of the rate, and do not delay other calls', async () => {
  const pace = createPace(20)
  const creates = turns(pace, 12, 'CreateApiKey')
  const reads = await turns(pace, 10)
  assert.ok(reads.every((ms) => ms < 100))
  const last = (await creates).at(-1) ?? 0
  assert.ok(last > 200, `3 more than the burst at 10 a second took ${last} ms`)
})

test('operations with a fixed quota are sent that far apart, and do not delay other calls', async () => {
  const pace = createPace(100)
  const resources = turns(pace, 6, 'GetResources')
  const giveUp = new AbortController()
  const slow = ['UpdateUsagePlan', 'UpdateAccount', 'CreateDeployment', 'CreateRestApi']
  const sent: string[] = []
  const waiting = slow.flatMap((operation) =>
    [1, 2].map((nth) =>
      pace.turn(operation, 'high', giveUp.signal).then(
        () => sent.push(`${operation} ${nth}`),
        () => undefined,
      ),
    ),
  )
  await turns(pace, 20)
  const times = await resources
  assert.ok(
    times.slice(0, 4).every((ms) => ms < 400),
    'the burst, less one',
  )
  assert.ok((times[5] ?? 0) > 700, `2 more than the burst at 5 in 2 seconds: ${times}`)
  giveUp.abort()
  await Promise.all(waiting)
  assert.deepEqual(
    sent,
    slow.map((operation) => `${operation} 1`),
  )
})

test('without a limit, no operation has a quota of its own', async () => {
  const times = await turns(createPace(0), 3, 'UpdateUsagePlan')
  assert.ok((times.at(-1) ?? 0) < 1_000, `${times}`)
})

test('background work leaves half of the burst to registrations', long, async () => {
  const pace = createPace(50)
  const background = turns(pace, 110, 'GetApiKey', 'low')
  const registrations = await turns(pace, 90)
  assert.ok(
    registrations.every((ms) => ms < 100),
    'registrations did not wait',
  )
  assert.ok(((await background).at(-1) ?? 0) > 100, 'background work waited')
})

test('background work gets turns even while registrations keep coming', long, async () => {
  const pace = createPace(20)
  pace.slowDown(0.05)
  let ended = false
  const load = Array.from({ length: 4 }, async () => {
    while (!ended) await pace.turn('GetApiKey', 'high')
  })
  const times = await turns(pace, 3, 'DeleteApiKey', 'low')
  ended = true
  await Promise.all(load)
  assert.ok((times.at(-1) ?? 0) < 3_000, `${times}`)
})

test('queries have a quarter of the rate, and leave the rest to background work', long, async () => {
  const pace = createPace(40)
  const queries = turns(pace, 30, 'GetApiKey', 'query')
  const work = await turns(pace, 59, 'GetApiKey', 'low')
  assert.ok(
    work.every((ms) => ms < 100),
    'background work had what queries left of its half of the burst',
  )
  const last = (await queries).at(-1) ?? 0
  assert.ok(last > 900, `10 more than the burst at 10 a second took ${last} ms`)
})

test('overdue queries wait for overdue background work', long, async () => {
  const pace = createPace(20)
  const order: string[] = []
  await turns(pace, 79)
  pace.slowDown(1.2)
  const queries = Array.from({ length: 3 }, () => pace.turn('GetApiKey', 'query').then(() => order.push('q')))
  const work = Array.from({ length: 9 }, () => pace.turn('GetApiKey', 'low').then(() => order.push('w')))
  await Promise.all([...queries, ...work])
  assert.equal(order.join(''), 'wwwwwwwwwqqq')
})

test(
  'overdue background work does not go before registrations, and takes turns with them',
  long,
  async () => {
    const pace = createPace(20)
    const order: string[] = []
    const drain = Array.from({ length: 79 }, () => pace.turn('GetApiKey', 'high'))
    await Promise.all(drain)
    const polls = Array.from({ length: 40 }, () => pace.turn('GetApiKey', 'low').then(() => order.push('b')))
    await sleep(1_100)
    const before = order.length
    const work = Array.from({ length: 9 }, () => pace.turn('GetApiKey', 'high').then(() => order.push('r')))
    await Promise.all([...polls, ...work])
    // A turn of the background work may be due already.
    assert.match(order.slice(before).join(''), /^b{0,3}r{1,3}b(?:rrrb){2}r{0,2}b*$/)
  },
)

test('a throttled call stops all calls for the seconds of its Retry-After', async () => {
  const pace = createPace(0)
  await pace.turn('GetApiKey', 'high')
  pace.slowDown(0.3)
  const [ms = 0] = await turns(pace, 1)
  assert.ok(ms >= 290, `${ms} ms`)
})

test('a call whose signal aborts is rejected with the reason, and takes no turn', async () => {
  const pace = createPace(10)
  pace.slowDown(0.2)
  const reason = new Error('given up')
  await assert.rejects(pace.turn('GetApiKey', 'high', AbortSignal.abort(reason)), reason)
  const controller = new AbortController()
  const waiting = pace.turn('GetApiKey', 'high', controller.signal)
  controller.abort(reason)
  await assert.rejects(waiting, reason)
  await pace.turn('GetApiKey', 'high')
})

test('invariant 7: a burst against the published quotas is not throttled once', long, async (t) => {
  const service = await startService(t, {
    env: { AWS_CALLS_PER_SECOND: '10' },
    gateway: { quotas: true, latency: { ImportApiKeys: 100, CreateApiKey: 50 } },
  })
  const { secret } = await service.token()
  const answers = await Promise.all(Array.from({ length: 200 }, () => service.register(secret)))
  assert.ok(answers.every(({ status }) => status === 201))
  const throttled = Object.values(service.gateway.answers).filter((byStatus) => 429 in byStatus)
  assert.deepEqual(throttled, [])
})

test('a throttled import obeys Retry-After, and every registration succeeds', long, async (t) => {
  const service = await startService(t, { gateway: { latency: { CreateApiKey: 100 } } })
  const { secret } = await service.token()
  service.gateway.faults.order({ operation: 'ImportApiKeys', when: 'before', kind: 'throttle' })
  const startedAt = performance.now()
  const answers = await Promise.all(Array.from({ length: 10 }, () => service.register(secret)))
  assert.ok(answers.every(({ status }) => status === 201))
  assert.ok(performance.now() - startedAt >= 1_000, 'Retry-After was one second')
})
