import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hashSecret, sameHash } from '../../src/auth/secret-hash.ts'

test('hashes are compared by content', () => {
  assert.ok(sameHash(hashSecret('a'), hashSecret('a')))
  assert.ok(!sameHash(hashSecret('a'), hashSecret('b')))
  assert.ok(!sameHash(hashSecret('a'), new Uint8Array(3)))
})
