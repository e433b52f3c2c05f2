import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { JOBS_LEASE } from '../../src/store/upkeep.ts'
import { runCli } from '../support/server-process.ts'
import { dataPlane, manage, registered, serverEnv, startService } from '../support/service.ts'

const HOUR_MS = 3_600_000

/** A store that a dead process left some hours ago: with a registration in doubt, one with an idempotency key, and a rotation. */
async function leftInDoubt(t: TestContext, hoursAgo = 2) {
  const service = await startService(t, { timing: { deliver: HOUR_MS } })
  const plain = await registered(service)
  const keyed = await registered(service, {}, { 'idempotency-key': randomUUID() })
  const rotated = await registered(service)
  await manage(service, rotated, 'POST', '/rotate')
  const [rotation] = await service.deps.store.listRotations(rotated.registration_id)
  assert.ok(rotation)
  const [delivered, used] = [await registered(service), await registered(service)]
  assert.equal(await dataPlane(service, used.api_key_value), 200)
  const answeredAt = Date.now() - hoursAgo * HOUR_MS
  await service.deps.store.markDelivered([delivered.registration_id], answeredAt)
  const db = new DatabaseSync(join(service.dataDir, 'firstkey.db'))
  db.exec(`UPDATE registrations SET created_at = ${answeredAt}, answered_at = ${answeredAt}`)
  db.close()
  const env = serverEnv(service.gateway, service.dataDir)
  const cli = (args: string, more: Record<string, string> = {}) =>
    runCli(t, args.split(' '), { ...env, ...more })
  return { service, answeredAt, plain, keyed, rotated, rotation, delivered, used, cli }
}

const at = (ms: number) => new Date(ms).toISOString()

test('list --in-doubt, show and stats show what is in doubt, since when, and what becomes of it', async (t) => {
  const { service, answeredAt, plain, keyed, rotated, rotation, delivered, used, cli } = await leftInDoubt(t)
  const { code, stdout, stderr } = await cli('registrations list --in-doubt --json')
  assert.equal(code, 0, stderr)
  const listed = JSON.parse(stdout) as { id: string; delivered_at: string | null; in_doubt: unknown }[]
  const day = { answered_at: at(answeredAt), until: at(answeredAt + 24 * HOUR_MS) }
  const expected = [
    { id: rotated.registration_id, doubt: { id: rotation.id, ...day, effect: 'keep' } },
    { id: plain.registration_id, doubt: { id: plain.registration_id, ...day, effect: 'undo' } },
    { id: keyed.registration_id, doubt: { id: keyed.registration_id, ...day, effect: 'undo' } },
    { id: used.registration_id, doubt: { id: used.registration_id, ...day, effect: 'undo' } },
  ]
  assert.deepEqual(
    new Map(listed.map(({ id, in_doubt }) => [id, in_doubt])),
    new Map(expected.map(({ id, doubt }) => [id, doubt])),
  )
  const table = (await cli('registrations list')).stdout
  assert.match(table, RegExp(`^${plain.registration_id} +active, in doubt `, 'm'))
  assert.match(table, RegExp(`^${delivered.registration_id} +active +\\w+ `, 'm'))

  const show = (id: string) => cli(`registrations show ${id}`)
  const shown = (await show(plain.registration_id)).stdout
  assert.match(shown, /^delivered +not recorded$/m)
  assert.match(shown, RegExp(`^in doubt +its response .* undone after ${day.until}$`, 'm'))
  assert.match((await show(rotated.registration_id)).stdout, /^in doubt .* counts as delivered after /m)
  const other = (await show(delivered.registration_id)).stdout
  assert.match(other, RegExp(`^delivered +${at(answeredAt)}$`, 'm'))
  assert.doesNotMatch(other, /in doubt/)

  const expiresAt = answeredAt + 3 * HOUR_MS
  const db = new DatabaseSync(join(service.dataDir, 'firstkey.db'))
  db.exec(`UPDATE registrations SET ends_at = ${expiresAt} WHERE id = '${plain.registration_id}'`)
  db.close()
  const expiring = RegExp(`^in doubt +.* its key expires at ${at(expiresAt)}, and the use stays spent$`, 'm')
  assert.match((await show(plain.registration_id)).stdout, expiring)

  assert.match((await cli('registrations stats')).stderr, /Keys in doubt: 4\./)
  assert.equal(JSON.parse((await cli('registrations stats --json')).stdout).in_doubt, 4)
})

test('recover lists what is in doubt, and with --yes settles what has been for IN_DOUBT_HOURS', async (t) => {
  const { service, plain, keyed, rotation, delivered, used, cli } = await leftInDoubt(t)
  const settle = (stdout: string) =>
    (JSON.parse(stdout) as { id: string; action: string; done: boolean; outcome?: string; effect?: string }[])
      .filter(({ action }) => action === 'settle')
      .map(({ id, done, outcome, effect }) => [id, done, outcome ?? effect].join(' '))
      .sort()
  const inDoubt = [
    `${plain.registration_id} false undo`,
    `${keyed.registration_id} false undo`,
    `${used.registration_id} false undo`,
    `${rotation.id} false keep`,
  ].sort()
  const dry = await cli('registrations recover --json')
  assert.deepEqual(settle(dry.stdout), inDoubt)
  assert.doesNotMatch(dry.stderr, /Nothing was changed/, 'there is nothing to do yet')
  const text = (await cli('registrations recover')).stdout
  assert.match(text, RegExp(`^${plain.registration_id}  in doubt: its response of .* undone after `, 'm'))
  assert.deepEqual(settle((await cli('registrations recover --yes --json')).stdout), inDoubt)

  const hour = { IN_DOUBT_HOURS: '1' }
  const due = await cli('registrations recover', hour)
  assert.match(due.stderr, /^Nothing was changed\. .*firstkey registrations recover --yes$/m)
  const { store, clock } = service.deps
  await store.takeLeaderLease(JOBS_LEASE, { owner: 'a server', until: clock() + 60_000 }, clock())
  const beside = await cli('registrations recover --yes --json', hour)
  assert.deepEqual(settle(beside.stdout), inDoubt, 'a running server does it')
  await store.releaseLeaderLease(JOBS_LEASE, 'a server')
  const done = await cli('registrations recover --yes --json', hour)
  assert.deepEqual(
    settle(done.stdout),
    [
      `${plain.registration_id} true undone`,
      `${keyed.registration_id} false undo`,
      `${used.registration_id} true delivered`,
      `${rotation.id} true delivered`,
    ].sort(),
  )
  assert.equal(await dataPlane(service, plain.api_key_value), 403)
  for (const one of [keyed, used, delivered]) assert.equal(await dataPlane(service, one.api_key_value), 200)
})

test('where no server runs, recover --yes also settles what no retry can ask for any more', async (t) => {
  const { service, keyed, cli } = await leftInDoubt(t, 25)
  assert.match((await cli('registrations recover')).stderr, /^Nothing was changed\. /m)
  assert.match(
    (await cli('registrations recover --yes')).stdout,
    RegExp(`^${keyed.registration_id}  in doubt \\(done\\)`, 'm'),
  )
  assert.equal(await dataPlane(service, keyed.api_key_value), 403)
  assert.match((await cli('registrations recover')).stderr, /There is nothing to recover/)
})
