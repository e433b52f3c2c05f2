import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { ServiceError } from '../../src/errors.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { createPrivateFile } from '../../src/store/sqlite/private-files.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { long } from '../support/long.ts'
import { tempDir, unlimitedPolicy } from '../support/service.ts'
import { contract } from './contract.ts'
import { poolContract } from './pool-contract.ts'
import { readsContract } from './reads-contract.ts'
import {
  lease,
  newCompletion,
  newIdempotentRegistration,
  newRegistration,
  type OpenStore,
} from './store-contract.ts'

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

poolContract('SQLite file', async (t) => {
  const path = join(tempDir(t), 'store.db')
  return [open(t, path), open(t, path)]
})

readsContract('SQLite file', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const store = open(t, path)
  const other = new DatabaseSync(path)
  t.after(() => other.close())
  // Another connection holds the write lock: in WAL mode reads still work, and writes time out.
  return { store, forbidWrites: () => other.exec('BEGIN IMMEDIATE') }
})

test('the file is in WAL mode, flushed at every commit, and readable by its owner only', async (t) => {
  const path = join(tempDir(t), 'new', 'store.db')
  const store = openSqliteStore(path)
  t.after(() => store.close())
  await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.equal(statSync(`${path}-wal`).mode & 0o777, 0o600)
  const db = new DatabaseSync(path)
  t.after(() => db.close())
  assert.equal(db.prepare('PRAGMA journal_mode').get()?.['journal_mode'], 'wal')
})

test('files that others may read are made private and named, those of a new store are private from the first byte', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const umask = process.umask(0)
  t.after(() => process.umask(umask))
  const logged: string[] = []
  const note = (_fields: object, message: string) => void logged.push(message)
  const log = { info: note, warn: note, error: note }
  const first = openSqliteStore(path, log)
  assert.deepEqual(logged, [`created a new store at ${path}`])
  await first.ping()
  const files = ['', '-wal', '-shm'].map((suffix) => path + suffix)
  const modesNow = () => files.map((file) => statSync(file).mode & 0o777)
  assert.deepEqual(modesNow(), [0o600, 0o600, 0o600])
  for (const file of files) chmodSync(file, 0o664)
  const second = openSqliteStore(path, log)
  assert.deepEqual(modesNow(), [0o600, 0o600, 0o600])
  assert.deepEqual(
    logged.slice(1),
    files.map((file) => `other users had access to ${file}: now its owner alone has`),
  )
  await Promise.all([first.close(), second.close()])
  chmodSync(path, 0o604)
  openSqliteStore(path).close()
  assert.equal(statSync(path).mode & 0o777, 0o600)

  // Before SQLite opens it.
  assert.ok(createPrivateFile(`${path}.new`))
  assert.deepEqual([statSync(`${path}.new`).mode & 0o777, statSync(`${path}.new`).size], [0o600, 0])
})

test('a path may be a link to the file', async (t) => {
  const [dir, other] = [tempDir(t), tempDir(t)]
  const path = join(dir, 'link.db')
  symlinkSync(join(other, 'store.db'), path)
  const store = openSqliteStore(path)
  t.after(() => store.close())
  await store.ping()
  assert.equal(statSync(join(other, 'store.db')).mode & 0o777, 0o600)
  rmSync(path)
  symlinkSync(join(other, 'another.db'), path)
  await assert.rejects(store.ping(), { code: 'store_unavailable' })
})

test('two connections read what the other wrote, and together spend each use once', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const [one, two] = [openSqliteStore(path), openSqliteStore(path)]
  t.after(() => Promise.all([one.close(), two.close()]))
  const { token } = await issueBootstrapToken(one, { ...unlimitedPolicy, maxUses: 10 }, SERVICE, 1)
  const begun = await Promise.all(
    Array.from({ length: 40 }, (_, i) =>
      (i % 2 ? one : two).beginRegistrations([newRegistration(token.id)], lease),
    ),
  )
  assert.equal(begun.flat().filter(({ outcome }) => outcome === 'begun').length, 10)
  assert.equal((await two.getToken(token.id))?.uses, 10)
})

test('processes that first open a file at once read the same id, which stays', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const module = JSON.stringify(join(import.meta.dirname, '../../src/store/sqlite.ts'))
  const program = `
    const { openSqliteStore } = await import(${module})
    process.stdin.once('data', () => console.log(openSqliteStore(${JSON.stringify(path)}).id))
    console.log('ready')`
  const openers = Array.from({ length: 3 }, () =>
    spawn(process.execPath, ['--input-type=module', '-e', program]),
  )
  await Promise.all(openers.map(({ stdout }) => once(stdout, 'data')))
  const ids = openers.map(({ stdout }) => once(stdout, 'data'))
  for (const { stdin } of openers) stdin.end('open')
  const [id, ...others] = (await Promise.all(ids)).map(([id]) => String(id).trim())
  assert.match(id ?? '', /^[0-9a-f]{10}$/)
  assert.deepEqual(others, [id, id])
  assert.equal(open(t, path).id, id)
  assert.notEqual(open(t, ':memory:').id, id)
})

test('a file of a newer version is rejected', (t) => {
  const path = join(tempDir(t), 'store.db')
  const db = new DatabaseSync(path)
  db.exec('PRAGMA user_version = 999')
  db.close()
  assert.throws(() => openSqliteStore(path), /store\.db cannot be opened: it was written by a newer firstkey/)
})

test('a path that is not a database file is rejected with an error that names it', (t) => {
  const dir = tempDir(t)
  writeFileSync(join(dir, 'text.db'), 'this text is not a database, but as long as one'.repeat(20))
  mkdirSync(join(dir, 'folder.db'))
  assert.throws(
    () => openSqliteStore(join(dir, 'text.db')),
    /text\.db cannot be opened: file is not a database/,
  )
  assert.throws(() => openSqliteStore(join(dir, 'folder.db')), /folder\.db cannot be opened: it is a folder/)
  assert.throws(() => openSqliteStore(join(dir, 'text.db', 'x.db')), /x\.db cannot be opened/)
})

/** What people do to the files of a running store, and how they undo it; `undefined`: it cannot be undone. */
const losses: Record<string, { lose: (path: string, other: string) => void; undo?: (path: string) => void }> =
  {
    'the file is moved away': {
      lose: (path) => renameSync(path, `${path}.moved`),
      undo: (path) => renameSync(`${path}.moved`, path),
    },
    'another file is moved into its place': {
      lose(path, other) {
        renameSync(path, `${path}.moved`)
        renameSync(other, path)
      },
      undo: (path) => renameSync(`${path}.moved`, path),
    },
    'another database is copied over it': {
      lose(path, other) {
        copyFileSync(path, `${path}.copy`)
        copyFileSync(other, path)
      },
      undo: (path) => copyFileSync(`${path}.copy`, path),
    },
    'a text is copied over it': { lose: (path) => writeFileSync(path, 'x'.repeat(statSync(path).size)) },
    'it is truncated': { lose: (path) => truncateSync(path) },
    'it is removed with its WAL': {
      lose: (path) => [path, `${path}-wal`, `${path}-shm`].map((file) => rmSync(file)),
    },
    'its WAL is moved away': {
      lose: (path) => renameSync(`${path}-wal`, `${path}-wal.moved`),
      undo: (path) => renameSync(`${path}-wal.moved`, `${path}-wal`),
    },
    'its folder is moved away': {
      lose: (path) => renameSync(dirname(path), `${dirname(path)}.moved`),
      undo: (path) => renameSync(`${dirname(path)}.moved`, dirname(path)),
    },
    'its path cannot be followed': {
      lose(path) {
        renameSync(path, `${path}.moved`)
        symlinkSync(path, path)
      },
      undo: (path) => renameSync(`${path}.moved`, path),
    },
  }

for (const [kind, { lose, undo }] of Object.entries(losses))
  test(`nothing is read or written while ${kind}, and the log says so once`, async (t) => {
    const dir = join(tempDir(t), 'data')
    mkdirSync(dir)
    const [path, other] = [join(dir, 'store.db'), join(dir, 'other.db')]
    const elsewhere = openSqliteStore(other)
    await issueBootstrapToken(elsewhere, unlimitedPolicy, SERVICE, 1)
    await elsewhere.close()
    const lines: string[] = []
    const add = (level: string) => (_fields: object, message: string) =>
      void lines.push(`${level} ${message}`)
    const store = openSqliteStore(path, { info: add('info'), warn: add('warn'), error: add('error') })
    t.after(() => store.close())
    const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
    const checkpoint = new DatabaseSync(path)
    checkpoint.exec('PRAGMA wal_checkpoint')
    checkpoint.close()
    const begin = () => store.beginRegistrations([newRegistration(token.id)], lease)
    await begin()
    assert.deepEqual(lines.splice(0), [`info created a new store at ${path}`])

    lose(path, other)
    for (const use of [() => store.ping(), begin, () => store.getToken(token.id), () => store.ping()])
      await assert.rejects(use(), { code: 'store_unavailable', retryAfter: 5, alreadyLogged: true })
    assert.equal(lines.length, 1)
    assert.match(lines[0] ?? '', /^error the store is not used/)
    if (undo === undefined) return
    undo(path)
    await store.ping()
    assert.equal((await begin())[0]?.outcome, 'begun')
    assert.deepEqual(lines.slice(1), ['info the files of the store are back; it is used again'])
  })

test('checkpoints of this and of other processes are no loss of the file', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const store = open(t, path)
  const other = open(t, path)
  const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
  const size = statSync(path).size
  const db = new DatabaseSync(path)
  t.after(() => db.close())
  for (let i = 0; i < 60; i++) {
    const some = Array.from({ length: 20 }, () => newRegistration(token.id))
    await (i % 2 ? store : other).beginRegistrations(some, lease)
    if (i % 5 === 0) db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  }
  assert.ok(statSync(path).size > size)
  await Promise.all([store.ping(), other.ping()])
})

test('ping writes to the disk', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const store = openSqliteStore(path)
  t.after(() => store.close())
  const before = statSync(`${path}-wal`).size
  await store.ping()
  assert.ok(statSync(`${path}-wal`).size > before)
})

test('waiting for a lock of another process does not block the event loop', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const store = openSqliteStore(path)
  t.after(() => store.close())
  const db = new DatabaseSync(path)
  t.after(() => db.close())
  db.exec('BEGIN IMMEDIATE')
  const write = issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
  let turns = 0
  const turn = setInterval(() => turns++, 10)
  t.after(() => clearInterval(turn))
  setTimeout(() => db.exec('ROLLBACK'), 500)
  await write
  assert.ok(turns >= 10, `${turns} turns of the event loop in 500 ms`)
})

test(
  'writes to a locked file fail with store_unavailable, and succeed after it is unlocked',
  long,
  async (t) => {
    const path = join(tempDir(t), 'store.db')
    const store = openSqliteStore(path)
    t.after(() => store.close())
    const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
    const db = new DatabaseSync(path)
    t.after(() => db.close())
    db.exec('BEGIN IMMEDIATE')
    const isUnavailable = (error: unknown) =>
      error instanceof ServiceError && error.code === 'store_unavailable'
    await assert.rejects(store.beginRegistrations([newRegistration(token.id)], lease), isUnavailable)
    await assert.rejects(store.ping(), isUnavailable)
    db.exec('ROLLBACK')
    assert.equal((await store.beginRegistrations([newRegistration(token.id)], lease))[0]?.outcome, 'begun')
  },
)

test('isAwaited is called after the wait for a lock, not before', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const store = openSqliteStore(path)
  const other = new DatabaseSync(path)
  t.after(async () => {
    other.close()
    await store.close()
  })
  const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
  // Without an idempotency key it would not be completed: no caller could receive its key.
  const registration = newIdempotentRegistration(token.id, 'k')
  await store.beginRegistrations([registration], lease)
  other.exec('BEGIN IMMEDIATE')
  let awaited = true
  const completion = newCompletion(registration, { isAwaited: () => awaited })
  const completing = store.completeRegistrations([completion], 2)
  awaited = false
  other.exec('COMMIT')
  assert.equal((await completing).size, 1)
  assert.equal((await store.getRegistration(registration.id))?.answeredAt, null)
})
