import assert from 'node:assert/strict'
import { test } from 'node:test'
import { check, put, remove, update } from '../../../src/store/dynamodb/expressions.ts'

const key = { pk: 'item', sk: '-' }
const named = (value: unknown) => ({ when: '#status = :status', values: { status: value } })

test('two conditions that give one placeholder different values are rejected, in every kind of write', () => {
  const writes = [
    () => update(key, { set: { a: 1 } }, named('active'), named('pending')),
    () => remove(key, named('active'), named('pending')),
    () => check(key, named(new Uint8Array([1])), named(new Uint8Array([2]))),
    () => update(key, { set: { count: 1 } }, { when: '#count < :set_count', values: { set_count: 2 } }),
    () => update(key, { add: { count: 1 } }, { when: '#count < :add_count', values: { add_count: 2 } }),
  ]
  for (const write of writes)
    assert.throws(write, /^Error: the placeholder :\w+ has two values in one write$/)
})

test('conditions that share a placeholder and its value are joined', () => {
  const write = update(key, { set: { a: 1 }, setOnce: { a: 2 } }, named('active'), named('active'))
  assert.ok('Update' in write)
  assert.deepEqual(write.Update.ExpressionAttributeValues, {
    ':set_a': 1,
    ':set_once_a': 2,
    ':status': 'active',
  })
  assert.equal(write.Update.ConditionExpression, '(#status = :status) AND (#status = :status)')
  assert.ok('Put' in put({ ...key }))
})
