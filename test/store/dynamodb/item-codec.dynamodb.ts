import assert from 'node:assert/strict'
import { test } from 'node:test'
import { issueBootstrapToken } from '../../../src/auth/bootstrap-token.ts'
import { hashSecret } from '../../../src/auth/secret-hash.ts'
import { ServiceError } from '../../../src/errors.ts'
import { SERVICE } from '../../../src/store/audit.ts'
import { connect } from '../../../src/store/dynamodb/connection.ts'
import { update } from '../../../src/store/dynamodb/expressions.ts'
import { keyOf } from '../../../src/store/dynamodb/item-codec.ts'
import { openDynamoDbStore } from '../../../src/store/dynamodb.ts'
import { newTable } from '../../support/dynamodb/new-table.ts'
import { unlimitedPolicy } from '../../support/service.ts'
import { lease, newCompletion, newIdempotentRegistration, newRotation } from '../store-contract.ts'

const NOW = 9_000

test('an item with an invalid attribute causes an error that names it, and never counts as absent or free', async (t) => {
  const options = await newTable()
  const [db, store] = [connect(options), await openDynamoDbStore(options)]
  t.after(() => Promise.all([db.client.destroy(), store.close()]))
  const { token, secret } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
  const [pending, root] = [
    newIdempotentRegistration(token.id, 'k'),
    newIdempotentRegistration(token.id, 'root'),
  ]
  await store.beginRegistrations([pending, root], lease)
  await store.completeRegistrations([newCompletion(root)], 2_000)
  const rotation = newRotation(root, { createdAt: 3_000 })
  await store.beginRegistrations([rotation], { owner: 'other', until: 20_000 })

  const damage = (pk: string, attributes: object, sk = '-') =>
    db.write(update({ pk, sk }, { set: { ...attributes } }))
  /** Damages an item, and asserts that reading it fails with an error that names it. */
  const assertRejected = async (pk: string, attributes: object, read: () => Promise<unknown>) => {
    assert.ok(await damage(pk, attributes))
    await assert.rejects(read(), (error: unknown) => {
      assert.ok(error instanceof Error && !(error instanceof ServiceError), String(error))
      assert.ok(error.message.includes(pk), error.message)
      return true
    })
  }

  await assertRejected(`lease#${lease.owner}`, { until: 'soon' }, () => store.listRecoverable(NOW, 10))
  await assert.rejects(store.takeLeases([pending.id], 'pending', { owner: 'b', until: NOW }, NOW))
  const pointer = `idem#${token.id}#${hashSecret('k').toString('hex')}`
  await assertRejected(pointer, { registrationId: 7 }, () =>
    store.findByIdempotencyKey(token.id, hashSecret('k')),
  )
  await assertRejected(`secret#${hashSecret(secret).toString('hex')}`, { tokenId: true }, () =>
    store.findTokenByHash(hashSecret(secret)),
  )
  await assertRejected(root.id, { failure: 'made up' }, () => store.getRegistration(root.id))
  await damage(root.id, { failure: undefined })
  await assertRejected(root.id, { requestHash: undefined }, () => store.getRegistration(root.id))
  await assertRejected(token.id, { uses: '1' }, () => store.getToken(token.id))
  await damage('tok_x', { count: 0.5, leaseOwner: 'dead', work: 'spent', workAt: 1 })
  await assert.rejects(store.refundAbandonedUses(NOW, 10), /spend of uses tok_x/)
  assert.equal(await store.takeLeaderLease('jobs', { owner: 'a', until: NOW }, 1), true)
})

test('an answer that an earlier version recorded counts as delivered', async (t) => {
  const options = await newTable()
  const [db, store] = [connect(options), await openDynamoDbStore(options)]
  t.after(() => Promise.all([db.client.destroy(), store.close()]))
  const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
  const one = newIdempotentRegistration(token.id, 'k')
  await store.beginRegistrations([one], lease)
  await store.completeRegistrations([newCompletion(one)], 2_000)
  // As an earlier version writes it.
  await db.write(
    update(keyOf(one.id), { set: { undelivered: undefined, work: undefined, workAt: undefined } }),
  )
  assert.equal((await store.getRegistration(one.id))?.deliveredAt, 2_000)
  assert.deepEqual(await store.listInDoubt(NOW, 9), [])
  assert.ok(await store.markAnswered(one.id, SERVICE, 3_000))
  await store.markDelivered([one.id], 3_100)
  assert.equal((await store.getRegistration(one.id))?.deliveredAt, 2_000)
})
