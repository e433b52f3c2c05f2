import assert from 'node:assert/strict'
import { test } from 'node:test'
import { futureTime, pastTime } from '../../src/cli/arguments.ts'
import { formatAge, formatDuration, parseDuration } from '../../src/duration.ts'

process.env['TZ'] = 'America/New_York' // A time without an offset is UTC nevertheless.

test('a time is ISO 8601, in UTC unless it has an offset', () => {
  for (const [text, time] of [
    ['2026-11-28', '2026-11-28T00:00:00.000Z'],
    ['2026-11-28 03:00', '2026-11-28T03:00:00.000Z'],
    ['2026-11-28T03:00:30', '2026-11-28T03:00:30.000Z'],
    ['2026-11-28T03:00:30.5Z', '2026-11-28T03:00:30.500Z'],
    ['2026-11-28t03:00z', '2026-11-28T03:00:00.000Z'],
    ['2026-11-28T03:00+01:00', '2026-11-28T02:00:00.000Z'],
    ['2026-11-28 03:00-0530', '2026-11-28T08:30:00.000Z'],
    ['2026-11-28T03:00+01', '2026-11-28T02:00:00.000Z'],
    ['2024-02-29', '2024-02-29T00:00:00.000Z'],
  ] as const)
    assert.equal(new Date(pastTime(text)).toISOString(), time, text)
})

test('a date or a time of day that does not exist is refused with words, and so is any other text', () => {
  const absent = [
    ...['2026-02-30', '2026-13-01', '2026-00-10', '2026-11-00', '2026-02-29', '2026-04-31T10:00'],
    ...['2026-11-28 24:30', '2026-11-28T12:60', '2026-11-28T12:00+25:00'],
  ]
  for (const text of absent) assert.throws(() => pastTime(text), /There is no such date or time\./, text)
  const other = [
    ...['yesterday', '', '7', '2026', '2026-11', '28.11.2026', '11/28/2026', '2026-11-28T', '2026-11-28 3am'],
    ...['2026-11-28T12:00 UTC', '20261128', '1764298800', '2026-11-28T12:00:99', ' 2026-11-28', '2026-W48-6'],
  ]
  for (const text of [...absent, ...other])
    for (const parse of [pastTime, futureTime])
      assert.throws(() => parse(text), /Expected a duration such as 90s, .* or a time such as/, text)
})

test('where a time is expected, a duration counts from now, and a time that is over is no end', () => {
  const before = Date.now()
  const at = pastTime('1d')
  assert.ok(at >= before - 86_400_000 && at <= Date.now() - 86_400_000)
  assert.equal(futureTime('1y')(1_000), 365 * 86_400_000 + 1_000)
  assert.equal(futureTime('2099-12-31')(1_000), Date.UTC(2099, 11, 31))
  assert.throws(() => futureTime('2020-01-01'), /in the past/)
})

test('durations are parsed and formatted', () => {
  assert.equal(parseDuration('90s'), 90_000)
  assert.equal(parseDuration('7d'), 604_800_000)
  assert.equal(parseDuration('2w'), 1_209_600_000)
  assert.equal(parseDuration('1y'), 31_536_000_000)
  for (const wrong of ['', '7', 'd', '0d', '-1d', '1.5h', '7 d', '9999999999w', '101y', '1M'])
    assert.equal(parseDuration(wrong), undefined, wrong)
  assert.equal(formatDuration(30 * 86_400_000), '30d')
  assert.equal(formatDuration(90_000), '90s')
  assert.equal(formatAge(-5), '0s')
  assert.equal(formatAge(119_999), '119s')
  assert.equal(formatAge(3_600_000), '60m')
  assert.equal(formatAge(25 * 3_600_000), '25h')
  assert.equal(formatAge(50 * 3_600_000), '2d')
})
