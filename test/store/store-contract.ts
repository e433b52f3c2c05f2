import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { hashSecret, randomBase62 } from '../../src/auth/secret.ts'
import type { NewRegistration, Store } from '../../src/store/store.ts'
import { anyUse } from '../service.ts'

/** A registration that nothing is known of but its token. */
export function registrationOf(tokenId: string, createdAt = 1_000): NewRegistration {
  return {
    id: `reg_${randomBase62(20)}`,
    tokenId,
    name: 'acme-agent',
    description: '',
    plan: 'free',
    usagePlanId: 'demofree',
    managementHash: hashSecret('x'),
    createdAt,
    expiresAt: null,
  }
}

/** What every implementation of the store must do. */
export function storeContract(name: string, open: (t: TestContext) => Store): void {
  test(`${name}: a token is found by its hash and its id, whole`, async (t) => {
    const store = open(t)
    const policy = {
      ...anyUse,
      label: 'a "b" ü',
      plans: ['gold', 'free'],
      maxUses: 3,
      expiresAt: 9e12,
      keyTtlMs: 5,
      namePrefix: 'p',
      ratePerMinute: 7,
    }
    const { token, secret } = await issueBootstrapToken(store, policy, 42)
    const found = await store.findTokenByHash(hashSecret(secret))
    assert.deepEqual({ ...found, secretHash: Buffer.from(found?.secretHash ?? []) }, token)
    assert.equal((await store.getToken(token.id))?.label, policy.label)
    assert.equal(await store.findTokenByHash(hashSecret('other')), undefined)
    assert.equal(await store.getToken('tok_other'), undefined)
  })

  test(`${name}: tokens are listed newest first`, async (t) => {
    const store = open(t)
    for (const [label, at] of [
      ['a', 1],
      ['b', 3],
      ['c', 2],
      ['d', 3],
    ] as const) {
      await issueBootstrapToken(store, { ...anyUse, label }, at)
    }
    assert.deepEqual(
      (await store.listTokens()).map((token) => token.label),
      ['d', 'b', 'c', 'a'],
    )
  })

  test(`${name}: revoking twice keeps the first date; what is unknown is undefined`, async (t) => {
    const store = open(t)
    const { token } = await issueBootstrapToken(store, anyUse, 1)
    assert.equal((await store.revokeToken(token.id, 5))?.revokedAt, 5)
    assert.equal((await store.revokeToken(token.id, 9))?.revokedAt, 5)
    assert.equal(await store.revokeToken('tok_other', 5), undefined)
  })

  test(`${name}: beginning spends a use and records pending, both or neither`, async (t) => {
    const store = open(t)
    const { token } = await issueBootstrapToken(store, { ...anyUse, maxUses: 1 }, 1)
    const [first, second] = [registrationOf(token.id), registrationOf(token.id)]
    assert.deepEqual(await store.beginRegistration(first), { outcome: 'begun' })
    const refused = await store.beginRegistration(second)
    assert.equal(refused.outcome, 'refused')
    assert.equal((await store.getRegistration(first.id))?.status, 'pending')
    assert.equal(await store.getRegistration(second.id), undefined)
    assert.equal((await store.getToken(token.id))?.uses, 1)
  })

  test(`${name}: what is revoked, expired or unknown cannot be spent`, async (t) => {
    const store = open(t)
    const revoked = await issueBootstrapToken(store, anyUse, 1)
    await store.revokeToken(revoked.token.id, 2)
    const expired = await issueBootstrapToken(store, { ...anyUse, expiresAt: 1_000 }, 1)
    for (const id of [revoked.token.id, expired.token.id, 'tok_other']) {
      const begun = await store.beginRegistration(registrationOf(id, 1_000))
      assert.equal(begun.outcome, 'refused')
    }
    assert.equal((await store.beginRegistration(registrationOf(expired.token.id, 999))).outcome, 'begun')
  })

  test(`${name}: a registration ends once; failing gives the use back`, async (t) => {
    const store = open(t)
    const { token } = await issueBootstrapToken(store, { ...anyUse, maxUses: 2 }, 1)
    const [won, lost] = [registrationOf(token.id), registrationOf(token.id)]
    await store.beginRegistration(won)
    await store.beginRegistration(lost)

    assert.equal(await store.completeRegistration(won.id, 'key1', 7), true)
    assert.equal(await store.failRegistration(won.id, 'internal', 8), false)
    assert.equal(await store.completeRegistration(won.id, 'key2', 9), false)
    assert.equal(await store.failRegistration(lost.id, 'upstream_unavailable', 8), true)
    assert.equal(await store.failRegistration(lost.id, 'internal', 9), false)
    assert.equal(await store.completeRegistration(lost.id, 'key3', 9), false)

    const active = await store.getRegistration(won.id)
    assert.deepEqual([active?.status, active?.apiKeyId, active?.endedAt], ['active', 'key1', 7])
    const failed = await store.getRegistration(lost.id)
    assert.deepEqual(
      [failed?.status, failed?.failure, failed?.apiKeyId],
      ['failed', 'upstream_unavailable', null],
    )
    assert.equal((await store.getToken(token.id))?.uses, 1)
  })
}
