import assert from 'node:assert/strict'
import { test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { type Actor, type AuditEntry, SERVICE } from '../../src/store/audit.ts'
import type { NewRegistration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { anyUse } from '../service.ts'
import { mine, type OpenStore, registrationOf } from './store-contract.ts'

const alice: Actor = { kind: 'operator', id: 'alice', requestId: null, clientAddress: null }

const entry = (at: number, more: Partial<AuditEntry> = {}): AuditEntry => ({
  at,
  actor: alice,
  action: 'command.run',
  detail: `at ${at}`,
  tokenId: null,
  registrationId: null,
  apiKeyId: null,
  ...more,
})

const actions = async (store: Store, filter: object = {}) =>
  (await store.listAudit({ limit: 100, ...filter })).map(({ action, detail }) =>
    `${action} ${detail ?? ''}`.trim(),
  )

/** What every implementation of the store must do: the audit trail. */
export function auditContract(name: string, open: OpenStore): void {
  test(`${name}: an audit entry comes back whole; newest first, by time, subject and page`, async (t) => {
    const store = await open(t)
    const actor: Actor = { kind: 'token', id: 'tok_1', requestId: 'req_1', clientAddress: '2001:db8::1' }
    const whole = entry(1_000, { actor, tokenId: 'tok_1', registrationId: 'reg_1', apiKeyId: 'key1' })
    await store.appendAudit([whole])
    await store.appendAudit([entry(2_000), entry(2_000, { detail: 'second', registrationId: 'reg_2' })])
    await store.appendAudit([entry(3_000, { tokenId: 'tok_1' })])
    await store.appendAudit([])

    const all = await store.listAudit({ limit: 10 })
    assert.deepEqual(
      all.map(({ detail }) => detail),
      ['at 3000', 'second', 'at 2000', 'at 1000'],
    )
    const { id, ...last } = all.at(-1) ?? { id: '' }
    assert.ok(id)
    assert.deepEqual(last, whole)
    assert.equal((await store.listAudit({ since: 2_000, limit: 10 })).length, 3)
    assert.deepEqual(await actions(store, { registrationId: 'reg_1' }), ['command.run at 1000'])
    assert.deepEqual(await actions(store, { tokenId: 'tok_1' }), [
      'command.run at 3000',
      'command.run at 1000',
    ])
    const pages: string[] = []
    for (let after: string | undefined; pages.length < 4; ) {
      const [one] = await store.listAudit({ limit: 1, after })
      after = one?.id
      pages.push(one?.detail ?? '')
    }
    assert.deepEqual(pages, ['at 3000', 'second', 'at 2000', 'at 1000'])
    assert.deepEqual(await store.listAudit({ limit: 1, after: id }), [])
  })

  test(`${name}: every change is recorded with it, and what changes nothing is not`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, { ...anyUse, maxUses: 2 }, alice, 1)
    const [won, lost, late] = [1_000, 1_001, 1_002].map((at) => registrationOf(token.id, at))
    assert.ok(won && lost && late)
    await store.beginRegistrations([won, lost, late], mine)
    const completion = { id: won.id, owner: mine.owner, actor: alice, apiKeyId: 'key1', answered: () => true }
    await store.completeRegistrations([completion, { ...completion, owner: 'other' }], 2_000)
    const failing = { failure: 'internal', sweepAt: null, now: 2_001 }
    await store.failRegistrations(
      [won, lost].map(({ id }) => ({ id, owner: mine.owner })),
      failing,
    )
    await store.markAnswered(won.id, alice, 2_002)
    await store.markAnswered(lost.id, alice, 2_003)
    for (const now of [3_000, 3_001]) await store.revokeRegistration(won.id, alice, now)
    for (const now of [4_000, 4_001]) await store.finishEndings([won.id], now)
    for (const now of [5_000, 5_001]) await store.revokeToken(token.id, alice, now)
    await store.revokeToken('tok_other', alice, 5_002)

    const expected = [
      ['token.created', null, 1, null],
      ['registration.created', null, 2_000, won.id],
      ['registration.undone', 'internal', 2_001, lost.id],
      ['registration.replayed', null, 2_002, won.id],
      ['registration.revoked', null, 3_000, won.id],
      ['key.deleted', 'revoked', 4_000, won.id],
      ['token.revoked', null, 5_000, null],
    ]
    const entries = (await store.listAudit({ tokenId: token.id, limit: 100 })).reverse()
    assert.deepEqual(
      entries.map(({ action, detail, at, registrationId }) => [action, detail, at, registrationId]),
      expected,
    )
    for (const { action, actor } of entries) {
      const byItself = action === 'registration.undone' || action === 'key.deleted'
      assert.deepEqual(actor, byItself ? SERVICE : alice)
    }
    assert.deepEqual(entries.at(1)?.apiKeyId, 'key1')
  })

  test(`${name}: purging removes what is old, in portions, and spares the keys that are still there`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, anyUse, alice, 1)
    const [kept, gone] = [registrationOf(token.id, 10), registrationOf(token.id, 11)]
    await makeActive(store, [kept, gone])
    await store.revokeRegistration(gone.id, alice, 20)
    await store.finishEndings([gone.id], 21)
    await store.appendAudit([entry(30), entry(1_000)])

    assert.equal(await store.purgeAudit(1, 100), 0)
    assert.equal(await store.purgeAudit(1_000, 2), 2)
    assert.equal(await store.purgeAudit(1_000, 100), 3)
    assert.equal(await store.purgeAudit(1_000, 100), 0)
    assert.deepEqual(await actions(store), ['command.run at 1000', 'registration.created'])
  })
}

async function makeActive(store: Store, registrations: readonly NewRegistration[]): Promise<void> {
  await store.beginRegistrations(registrations, mine)
  const done = { owner: mine.owner, actor: alice, apiKeyId: 'k', answered: () => true }
  await store.completeRegistrations(
    registrations.map(({ id }) => ({ id, ...done })),
    12,
  )
}
