import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createRefusalCounts, type Repeats } from '../../src/registration/count-refusals.ts'

/** Counts with a first period of `firstPeriodMs`, and all that they report. */
function counted(firstPeriodMs: number) {
  const reports: Repeats<string>[] = []
  let next = Promise.withResolvers<Repeats<string>>()
  const counts = createRefusalCounts<string>(firstPeriodMs, (repeats) => {
    reports.push(repeats)
    next.resolve(repeats)
    next = Promise.withResolvers()
  })
  return { ...counts, reports, nextReport: () => next.promise }
}

test('after a period without a repeat the next refusal is the first again', async (t) => {
  const { isFirst, nextReport, reports, end } = counted(5)
  t.after(end)
  assert.equal(isFirst('revoked', 'a', 'request 1'), true)
  isFirst('expired', 'a', 'request 2')
  isFirst('expired', 'a', 'a repeat')
  await nextReport() // This period began after the other, so the other is over.
  assert.equal(isFirst('revoked', 'a', 'request 3'), true)
  assert.equal(reports.length, 1)
})

test('repeats are reported at the end of periods, each twice as long as the one before, up to ten times', async (t) => {
  const { isFirst, nextReport, end } = counted(20)
  t.after(end)
  const periods: number[] = []
  assert.equal(isFirst('revoked', 'a', 'request 1'), true)
  while (periods.length < 6) {
    assert.equal(isFirst('revoked', 'a', 'a repeat'), false)
    const { count, ms, refusal, network } = await nextReport()
    assert.deepEqual({ count, refusal, network }, { count: 1, refusal: 'request 1', network: 'a' })
    periods.push(ms)
  }
  for (const [i, atLeast] of [20, 40, 80, 160, 200, 200].entries())
    assert.ok((periods[i] ?? 0) >= atLeast - 2, `${periods}`)
})

test('refusals with other names or networks are told apart; those of more than 20 networks are counted together', (t) => {
  const { isFirst, reports, end } = counted(60_000)
  t.after(end)
  assert.ok(isFirst('expired', 'a', 'request 0'))
  const firsts = Array.from({ length: 1_000 }, (_, i) => isFirst('revoked', `network ${i}`, `request ${i}`))
  assert.equal(firsts.filter((first) => first).length, 21)
  for (let i = 0; i < 5; i++) isFirst('revoked', 'network 3', 'a repeat')
  end()
  assert.deepEqual(
    reports.map(({ network, count }) => [network, count]),
    [
      ['network 3', 5],
      [null, 979],
    ],
  )
})

test('at most 10,000 counts are kept: the oldest ends early', (t) => {
  const { isFirst, reports, end } = counted(60_000)
  t.after(end)
  for (let i = 0; i < 2; i++) isFirst('name 0', 'a', 'request')
  for (let i = 1; i <= 10_000; i++) isFirst(`name ${i}`, 'a', 'request')
  assert.deepEqual(
    reports.map(({ count }) => count),
    [1],
  )
  assert.ok(isFirst('name 0', 'a', 'request'))
})
