import assert from 'node:assert/strict'
import { test } from 'node:test'
import { seal, unseal } from '../../src/auth/seal.ts'

const secrets = { tokenSecret: 'fkb_secret', idempotencyKey: '0123456789abcdef' }

test('a sealed text can be read with the same secrets, for the same registration', () => {
  const sealed = seal(secrets, 'reg_1', 'the value')
  assert.equal(unseal(secrets, 'reg_1', sealed), 'the value')
  assert.ok(!Buffer.from(sealed).includes('value'))
  assert.notDeepEqual(seal(secrets, 'reg_1', 'the value'), sealed)
})

test('another token, idempotency key or registration, or a changed bit, is rejected', () => {
  const sealed = seal(secrets, 'reg_1', 'the value')
  assert.throws(() => unseal({ ...secrets, tokenSecret: 'fkb_other' }, 'reg_1', sealed))
  assert.throws(() => unseal({ ...secrets, idempotencyKey: '0123456789abcdeF' }, 'reg_1', sealed))
  assert.throws(() => unseal(secrets, 'reg_2', sealed))
  for (let i = 0; i < sealed.length; i++) {
    const changed = Uint8Array.from(sealed)
    changed[i] = (changed[i] ?? 0) ^ 1
    assert.throws(() => unseal(secrets, 'reg_1', changed), `byte ${i}`)
  }
  assert.throws(() => unseal(secrets, 'reg_1', sealed.subarray(0, 20)))
})
