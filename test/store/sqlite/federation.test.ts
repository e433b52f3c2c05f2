import assert from 'node:assert/strict'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { purgeProofs } from '../../../src/registration/jobs/purge.ts'
import { SERVICE } from '../../../src/store/audit.ts'
import { KEPT_MS } from '../../../src/store/federation.ts'
import type { NewRegistration } from '../../../src/store/records.ts'
import { openSqliteStore } from '../../../src/store/sqlite.ts'
import type { Store } from '../../../src/store/store.ts'
import { checkFederation } from '../../support/federation-model.ts'
import { assertPlaces, isClaimed } from '../../support/invariants.ts'
import { long } from '../../support/long.ts'
import { startService, tempDir } from '../../support/service.ts'
import { accessToken, newFederated, newProof, newVirtualToken } from '../federation-contract.ts'
import { lease } from '../store-contract.ts'

function openFile(t: TestContext): { path: string; open: () => Store } {
  const path = join(tempDir(t), 'store.db')
  const open = () => {
    const store = openSqliteStore(path)
    t.after(() => store.close())
    return store
  }
  return { path, open }
}

test('of two connections to one file that begin with the same proof, name or last place, one begins, and the other costs nothing', async (t) => {
  const { open } = openFile(t)
  const [one, two] = [open(), open()]
  for (const what of ['replayed', 'name_taken', 'refused'] as const) {
    const token = await one.putVirtualToken(newVirtualToken({ maxLive: what === 'refused' ? 1 : 9 }), SERVICE)
    const proof = what === 'replayed' ? newProof() : null
    const same = what === 'name_taken' ? { name: 'same' } : {}
    const begin = (store: Store) => store.beginRegistrations([newFederated(token, { proof, ...same })], lease)
    const outcomes = (await Promise.all([one, two, one, two].map(begin))).flat().map(({ outcome }) => outcome)
    assert.deepEqual(outcomes.sort(), ['begun', what, what, what].sort())
    assert.equal((await two.getToken(token.id))?.uses, 1)
  }
  await assertPlaces(two)
})

test('a proof is claimed in the transaction that spends the use: an error in between leaves neither', async (t) => {
  const { path, open } = openFile(t)
  const store = open()
  const token = await store.putVirtualToken(newVirtualToken(), SERVICE)
  const db = new DatabaseSync(path)
  t.after(() => db.close())
  // As if the process died there.
  db.exec(`CREATE TRIGGER dies BEFORE INSERT ON registrations BEGIN SELECT RAISE(ABORT, 'dies'); END`)
  const proof = newProof()
  const one = newFederated(token, { proof })
  const begin = (registration: NewRegistration) => store.beginRegistrations([registration], lease)
  await assert.rejects(begin(one), /dies/)
  assert.equal((await store.getToken(token.id))?.uses, 0)
  db.exec(`DROP TRIGGER dies`)
  assert.equal(await isClaimed(store, proof), false)
  assert.deepEqual(await begin(one), [{ outcome: 'begun' }])

  db.exec(`CREATE TRIGGER dies BEFORE DELETE ON proofs BEGIN SELECT RAISE(ABORT, 'dies'); END`)
  const failing = { failure: 'internal', sweepAt: null, now: 3_000 } as const
  await assert.rejects(store.failRegistrations([{ id: one.id, owner: lease.owner }], failing), /dies/)
  assert.equal((await store.getRegistration(one.id))?.status, 'pending')
  assert.equal((await store.getToken(token.id))?.uses, 1)
  await assertPlaces(store)
})

test('the job removes proofs and access tokens a day after they expired, in chunks, and none while the clock is in doubt', async (t) => {
  const service = await startService(t)
  const { store } = service.deps
  const now = Date.now()
  const token = await store.putVirtualToken(newVirtualToken(), SERVICE)
  const [old, kept] = [newProof(now - KEPT_MS - 60_000), newProof(now - KEPT_MS + 60_000)]
  for (const proof of [old, kept])
    await store.createAccessToken(accessToken(token, proof.expiresAt), proof, SERVICE, now)
  for (let i = 0; i < 600; i++)
    await store.createAccessToken(accessToken(token, 1), newProof(1), SERVICE, now)
  await purgeProofs({
    ...service.deps,
    clockCheck: { ...service.deps.clockCheck, certainNow: async () => undefined },
  })
  assert.equal((await store.listAccessTokens()).length, 602)
  await purgeProofs(service.deps)
  assert.deepEqual([await isClaimed(store, old), await isClaimed(store, kept)], [false, true])
  assert.equal((await store.listAccessTokens()).length, 1)
  assert.equal(await store.createAccessToken(accessToken(token), old, SERVICE, now), 'created')
})

test('a row with only a part of a proof, or a federation that is none, causes an error that names it', async (t) => {
  const { path, open } = openFile(t)
  const store = open()
  const token = await store.putVirtualToken(newVirtualToken(), SERVICE)
  const one = newFederated(token, { proof: newProof() })
  await store.beginRegistrations([one], lease)
  const db = new DatabaseSync(path)
  t.after(() => db.close())
  db.exec(`UPDATE registrations SET proof_expires_at = NULL`)
  await assert.rejects(store.getRegistration(one.id), RegExp(`${one.id}.*part of a proof`))
  for (const federation of ['{', '7', '{"issuer":"a"}']) {
    db.prepare('UPDATE tokens SET federation = ?').run(federation)
    await assert.rejects(store.getToken(token.id), RegExp(token.id))
  }
})

test('places, names and proofs agree with the records after random histories (fixed seed)', long, () =>
  checkFederation(async () => openSqliteStore(':memory:'), { numRuns: 60, seed: 20_261_128 }),
)
