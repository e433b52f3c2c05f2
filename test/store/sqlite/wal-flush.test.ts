import assert from 'node:assert/strict'
import { createHook } from 'node:async_hooks'
import { closeSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { ServiceError } from '../../../src/errors.ts'
import { createWalFlush } from '../../../src/store/sqlite/wal-flush.ts'
import { openSqliteStore } from '../../../src/store/sqlite.ts'
import { tempDir } from '../../support/service.ts'

/** Observes the operations that this process gives to the system's pool for files. Numbers of those that began and ended. */
function watchFileOperations(t: TestContext) {
  const operations = { begun: 0, ended: 0 }
  const own = new Set<number>()
  const hook = createHook({
    init(id, type) {
      if (type !== 'FSREQCALLBACK') return
      own.add(id)
      operations.begun++
    },
    before(id) {
      if (own.has(id)) operations.ended++
    },
  }).enable()
  t.after(() => hook.disable())
  return operations
}

test('a flush that is asked for while one runs begins after it, and all that ask meanwhile share it', async (t) => {
  const file = join(tempDir(t), 'file')
  writeFileSync(file, 'content')
  const wal = createWalFlush(file)
  t.after(() => wal.close())
  const operations = watchFileOperations(t)
  const first = wal.flushed()
  const others = Array.from({ length: 5 }, () => wal.flushed())
  assert.equal(operations.begun, 1)
  await first
  assert.equal(operations.ended, 1)
  await Promise.all(others)
  assert.deepEqual(operations, { begun: 2, ended: 2 })
  assert.equal(wal.whyFailed(), undefined)
})

test('a write to the store resolves when a flush that began after it has ended', async (t) => {
  const store = openSqliteStore(join(tempDir(t), 'store.db'))
  t.after(() => store.close())
  const operations = watchFileOperations(t)
  await store.ping()
  assert.deepEqual(operations, { begun: 1, ended: 1 })
  const first = store.ping()
  const second = store.ping().then(() => operations.ended)
  await first
  assert.equal(await second, 3)
})

test('a store whose disk failed is not used until it is opened again, and the log has it once', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const lines: string[] = []
  const log = {
    info: () => undefined,
    warn: () => undefined,
    error: (_: object, text: string) => lines.push(text),
  }
  const store = openSqliteStore(path, log)
  const descriptor = descriptorsOf(`${path}-wal`).at(-1)
  assert.ok(descriptor)
  closeSync(descriptor)
  const isUnavailable = (error: unknown) =>
    error instanceof ServiceError && error.code === 'store_unavailable'
  await assert.rejects(store.ping(), isUnavailable)
  await assert.rejects(store.ping(), isUnavailable)
  await assert.rejects(store.listTokens(), isUnavailable)
  assert.deepEqual(lines, ['the store is not used: its disk failed; start the service again'])
  const other = openSqliteStore(path)
  await other.ping()
  await other.close()
})

/** The descriptors of this process for a file, in the order in which they were opened. */
function descriptorsOf(file: string): number[] {
  const all = readdirSync('/proc/self/fd')
    .map(Number)
    .toSorted((a, b) => a - b)
  return all.filter((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`) === file
    } catch {
      return false // That of the folder itself, which is closed.
    }
  })
}
