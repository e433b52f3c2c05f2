import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  groupOf,
  newPoolKeyIds,
  poolKeyIdOf,
  poolKeyName,
  poolNamePrefix,
  registrationIdOf,
  registrationIdOfPoolKey,
  rotationId,
  rotationIdOfPoolKey,
} from '../../src/registration/key-names.ts'

const STORE = '0123456789'

test('from the id of a pool key follow those of its registration and rotation, and back', () => {
  const [id = ''] = newPoolKeyIds(STORE, 1)
  const registration = registrationIdOfPoolKey(id)
  const rotation = rotationIdOfPoolKey(id)
  assert.match(id, /^pool_0123456789_[0-9A-Za-z]{20}$/)
  assert.match(registration, /^reg_0123456789_[0-9A-Za-z]{20}$/)
  assert.equal(rotation, rotationId(registration))
  assert.deepEqual([registration, rotation].map(poolKeyIdOf), [id, id])
})

test('pool keys are named by their id and plan, with a prefix that only those of their store have', () => {
  const [id = ''] = newPoolKeyIds(STORE, 1)
  const name = poolKeyName(id, 'gold')
  assert.equal(name, `${id} gold`)
  assert.equal(registrationIdOf(name), id)
  assert.ok(name.startsWith(poolNamePrefix(STORE)))
  assert.ok(!name.startsWith(poolNamePrefix('0123456780')))
})

test('pool keys that are made together share groups of at most 500, so that one page lists a group', () => {
  const sizes = [...Map.groupBy(newPoolKeyIds(STORE, 1_001), groupOf).values()].map(({ length }) => length)
  assert.deepEqual(sizes, [500, 500, 1])
})
