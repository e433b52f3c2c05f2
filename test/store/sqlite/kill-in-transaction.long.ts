import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { SERVICE } from '../../../src/store/audit.ts'
import { openSqliteStore } from '../../../src/store/sqlite.ts'
import type { Store } from '../../../src/store/store.ts'
import { isClaimed } from '../../support/invariants.ts'
import { startProgram } from '../../support/server-process.ts'
import { tempDir } from '../../support/service.ts'
import { dying, dyingKey, lease, PROOF, virtualToken } from '../dying-registration.ts'
import { makeReady } from '../pool-keys.ts'

/** More than any step has. */
const MAX_STATEMENTS = 40

/** What a store has of the registration: its record, its place, its name, its proof, and the pool key that it may take. */
async function stateOf(store: Store) {
  const record = await store.getRegistration(dying.id)
  const token = await store.getToken(virtualToken.id)
  const named = await store.findLiveByName(virtualToken.id, dying.name)
  return {
    isRecorded: record !== undefined && record.status !== 'failed',
    holdsPlace: token?.uses === 1,
    holdsName: named !== undefined,
    isProofClaimed: await isClaimed(store, PROOF),
    poolKeys: (await store.listPoolKeys()).length,
  }
}

const all = { isRecorded: true, holdsPlace: true, holdsName: true, isProofClaimed: true, poolKeys: 0 }
const nothing = { isRecorded: false, holdsPlace: false, holdsName: false, isProofClaimed: false, poolKeys: 0 }

for (const [step, before, after] of [
  ['begin', nothing, all],
  ['fail', all, nothing],
  ['exchange', nothing, { ...nothing, isProofClaimed: true }],
  ['hand out', { ...nothing, poolKeys: 1 }, all],
] as const)
  test(`SQLite: kill -9 before any statement of "${step}" costs neither a proof nor a place nor a name nor a pool key`, async (t) => {
    let kills = 0
    for (let at = 1; ; at++) {
      assert.ok(at <= MAX_STATEMENTS, 'the step does not end')
      const path = join(tempDir(t), 'firstkey.db')
      const prepared = openSqliteStore(path)
      await prepared.putVirtualToken(virtualToken, SERVICE)
      if (step === 'fail') await prepared.beginRegistrations([dying], lease)
      if (step === 'hand out') await makeReady(prepared, [dyingKey])
      await prepared.close()
      const code = await startProgram(t, 'test/support/dying-store.ts', [path, step, String(at)], {}).ended()
      const store = openSqliteStore(path)
      const found = await stateOf(store)
      await store.close()
      if (code === 0) {
        assert.deepEqual(found, after)
        break
      }
      assert.equal(code, 'SIGKILL')
      kills += 1
      assert.deepEqual(found, before, `killed before statement ${at}`)
    }
    assert.ok(kills >= 4, `${kills} kills: before BEGIN and COMMIT, and between at least two writes`)
  })
