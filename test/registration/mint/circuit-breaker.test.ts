import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLogger } from '../../../src/log.ts'
import { createCircuitBreaker, OPENS_AT } from '../../../src/registration/mint/circuit-breaker.ts'

const LONGEST_MS = 600_000

function setUp() {
  let now = 5_000
  const lines: string[] = []
  const breaker = createCircuitBreaker({
    longest: LONGEST_MS,
    log: createLogger('trace', { write: (line) => void lines.push(line) }),
    messages: { failed: 'wrong', opened: 'opened' },
    now: () => now,
  })
  /** Waits until the breaker closes. @returns the time in milliseconds */
  const openFor = () => {
    const since = now
    while (!breaker.isClosed()) now += 1_000
    return now - since
  }
  return { breaker, lines, openFor, pass: (ms: number) => (now += ms) }
}

test('one bad response leaves the breaker closed, a second one opens it, and further ones for longer, up to a limit', () => {
  const { breaker, lines, openFor } = setUp()
  breaker.failed(new Error('x'), 1)
  assert.ok(breaker.isClosed())
  assert.ok(breaker.distrust() > 0)
  breaker.failed(new Error('x'), 1)
  assert.ok(!breaker.isClosed())
  const times = []
  for (let n = 0; n < 8; n++) {
    times.push(openFor())
    breaker.failed(new Error('x'), 1)
  }
  assert.deepEqual(
    times,
    times.toSorted((a, b) => a - b),
    'the times grow',
  )
  assert.ok((times[0] ?? 0) < 60_000, `at first ${times[0]} ms`)
  assert.ok((times.at(-1) ?? 0) > LONGEST_MS / 2 && (times.at(-1) ?? 0) <= LONGEST_MS)
  assert.equal(lines.filter((line) => line.includes('"wrong"')).length, 1)
  assert.equal(
    lines.filter((line) => line.includes('"opened"')).length,
    9,
    'once for each time that it opened',
  )
})

test('each success shortens the next time, and enough of them end the distrust', () => {
  const { breaker, openFor } = setUp()
  for (let n = 0; n < 6; n++) breaker.failed(new Error('x'), 1)
  const long = openFor()
  breaker.worked()
  breaker.failed(new Error('x'), 1)
  assert.ok(openFor() < long / 2)
  for (let n = 0; n < 8; n++) breaker.worked()
  assert.equal(breaker.distrust(), 0)
  breaker.failed(new Error('x'), 1)
  assert.ok(breaker.isClosed())
})

test('a response that was wrong in part weighs as much as its part; distrust fades with time', () => {
  const { breaker, pass } = setUp()
  for (let n = 0; n < 10; n++) breaker.failed(new Error('x'), 0.05)
  assert.ok(breaker.isClosed(), 'ten imports with one bad key of twenty')
  pass(24 * LONGEST_MS)
  assert.equal(breaker.distrust(), 0)
})

test('a definite proof opens the breaker at once, and a check is due as soon as it closes', () => {
  const { breaker, openFor } = setUp()
  assert.ok(breaker.isCheckDue())
  assert.ok(!breaker.isCheckDue())
  breaker.failed(new Error('x'), OPENS_AT)
  assert.ok(!breaker.isCheckDue())
  openFor()
  assert.ok(breaker.isCheckDue())
})
