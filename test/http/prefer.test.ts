import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readWait } from '../../src/http/prefer.ts'

const cases: [header: string | string[] | undefined, seconds: number | undefined][] = [
  [undefined, undefined],
  ['', undefined],
  ['wait=20', 20],
  ['Wait = "20"', 20],
  ['respond-async, wait=5; foo="bar"', 5],
  [['respond-async', 'wait=5'], 5],
  ['wait=5, wait=9', 5],
  ['wait', undefined],
  ['wait=', undefined],
  ['wait=-1', undefined],
  ['wait=1.5', undefined],
  ['wait=soon, wait=3', 3],
  ['await=5', undefined],
  ['wait=0', undefined],
  ['wait=9999999999', 3_600],
  ['foo="a, wait=5"', undefined],
  ['foo="a, wait=5", wait=7', 7],
]

for (const [header, seconds] of cases)
  test(`Prefer: ${JSON.stringify(header)} means to wait ${seconds} s`, () =>
    assert.equal(readWait(header), seconds))
