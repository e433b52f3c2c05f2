import assert from 'node:assert/strict'
import { test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { type Actor, type AuditEntry, SERVICE } from '../../src/store/audit.ts'
import type { NewRegistration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { unlimitedPolicy } from '../support/service.ts'
import { lease, newCompletion, newRegistration, type OpenStore } from './store-contract.ts'

const alice: Actor = { kind: 'operator', id: 'alice', requestId: null, clientAddress: null, identity: null }

/** Entries need a time after the first release that had an audit trail; the epoch is too early. */
const START = Date.UTC(2026, 10, 30, 23, 59, 58)

const newEntry = (at: number, overrides: Partial<AuditEntry> = {}): AuditEntry => ({
  at: START + at,
  actor: alice,
  action: 'command.run',
  detail: `at ${at}`,
  tokenId: null,
  registrationId: null,
  apiKeyId: null,
  ...overrides,
})

/** The actions and details of the entries, newest first. */
const listActions = async (store: Store, filter: object = {}) =>
  (await store.listAudit({ limit: 100, ...filter })).map(({ action, detail }) =>
    `${action} ${detail ?? ''}`.trim(),
  )

/** The part of the contract about the audit trail. */
export function auditContract(name: string, open: OpenStore): void {
  test(`${name}: audit entries are listed whole, newest first, by time, subject and page`, async (t) => {
    const store = await open(t)
    const actor: Actor = {
      kind: 'token',
      id: 'tok_1',
      requestId: 'req_1',
      clientAddress: '2001:db8::1',
      identity: null,
    }
    const whole = newEntry(1_000, { actor, tokenId: 'tok_1', registrationId: 'reg_1', apiKeyId: 'key1' })
    await store.appendAudit([whole])
    await store.appendAudit([newEntry(2_000), newEntry(2_000, { detail: 'second', registrationId: 'reg_2' })])
    await store.appendAudit([newEntry(3_000, { tokenId: 'tok_1' })])
    await store.appendAudit([])

    const all = await store.listAudit({ limit: 10 })
    assert.deepEqual(
      all.map(({ detail }) => detail),
      ['at 3000', 'second', 'at 2000', 'at 1000'],
    )
    const { id, ...last } = all.at(-1) ?? { id: '' }
    assert.ok(id)
    assert.deepEqual(last, whole)
    assert.equal((await store.listAudit({ since: START + 2_000, limit: 10 })).length, 3)
    assert.deepEqual(await listActions(store, { registrationId: 'reg_1' }), ['command.run at 1000'])
    assert.deepEqual(await listActions(store, { tokenId: 'tok_1' }), [
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

  test(`${name}: every change records its audit entry, and a call that changes nothing records none`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, { ...unlimitedPolicy, maxUses: 2 }, alice, START + 1)
    const [completed, failed, refused] = [START + 1_000, START + 1_001, START + 1_002].map((at) =>
      newRegistration(token.id, at),
    )
    assert.ok(completed && failed && refused)
    await store.beginRegistrations([completed, failed, refused], lease)
    const completion = newCompletion(completed, { actor: alice, apiKeyId: 'key1' })
    for (const owner of ['other', lease.owner])
      await store.completeRegistrations([{ ...completion, owner }], START + 2_000)
    const failing = { failure: 'internal', sweepAt: null, now: START + 2_001 } as const
    await store.failRegistrations(
      [completed, failed].map(({ id }) => ({ id, owner: lease.owner })),
      failing,
    )
    await store.markAnswered(completed.id, alice, START + 2_002)
    await store.markAnswered(failed.id, alice, START + 2_003)
    for (const now of [START + 3_000, START + 3_001]) await store.revokeRegistration(completed.id, alice, now)
    for (const now of [START + 4_000, START + 4_001]) await store.finishEndings([completed.id], now)
    for (const now of [START + 5_000, START + 5_001]) await store.revokeToken(token.id, alice, now)
    await store.revokeToken('tok_other', alice, START + 5_002)

    const expected = [
      ['token.created', null, START + 1, null],
      ['registration.created', null, START + 2_000, completed.id],
      ['registration.undone', 'internal', START + 2_001, failed.id],
      ['registration.replayed', null, START + 2_002, completed.id],
      ['registration.revoked', null, START + 3_000, completed.id],
      ['key.deleted', 'revoked', START + 4_000, completed.id],
      ['token.revoked', null, START + 5_000, null],
    ]
    const entries = (await store.listAudit({ tokenId: token.id, limit: 100 })).reverse()
    assert.deepEqual(
      entries.map(({ action, detail, at, registrationId }) => [action, detail, at, registrationId]),
      expected,
    )
    for (const { action, actor } of entries) {
      const isOwnAction = action === 'registration.undone' || action === 'key.deleted'
      assert.deepEqual(actor, isOwnAction ? SERVICE : alice)
    }
    assert.deepEqual(entries.at(1)?.apiKeyId, 'key1')
  })

  test(`${name}: purging removes old entries up to the limit, and spares those of keys that still exist`, async (t) => {
    const store = await open(t)
    const { token } = await issueBootstrapToken(store, unlimitedPolicy, alice, START)
    const [kept, deleted] = [newRegistration(token.id, START + 10), newRegistration(token.id, START + 11)]
    await makeActive(store, [kept, deleted])
    await store.revokeRegistration(deleted.id, alice, START + 20)
    await store.finishEndings([deleted.id], START + 21)
    await store.appendAudit([newEntry(30), newEntry(1_000)])

    assert.equal(await store.purgeAudit(START, 100), 0)
    assert.equal(await store.purgeAudit(START + 1_000, 2), 2)
    assert.equal(await store.purgeAudit(START + 1_000, 100), 3)
    assert.equal(await store.purgeAudit(START + 1_000, 100), 0)
    assert.deepEqual(await listActions(store), ['command.run at 1000', 'registration.created'])
  })
}

async function makeActive(store: Store, registrations: readonly NewRegistration[]): Promise<void> {
  await store.beginRegistrations(registrations, lease)
  const completions = registrations.map((one) => newCompletion(one, { actor: alice }))
  await store.completeRegistrations(completions, START + 12)
}
