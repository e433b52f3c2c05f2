import assert from 'node:assert/strict'
import { copyFileSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { issueBootstrapToken } from '../../../src/auth/bootstrap-token.ts'
import { SERVICE } from '../../../src/store/audit.ts'
import { backUp } from '../../../src/store/sqlite/backup.ts'
import { openSqliteStore } from '../../../src/store/sqlite.ts'
import type { Store } from '../../../src/store/store.ts'
import { long } from '../../support/long.ts'
import { runCli } from '../../support/server-process.ts'
import { tempDir, unlimitedPolicy } from '../../support/service.ts'
import { lease, newRegistration } from '../store-contract.ts'

const TAKEN_AT = 1_790_000_000_000
const ALL = { limit: 1_000_000 }

/** Opens a store with a token and some registrations. */
async function filled(
  t: TestContext,
): Promise<{ dir: string; path: string; store: Store; fill: () => Promise<void> }> {
  const dir = tempDir(t)
  const path = join(dir, 'store.db')
  const store = open(t, path)
  const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
  const some = () => Array.from({ length: 50 }, () => newRegistration(token.id))
  const fill = async () => void (await store.beginRegistrations(some(), lease))
  await fill()
  return { dir, path, store, fill }
}

function open(t: TestContext, path: string): Store {
  const store = openSqliteStore(path)
  t.after(() => store.close())
  return store
}

test('a backup beside writes has all that was committed before it, nothing else, and is one private file', async (t) => {
  const { dir, path, store, fill } = await filled(t)
  let writing = true
  const writer = (async () => {
    for (; writing; await setImmediate()) await fill()
  })()
  await fill()
  const atLeast = (await store.listRegistrations(ALL)).length
  const file = join(dir, 'backup.db')
  const made = await backUp(path, file, TAKEN_AT, () => undefined)
  const atMost = (await store.listRegistrations(ALL)).length
  writing = false
  await writer
  assert.ok(
    atLeast <= made.registrations && made.registrations <= atMost,
    `${atLeast} ${made.registrations} ${atMost}`,
  )
  assert.equal(made.storeId, store.id)
  assert.deepEqual(readdirSync(dir).sort(), ['backup.db', 'store.db', 'store.db-shm', 'store.db-wal'])
  assert.equal(statSync(file).mode & 0o777, 0o600)

  const copy = open(t, file)
  const copied = await copy.listRegistrations(ALL)
  assert.equal(copied.length, made.registrations)
  const originals = new Map((await store.listRegistrations(ALL)).map((one) => [one.id, one]))
  for (const one of copied) assert.deepEqual(one, originals.get(one.id))
  assert.equal(copy.id, store.id)
})

test('only a store that was restored remembers the time of the backup, until that is accepted', async (t) => {
  const { dir, path, store } = await filled(t)
  const [first, second] = [join(dir, 'first.db'), join(dir, 'second.db')]
  await backUp(path, first, TAKEN_AT, () => undefined)
  const restored = open(t, first)
  assert.equal(await restored.findRestore(), TAKEN_AT)
  assert.equal(await open(t, first).findRestore(), TAKEN_AT)
  assert.equal(await store.findRestore(), null)

  await backUp(first, second, TAKEN_AT + 1, () => undefined)
  assert.equal(await open(t, second).findRestore(), TAKEN_AT + 1)
  await restored.acceptRestore(TAKEN_AT - 1)
  assert.equal(await restored.findRestore(), TAKEN_AT)
  await restored.acceptRestore(TAKEN_AT)
  assert.equal(await restored.findRestore(), null)
  assert.equal(await open(t, first).findRestore(), null)
})

test('a backup beside the WAL of the database that was there before is not opened', async (t) => {
  const { dir, path, fill } = await filled(t)
  const file = join(dir, 'backup.db')
  await backUp(path, file, TAKEN_AT, () => undefined)
  await fill()
  const place = join(dir, 'restored.db')
  copyFileSync(file, place)
  copyFileSync(`${path}-wal`, `${place}-wal`)
  assert.throws(
    () => openSqliteStore(place),
    /restored\.db cannot be opened: it is a backup, and .*-wal belongs to/,
  )
  rmSync(`${place}-wal`)
  const restored = open(t, place)
  assert.equal((await restored.listRegistrations(ALL)).length, 50)
  // Its own WAL belongs to it.
  await restored.ping()
  assert.equal((await open(t, place).listRegistrations(ALL)).length, 50)
})

test('a running store notices that its backup is copied over it, even by the one that it was restored from', async (t) => {
  const { dir, path, fill } = await filled(t)
  const file = join(dir, 'backup.db')
  await backUp(path, file, TAKEN_AT, () => undefined)
  await fill()
  copyFileSync(file, path)
  await assert.rejects(fill(), { code: 'store_unavailable' })
})

test(
  'the command backs up beside a running store, and refuses what it cannot do with words',
  long,
  async (t) => {
    const { dir, path } = await filled(t)
    const file = join(dir, 'backup.db')
    const run = (to: string, env: Record<string, string> = {}) =>
      runCli(t, ['store', 'backup', to], { STORE: `sqlite:${path}`, ...env })
    const made = await run(file)
    assert.equal(made.code, 0, made.stderr)
    assert.match(
      made.stderr,
      /Backed up 1 tokens, 50 registrations .* to .*backup\.db \([\d,]+ bytes\) in [\d.]+ s/,
    )

    const before = statSync(file).mtimeMs
    const refusals: [Awaited<ReturnType<typeof run>>, RegExp][] = [
      [await run(file), /backup\.db exists already, and is left as it is/],
      [await run(path), /store\.db exists already/],
      [await run(join(dir, 'missing', 'backup.db')), /missing.*cannot be written|ENOENT.*missing/],
      [await run(file, { STORE: `sqlite:${join(dir, 'other.db')}` }), /other\.db/],
      [await run(file, { STORE: 'dynamodb:firstkey', AWS_REGION: 'eu-west-1' }), /point-in-time recovery/],
    ]
    for (const [{ code, stderr }, words] of refusals) {
      assert.equal(code, 1)
      assert.match(stderr, words)
    }
    assert.equal(statSync(file).mtimeMs, before)
  },
)

test('a damaged store is not backed up, and nothing is left of the copy', async (t) => {
  const { dir, path } = await filled(t)
  const db = new DatabaseSync(path, { defensive: false })
  db.exec('PRAGMA writable_schema = ON')
  db.exec("UPDATE sqlite_master SET rootpage = rootpage + 1 WHERE name = 'audit_at'")
  db.close()
  const file = join(dir, 'backup.db')
  await assert.rejects(
    backUp(path, file, TAKEN_AT, () => undefined),
    /damaged|malformed|corrupt/,
  )
  assert.deepEqual(
    readdirSync(dir).filter((name) => name.startsWith('backup')),
    [],
  )
})
