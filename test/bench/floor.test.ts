import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { floorOf } from '../../bench/floor.ts'
import type { Row } from '../../bench/measure.ts'
import { missedBars, ratioToFloor } from '../../bench/report.ts'
import { readConfig } from '../../src/config.ts'

suite('the floor of a burst', () => {
  const cases: [agents: number, ms: number, imports: number[], pages: number][] = [
    [1, 110 + 160, [], 0],
    [2, 220 + 2 * 0.5 + 90 * 1.1, [2], 2],
    [500, 220 + 250 + 90 * 1.1, [500], 2],
    [501, 220 + 250.5 + 90 * 1.18, [501], 4],
    [1_000, 720 + 90 * 1.18, [1_000], 4],
    [2_500, 220 + 1_250 + 90 * (1 + 0.3 * (9 / 11)), [2_500], 10],
    [2_501, 2 * 220 + 1_250.5 + 90 * 1.1, [2_500, 1], 2],
    [10_000, 4 * 220 + 5_000 + 90 * (1 + 0.3 * (9 / 11)), [2_500, 2_500, 2_500, 2_500], 10],
  ]
  for (const [agents, ms, imports, pages] of cases)
    test(`of ${agents} is ${ms.toFixed(1)} ms`, () => {
      const floor = floorOf(agents)
      assert.deepEqual(floor.imports, imports)
      assert.equal(floor.pages, pages)
      assert.ok(Math.abs(floor.ms - ms) < 1e-9, `${floor.ms} instead of ${ms}`)
    })

  test('takes the largest imports that the service makes by default', () => {
    const api = 'https://api.example.com/v1'
    const env = { AWS_REGION: 'eu-west-1', USAGE_PLAN_ID: 'abc123', API_BASE_URL: api }
    assert.equal(floorOf(10_000).imports[0], readConfig(env).mintBatchMax)
  })
})

/** The row of a burst whose last agent got its key after `ratio` times the floor. */
function row(agents: number, ratio: number): Row {
  const last = floorOf(agents).ms * ratio
  const outcomes = [last / 2, last].map((ms, i) => ({ ms, status: 201, key: `key${i}` }))
  const keys = outcomes.map((_, i) => ({ id: `id${i}`, name: `name${i}` }))
  const state = { keys, answers: {}, busyMs: {}, concurrentChanges: 0 }
  return { ...{ name: 'firstkey', agents, outcomes, state }, working: 2, good: 2, memoryMb: 100, own: [] }
}

suite('the bar of the last key', () => {
  const bars = { ofFloor: { 1000: 1.35 }, callsEach: {} }

  test('holds for the median of the rounds', () => {
    assert.deepEqual(missedBars([row(1_000, 1.9), row(1_000, 1.3), row(1_000, 1.2)], bars), [])
    const missed = missedBars([row(1_000, 1.9), row(1_000, 1.4), row(1_000, 1.2)], bars)
    assert.deepEqual(missed, ['all within 1.35 × the floor: 1.40'])
  })

  test('is missed by an agent without a key', () => {
    const { outcomes, ...rest } = row(1_000, 1)
    const [first, second] = outcomes
    assert.ok(first && second)
    const refused = { ...rest, outcomes: [first, { ...second, key: undefined }] }
    assert.equal(ratioToFloor(refused), Number.POSITIVE_INFINITY)
    assert.notDeepEqual(missedBars([refused], bars), [])
  })
})
