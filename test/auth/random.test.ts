import assert from 'node:assert/strict'
import { test } from 'node:test'
import { randomBase62 } from '../../src/auth/random.ts'

test('random text uses every character about equally', () => {
  const counts = Map.groupBy(randomBase62(62_000), (character) => character)
  assert.equal(counts.size, 62)
  // 1,000 expected; six standard deviations are about 190.
  for (const [character, found] of counts)
    assert.ok(Math.abs(found.length - 1_000) < 190, `${character}: ${found.length}`)
})
