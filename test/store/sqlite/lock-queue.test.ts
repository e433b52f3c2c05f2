import assert from 'node:assert/strict'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { type AuditEntry, SERVICE } from '../../../src/store/audit.ts'
import { createLockQueue } from '../../../src/store/sqlite/lock-queue.ts'
import { openSqliteStore } from '../../../src/store/sqlite.ts'
import { long } from '../../support/long.ts'
import { tempDir } from '../../support/service.ts'

const entry = (detail: string): AuditEntry => ({
  ...{ at: 1, actor: SERVICE, action: 'command.run', detail },
  ...{ tokenId: null, registrationId: null, apiKeyId: null },
})

test('writes that wait for a lock are done in the order of their arrival, also those that arrive when it is free again', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const store = openSqliteStore(path)
  const other = new DatabaseSync(path)
  t.after(async () => {
    other.close()
    await store.close()
  })
  other.exec('BEGIN IMMEDIATE')
  const names = Array.from({ length: 20 }, (_, i) => `write ${i}`)
  const done: string[] = []
  const write = async (name: string) => {
    await store.appendAudit([entry(name)])
    done.push(name)
  }
  const writes = names.slice(0, 10).map(write)
  // The race: the lock is free, and a new write could be done before those that wait.
  other.exec('ROLLBACK')
  writes.push(...names.slice(10).map(write))
  await Promise.all(writes)
  assert.deepEqual(done, names)
})

test('a read does not wait behind writes', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const store = openSqliteStore(path)
  const other = new DatabaseSync(path)
  t.after(async () => {
    other.close()
    await store.close()
  })
  other.exec('BEGIN IMMEDIATE')
  const write = store.appendAudit([entry('write')])
  const ended: string[] = []
  void write.then(() => ended.push('write'))
  await store.listAudit({ limit: 1 })
  ended.push('read')
  other.exec('ROLLBACK')
  await write
  assert.deepEqual(ended, ['read', 'write'])
})

class Locked extends Error {}
class TooLate extends Error {}

test('an operation that fails while others wait fails alone', async () => {
  let isLocked = true
  const queue = createLockQueue(
    (error) => error instanceof Locked,
    () => new TooLate(),
  )
  const work = (result: () => number) =>
    queue.inOrder(() => {
      if (isLocked) throw new Locked()
      return result()
    })
  const bad = () => {
    throw new RangeError('bad')
  }
  const results = Promise.allSettled([work(() => 1), work(bad), work(() => 3)])
  isLocked = false
  const [first, second, third] = await results
  assert.deepEqual(
    [first, third],
    [1, 3].map((value) => ({ status: 'fulfilled', value })),
  )
  assert.ok(second?.status === 'rejected' && second.reason instanceof RangeError)
})

test(
  'of 10,001 operations one tries for all, the last is refused at once, and the others after 2 seconds',
  long,
  async () => {
    let attempts = 0
    const queue = createLockQueue(
      (error) => error instanceof Locked,
      (cause) => new TooLate('too late', { cause }),
    )
    const startedAt = performance.now()
    const ended: number[] = []
    const operations = Array.from({ length: 10_001 }, (_, i) =>
      queue
        .inOrder(() => {
          attempts += 1
          throw new Locked()
        })
        .catch((error: unknown) => {
          assert.ok(error instanceof TooLate)
          ended.push(i)
        }),
    )
    await operations.at(-1)
    assert.deepEqual(ended, [10_000])
    assert.ok(performance.now() - startedAt < 1_000)
    await Promise.all(operations)
    assert.ok(performance.now() - startedAt >= 2_000)
    assert.ok(attempts < 2_000, `${attempts} attempts`)
  },
)
