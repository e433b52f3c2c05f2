import assert from 'node:assert/strict'
import { mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { hashSecret } from '../../src/auth/secret.ts'
import { ServiceError } from '../../src/errors.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { anyUse, tempDir } from '../support/service.ts'
import { contract } from './contract.ts'
import { readsContract } from './reads-contract.ts'
import { completionOf, type OpenStore, registrationOf } from './store-contract.ts'

const lease = { owner: 'a.1', until: 5_000 }

const kinds: Record<string, OpenStore> = {
  'SQLite file': (t) => open(t, join(tempDir(t), 'store.db')),
  'SQLite memory': (t) => open(t, ':memory:'),
}

function open(t: TestContext, path: string): Store {
  const store = openSqliteStore(path)
  t.after(() => store.close())
  return store
}

for (const [name, openOne] of Object.entries(kinds)) contract(name, openOne)

readsContract('SQLite file', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const store = open(t, path)
  const other = new DatabaseSync(path)
  t.after(() => other.close())
  // Another connection holds the write lock: in WAL mode readers go on, and a writer waits in vain.
  return { store, forbidWrites: () => other.exec('BEGIN IMMEDIATE') }
})

test('the file is in WAL mode, flushed at every commit, and readable by its owner only', async (t) => {
  const path = join(tempDir(t), 'new', 'store.db')
  const store = openSqliteStore(path)
  t.after(() => store.close())
  await issueBootstrapToken(store, anyUse, SERVICE, 1)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.equal(statSync(`${path}-wal`).mode & 0o777, 0o600)
  const db = new DatabaseSync(path)
  t.after(() => db.close())
  assert.equal(db.prepare('PRAGMA journal_mode').get()?.['journal_mode'], 'wal')
})

test('what one process wrote another reads; the last use is spent once between them', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const [one, two] = [openSqliteStore(path), openSqliteStore(path)]
  t.after(() => Promise.all([one.close(), two.close()]))
  const { token } = await issueBootstrapToken(one, { ...anyUse, maxUses: 10 }, SERVICE, 1)
  const begun = await Promise.all(
    Array.from({ length: 40 }, (_, i) =>
      (i % 2 ? one : two).beginRegistrations([registrationOf(token.id)], lease),
    ),
  )
  assert.equal(begun.flat().filter(({ outcome }) => outcome === 'begun').length, 10)
  assert.equal((await two.getToken(token.id))?.uses, 10)
})

test('a store from a newer version is refused, and not changed', (t) => {
  const path = join(tempDir(t), 'store.db')
  const db = new DatabaseSync(path)
  db.exec('PRAGMA user_version = 999')
  db.close()
  assert.throws(() => openSqliteStore(path), /store\.db cannot be opened: it was written by a newer firstkey/)
})

test('what is no database, a folder, or below a file is refused with the path', (t) => {
  const dir = tempDir(t)
  writeFileSync(
    join(dir, 'text.db'),
    'this is not a database, but it is long enough to be taken for one'.repeat(20),
  )
  mkdirSync(join(dir, 'folder.db'))
  assert.throws(
    () => openSqliteStore(join(dir, 'text.db')),
    /text\.db cannot be opened: file is not a database/,
  )
  assert.throws(() => openSqliteStore(join(dir, 'folder.db')), /folder\.db cannot be opened/)
  assert.throws(() => openSqliteStore(join(dir, 'text.db', 'x.db')), /x\.db cannot be opened/)
})

test('a file that was moved away is noticed', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const store = openSqliteStore(path)
  t.after(() => store.close())
  await store.ping()
  renameSync(path, `${path}.moved`)
  await assert.rejects(store.ping(), { code: 'store_unavailable' })
})

test('while another process keeps the store locked, this one goes on with other work', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const store = openSqliteStore(path)
  t.after(() => store.close())
  const db = new DatabaseSync(path)
  t.after(() => db.close())
  db.exec('BEGIN IMMEDIATE')
  const write = issueBootstrapToken(store, anyUse, SERVICE, 1)
  let turns = 0
  const turn = setInterval(() => turns++, 10)
  t.after(() => clearInterval(turn))
  setTimeout(() => db.exec('ROLLBACK'), 500)
  await write
  assert.ok(turns >= 10, `${turns} turns of the event loop in 500 ms`)
})

test('a store that another process keeps locked: store_unavailable, and fine again afterwards', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const store = openSqliteStore(path)
  t.after(() => store.close())
  const { token } = await issueBootstrapToken(store, anyUse, SERVICE, 1)
  const db = new DatabaseSync(path)
  t.after(() => db.close())
  db.exec('BEGIN IMMEDIATE')
  const isUnavailable = (error: unknown) =>
    error instanceof ServiceError && error.code === 'store_unavailable'
  await assert.rejects(store.beginRegistrations([registrationOf(token.id)], lease), isUnavailable)
  await assert.rejects(store.ping(), isUnavailable)
  db.exec('ROLLBACK')
  assert.equal((await store.beginRegistrations([registrationOf(token.id)], lease))[0]?.outcome, 'begun')
})

test('whether somebody was answered is asked when it is written, not before a lock was waited for', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const store = openSqliteStore(path)
  const other = new DatabaseSync(path)
  t.after(async () => {
    other.close()
    await store.close()
  })
  const { token } = await issueBootstrapToken(store, anyUse, SERVICE, 1)
  // With an idempotency key: one that nobody could ask for again is refused instead, see the contract.
  const idempotency = { keyHash: hashSecret('k'), requestHash: hashSecret('b'), sealed: Buffer.from('s') }
  const registration = { ...registrationOf(token.id), idempotency }
  await store.beginRegistrations([registration], lease)
  other.exec('BEGIN IMMEDIATE')
  let awaited = true
  const completion = completionOf(registration, { isAwaited: () => awaited })
  const completing = store.completeRegistrations([completion], 2)
  awaited = false
  other.exec('COMMIT')
  assert.equal((await completing).size, 1)
  assert.equal((await store.getRegistration(registration.id))?.answeredAt, null)
})
