import assert from 'node:assert/strict'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { z } from 'zod'
import { backUp } from '../../../src/store/sqlite/backup.ts'
import { migrations } from '../../../src/store/sqlite/schema.ts'
import { openSqliteStore } from '../../../src/store/sqlite.ts'
import type { Store } from '../../../src/store/store.ts'
import { startProgram } from '../../support/server-process.ts'
import { tempDir } from '../../support/service.ts'
import { ANN, fillPool, handOut, LEASE_MS, newHandOut, newTokenId, T } from '../pool-keys.ts'
import { newRegistration } from '../store-contract.ts'

const DAY_MS = 24 * 3_600_000

function open(t: TestContext, path: string): Store {
  const store = openSqliteStore(path)
  t.after(() => store.close())
  return store
}

const countIn = (path: string) => {
  const db = new DatabaseSync(path, { readOnly: true })
  const rows = db
    .prepare(
      'SELECT (SELECT count(*) FROM pool_keys) AS keys, (SELECT count(*) FROM pool_holders) AS holders',
    )
    .get()
  db.close()
  return { ...rows }
}

test('a backup has the pool, and a store that is restored from it has none: its keys may have been handed out since', async (t) => {
  const dir = tempDir(t)
  const [path, file] = [join(dir, 'store.db'), join(dir, 'backup.db')]
  const store = open(t, path)
  const tokenId = await newTokenId(store)
  const [key, next] = await fillPool(store, 2)
  assert.ok(key && next)
  await backUp(path, file, T, () => undefined)
  assert.deepEqual(countIn(file), { keys: 2, holders: 1 })
  assert.equal((await handOut(store, newHandOut(key, newRegistration(tokenId, T)))).outcome, 'handed_out')

  const restored = openSqliteStore(file)
  assert.deepEqual([await restored.listPoolKeys(), await restored.listPoolHolders()], [[], []])
  assert.equal(await restored.findRestore(), T)
  assert.equal((await handOut(restored, newHandOut(key, newRegistration(tokenId, T)))).outcome, 'key_lost')
  assert.equal((await restored.takePoolKeys([key.id], ANN, T + LEASE_MS)).size, 0)
  await fillPool(restored, 3)
  await restored.close()
  assert.equal((await open(t, file).listPoolKeys()).length, 3, 'those that it made itself')
  assert.equal((await store.listPoolKeys()).length, 1)
})

test('a backup of a version without a pool is restored', async (t) => {
  const path = join(tempDir(t), 'backup.db')
  const db = new DatabaseSync(path)
  const before = migrations.findIndex((step) => step.includes('pool_keys'))
  for (const step of migrations.slice(0, before)) db.exec(step)
  db.exec(`PRAGMA user_version = ${before}; INSERT INTO meta (name, value) VALUES ('backup_of', '${T}')`)
  db.close()
  const store = open(t, path)
  assert.equal(await store.findRestore(), T)
  assert.equal((await fillPool(store, 2)).length, 2)
})

test('a holder is removed a day after its time, and at once if a clock that was a day ahead wrote it', async (t) => {
  const store = open(t, ':memory:')
  const renew = (owner: string, until: number) =>
    store.renewPoolHolder({ owner, until, sizes: {}, trouble: null })
  const owners = async () => (await store.listPoolHolders()).map(({ owner }) => owner)
  await renew('dead', T)
  await renew(ANN, T + DAY_MS)
  assert.deepEqual(await owners(), [ANN, 'dead'])
  await renew(ANN, T + DAY_MS + 1)
  assert.deepEqual(await owners(), [ANN])
  await renew('ahead', T + 3 * DAY_MS)
  assert.deepEqual(await owners(), ['ahead'], 'by its own clock')
  await renew(ANN, T + DAY_MS + LEASE_MS)
  assert.deepEqual(await owners(), [ANN])
})

test('two processes on one file hand out each key once, spend no use twice, and keep the bound of the pool', async (t) => {
  const path = join(tempDir(t), 'store.db')
  const [size, uses, most] = [60, 50, 40]
  const store = open(t, path)
  const tokenId = await newTokenId(store, { maxUses: uses })
  const keys = await fillPool(store, size)
  const rivals = ['one', 'two'].map((owner) =>
    startProgram(t, 'test/support/rival-store.ts', [path, owner, tokenId, String(most)], {}),
  )
  const got = await Promise.all(
    rivals.map(async (rival) => {
      assert.equal(await rival.ended(), 0, rival.output.stderr)
      return z
        .object({ begun: z.array(z.string()), handedOut: z.array(z.string()) })
        .parse(JSON.parse(rival.output.stdout))
    }),
  )
  const handedOut = got.flatMap((one) => one.handedOut)
  assert.equal(handedOut.length, uses)
  assert.equal(new Set(handedOut).size, uses)
  assert.equal((await store.getToken(tokenId))?.uses, uses)
  const left = Map.groupBy(await store.listPoolKeys(), ({ plan }) => plan)
  assert.deepEqual(
    left
      .get('free')
      ?.map(({ id }) => id)
      .sort(),
    keys
      .map(({ id }) => id)
      .filter((id) => !handedOut.includes(id))
      .sort(),
  )
  assert.equal(left.get('gold')?.length, most)
  assert.deepEqual(
    left
      .get('gold')
      ?.map(({ id }) => id)
      .sort(),
    got.flatMap(({ begun }) => begun).sort(),
  )
})
