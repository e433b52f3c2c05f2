import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createKeyShelf, type HeldKey } from '../../../src/registration/pool/held-keys.ts'

const key = (id: string, createdAt: number, usagePlanId = 'gold1'): HeldKey => ({
  ...{ id, createdAt, usagePlanId, plan: 'gold', apiKeyId: `k${id}`, value: `v${id}`, seenWorking: true },
})

function shelfOf(...keys: HeldKey[]) {
  let gone = 0
  const shelf = createKeyShelf({ owner: 'me', onGone: () => gone++ })
  shelf.add(keys)
  return { shelf, gone: () => gone }
}

test('the oldest key of the plan is taken first, and no key twice', () => {
  const { shelf } = shelfOf(key('c', 3), key('a', 1), key('x', 0, 'free1'))
  shelf.add([key('b', 2)])
  assert.equal(shelf.ready('gold1'), 3)
  assert.deepEqual(
    [1, 2, 3, 4].map(() => shelf.take('gold1')?.id),
    ['a', 'b', 'c', undefined],
  )
  assert.equal(shelf.ready('gold1'), 0)
  assert.equal(shelf.ready('free1'), 1)
  assert.equal(shelf.take('other'), undefined)
})

test('a key that is put back is ready again, before younger ones', () => {
  const { shelf, gone } = shelfOf(key('a', 1), key('b', 2))
  const taken = shelf.take('gold1')
  assert.ok(taken)
  assert.equal(shelf.placeOf('a'), 'out')
  shelf.putBack(taken)
  assert.equal(shelf.take('gold1')?.id, 'a')
  assert.equal(gone(), 0)
})

test('a key that was, or may have been, handed out is forgotten, and the refill is woken', () => {
  for (const end of ['handedOut', 'suspect'] as const) {
    const { shelf, gone } = shelfOf(key('a', 1))
    const taken = shelf.take('gold1')
    assert.ok(taken)
    shelf[end](taken)
    assert.equal(shelf.placeOf('a'), undefined)
    assert.equal(shelf.take('gold1'), undefined)
    assert.equal(gone(), 1)
  }
})

test('the upkeep removes keys that are here, never one that is taken', () => {
  const { shelf } = shelfOf(key('a', 1), key('b', 2), key('x', 3, 'free1'))
  const taken = shelf.take('gold1')
  assert.equal(taken?.id, 'a')
  assert.deepEqual(
    shelf.remove(['a', 'b', 'x', 'unknown']).map(({ id }) => id),
    ['b', 'x'],
  )
  assert.deepEqual(shelf.list(), [])
  shelf.putBack(key('a', 1))
  assert.deepEqual(
    shelf.list().map(({ id }) => id),
    ['a'],
  )
})

test('a key that is here, ready or taken, is not added a second time', () => {
  const { shelf } = shelfOf(key('a', 1), key('b', 2))
  const taken = shelf.take('gold1')
  assert.ok(taken)
  shelf.add([key('a', 1), key('b', 2)])
  assert.equal(shelf.ready('gold1'), 1)
  shelf.putBack(taken)
  assert.deepEqual(
    shelf.list().map(({ id }) => id),
    ['a', 'b'],
  )
})
