import assert from 'node:assert/strict'
import { chmodSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { SERVICE } from '../../../src/store/audit.ts'
import { migrations } from '../../../src/store/sqlite/schema.ts'
import { openSqliteStore } from '../../../src/store/sqlite.ts'
import { tempDir } from '../../support/service.ts'

/** Inserts one token and three registrations, with only the columns that every schema version has. */
const rows = `
  INSERT INTO tokens (id, secret_hash, label, plans, max_uses, uses, expires_at, key_ttl_ms, name_prefix,
                      rate_per_minute, created_at, revoked_at)
  VALUES ('tok_1', x'01', 'one', '["gold"]', 5, 2, NULL, 1000, 'acme-', 7, 10, NULL);
  INSERT INTO registrations (id, token_id, status, name, description, plan, usage_plan_id, management_hash,
                             api_key_id, created_at, ended_at, expires_at, failure)
  VALUES ('reg_active', 'tok_1', 'active', 'acme-a', 'd', 'gold', 'abc', x'02', 'key1', 20, 30, 1020, NULL),
         ('reg_pending', 'tok_1', 'pending', 'acme-b', '', 'gold', 'abc', x'03', NULL, 21, NULL, NULL, NULL),
         ('reg_failed', 'tok_1', 'failed', 'acme-c', '', 'gold', 'abc', x'04', NULL, 22, 31, NULL, 'internal')`

for (let version = 1; version < migrations.length; version++) {
  test(`a file of schema ${version} is migrated without losing data`, async (t) => {
    const path = join(tempDir(t), 'store.db')
    const db = new DatabaseSync(path)
    for (const step of migrations.slice(0, version)) db.exec(step)
    db.exec(`PRAGMA user_version = ${version}; ${rows}`)
    if (version >= 2) db.exec(`UPDATE registrations SET answered_at = 30 WHERE status = 'active'`)
    if (version >= 3) db.exec('UPDATE registrations SET ends_at = expires_at')
    db.close()

    const store = openSqliteStore(path)
    t.after(() => store.close())
    assert.match(store.id, /^[0-9a-f]{10}$/)
    const token = await store.getToken('tok_1')
    assert.deepEqual(
      [token?.label, token?.plans, token?.maxUses, token?.uses, token?.keyTtlMs, token?.ratePerMinute],
      ['one', ['gold'], 5, 2, 1000, 7],
    )
    const active = await store.getRegistration('reg_active')
    assert.deepEqual(
      [
        active?.status,
        active?.apiKeyId,
        active?.endedAt,
        active?.answeredAt,
        active?.deliveredAt,
        active?.expiresAt,
        active?.endsAt,
      ],
      ['active', 'key1', 30, 30, 30, 1020, 1020],
    )
    assert.deepEqual([token?.federation, active?.federated, active?.holdsPlace], [null, null, false])
    assert.deepEqual(await store.listInDoubt(99, 10), [])
    assert.deepEqual([await store.listPoolKeys(), await store.listPoolHolders()], [[], []])
    assert.equal((await store.getRegistration('reg_failed'))?.failure, 'internal')
    assert.deepEqual(
      (await store.listRecoverable(99, 10)).map(({ id }) => id),
      ['reg_pending'],
    )
    await store.startEndings(['reg_active', 'reg_pending'], 1020)
    assert.deepEqual(
      (await store.listDue(1020, 10)).map(({ id }) => id),
      ['reg_active'],
    )
    const again = new DatabaseSync(path)
    t.after(() => again.close())
    assert.equal(again.prepare('PRAGMA user_version').get()?.['user_version'], migrations.length)
  })
}

test('an entry of the audit trail cannot be changed', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const store = openSqliteStore(path)
  t.after(() => store.close())
  const actor = { kind: 'operator', id: 'me', requestId: null, clientAddress: null, identity: null } as const
  const nothing = { detail: null, tokenId: null, registrationId: null, apiKeyId: null }
  await store.appendAudit([{ at: 1, actor, action: 'command.run', ...nothing }])
  const db = new DatabaseSync(path)
  t.after(() => db.close())
  assert.throws(() => db.exec(`UPDATE audit SET actor_id = 'you'`), /append-only/)
})

test('an answer that an earlier version records on the migrated file counts as delivered', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const store = openSqliteStore(path)
  const db = new DatabaseSync(path)
  t.after(async () => {
    db.close()
    await store.close()
  })
  db.exec(rows)
  db.exec(`UPDATE registrations SET status = 'active', answered_at = 40 WHERE id = 'reg_pending'`)
  assert.equal((await store.getRegistration('reg_pending'))?.deliveredAt, 40)
  assert.deepEqual(await store.listInDoubt(99, 10), [])
  assert.ok(await store.markAnswered('reg_pending', SERVICE, 50))
  await store.markDelivered(['reg_pending'], 60)
  assert.equal((await store.getRegistration('reg_pending'))?.deliveredAt, 40)
})

/** Returns a file of the present schema that these statements changed, as an unreleased version or another program would. */
function changedFile(t: TestContext, sql: string, version = migrations.length): string {
  const path = join(tempDir(t), 'store.db')
  const db = new DatabaseSync(path)
  for (const step of migrations.slice(0, version)) db.exec(step)
  db.exec(`PRAGMA user_version = ${version}; ${sql}`)
  db.close()
  return path
}

test('a file of an unreleased version is refused with the differences, and is not changed', (t) => {
  const cases: [sql: string, difference: RegExp, version?: number][] = [
    [
      'ALTER TABLE registrations DROP COLUMN final_usage',
      /column registrations\.final_usage TEXT is missing/,
    ],
    ['ALTER TABLE tokens ADD COLUMN owner TEXT', /column tokens\.owner TEXT is unknown/],
    ['DROP INDEX registrations_switch', /index registrations_switch is missing/],
    ['DROP TRIGGER audit_append_only', /trigger audit_append_only is missing/],
    ['DROP TABLE meta', /column meta\.name TEXT.* is missing/],
    // A step that was changed before it was released.
    [
      'ALTER TABLE registrations ADD COLUMN suspended_at INTEGER',
      /registrations\.suspended_at INTEGER is unknown/,
      7,
    ],
  ]
  for (const [sql, difference, version] of cases) {
    const path = changedFile(t, sql, version)
    const before = readFileSync(path)
    assert.throws(
      () => openSqliteStore(path),
      /store\.db cannot be opened: it was written by an unreleased firstkey/,
      sql,
    )
    assert.throws(() => openSqliteStore(path), difference)
    assert.deepEqual(readFileSync(path), before)
  }
})

test('the database of another program is refused, and is not changed', (t) => {
  for (const version of [0, 3, migrations.length]) {
    const path = join(tempDir(t), 'other.db')
    const db = new DatabaseSync(path)
    db.exec(`CREATE TABLE tokens (id INTEGER PRIMARY KEY); PRAGMA user_version = ${version}`)
    db.close()
    chmodSync(path, 0o644)
    const before = readFileSync(path)
    assert.throws(() => openSqliteStore(path), /other\.db cannot be opened: it .* another program/)
    assert.deepEqual(readFileSync(path), before)
    assert.equal(statSync(path).mode & 0o777, 0o644)
  }
})

test('tables and indexes that an operator added do no harm', async (t) => {
  const path = changedFile(t, 'CREATE TABLE notes (text TEXT); CREATE INDEX by_name ON registrations (name)')
  const store = openSqliteStore(path)
  t.after(() => store.close())
  await store.ping()
})
