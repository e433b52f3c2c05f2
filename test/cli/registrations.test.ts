import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { deleteDueKeys } from '../../src/registration/jobs/delete-keys.ts'
import { createLeaderLease } from '../../src/registration/jobs/leader-lease.ts'
import { startScheduler } from '../../src/registration/jobs/scheduler.ts'
import { newRegistrationIds } from '../../src/registration/key-names.ts'
import { registrationSchema } from '../../src/routes/registration-schema.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { fillStore } from '../store/reads-contract.ts'
import { newCompletion, newRegistration, newRotation } from '../store/store-contract.ts'
import { fastTiming } from '../support/invariants.ts'
import { long } from '../support/long.ts'
import { runCli } from '../support/server-process.ts'
import {
  dataPlane,
  manage,
  type Registered,
  registered,
  type Service,
  serverEnv,
  startService,
  tempDir,
  unlimitedPolicy,
} from '../support/service.ts'

const DAY_MS = 86_400_000

function cliOf(t: Parameters<typeof runCli>[0], service: Service) {
  const env = serverEnv(service.gateway, service.dataDir)
  return (...args: string[]) => runCli(t, args, env)
}

test(
  'registrations list prints pages, newest first, filtered by token, plan, status and expiry, without rotations',
  long,
  async (t) => {
    let now = Date.now() - 1_000
    const service = await startService(t, { clock: () => (now += 10) })
    const cli = cliOf(t, service)
    const { token, secret } = await service.token({ plans: ['gold'], keyTtlMs: 3 * DAY_MS })
    const golden = await registered(service, {}, {}, secret)
    const others = [await registered(service), await registered(service), await registered(service)]
    assert.equal((await manage(service, golden, 'POST', '/rotate')).status, 201)
    const [second] = others
    assert.ok(second)
    await manage(service, second, 'DELETE')

    const ids = async (...args: string[]) => {
      const { code, stdout, stderr } = await cli('registrations', 'list', '--json', ...args)
      assert.equal(code, 0, stderr)
      return (JSON.parse(stdout) as { id: string }[]).map(({ id }) => id)
    }
    const newest = [...others.map(({ registration_id }) => registration_id).reverse(), golden.registration_id]
    assert.deepEqual(await ids(), newest)
    assert.deepEqual(await ids('--limit', '2'), newest.slice(0, 2))
    assert.deepEqual(await ids('--limit', '2', '--after', newest[1] ?? ''), newest.slice(2))
    assert.deepEqual(await ids('--token', token.id), [golden.registration_id])
    assert.deepEqual(await ids('--plan', 'gold'), [golden.registration_id])
    assert.deepEqual(await ids('--status', 'revoked'), [second.registration_id])
    assert.deepEqual(await ids('--expiring', '7d'), [golden.registration_id])
    assert.deepEqual(await ids('--expiring', '1d'), [])
    const none = await cli('registrations', 'list', '--status', 'failed')
    assert.match(none.stderr, /^No registrations match\.$/m)
    assert.equal(none.stdout, '')

    for (const [args, message] of [
      [['--token', 'tok_none'], /^firstkey: there is no token tok_none in this store/m],
      [
        ['--plan', 'glod'],
        /^firstkey: there is no plan glod \(did you mean "gold"\?\); the plans are free, gold$/m,
      ],
    ] as const) {
      const unknown = await cli('registrations', 'list', ...args)
      assert.equal(unknown.code, 1)
      assert.match(unknown.stderr, message)
      assert.equal((await cli('registrations', 'revoke', ...args)).stderr, unknown.stderr)
    }

    const stats = JSON.parse((await cli('registrations', 'stats', '--json')).stdout)
    assert.deepEqual(stats, {
      store_id: service.deps.store.id,
      active: 3,
      in_doubt: 0,
      keys: 4,
      key_quota: 10_000,
      account_keys: { total: 4, other: 0, room: 9_996, complete: true },
      counts: [
        { plan: 'free', standing: 'active', count: 2 },
        { plan: 'free', standing: 'revoked', count: 1 },
        { plan: 'gold', standing: 'active', count: 1 },
      ],
      pool: [],
      refused_last_hour: [],
    })
    const shown = await cli('registrations', 'show', golden.registration_id)
    assert.match(shown.stdout, RegExp(`overlapping key +${golden.api_key_id} until`))
  },
)

test('registrations stats shows with which codes requests were refused in the last hour', long, async (t) => {
  const service = await startService(t, { gateway: { maxKeys: 1 } })
  const cli = cliOf(t, service)
  const { secret } = await service.token()
  await registered(service, {}, {}, secret)
  for (let i = 0; i < 3; i++) assert.equal((await service.register(secret)).status, 503)
  const repeated = {
    actor: SERVICE,
    action: 'request.refused',
    detail: 'key_quota_reached: 97 more in 60 s',
  } as const
  const subject = { tokenId: null, registrationId: null, apiKeyId: null }
  await service.deps.store.appendAudit([{ ...repeated, ...subject, at: Date.now() }])
  const { refused_last_hour } = JSON.parse((await cli('registrations', 'stats', '--json')).stdout)
  assert.deepEqual(
    refused_last_hour.map(({ code }: { code: string }) => code),
    ['key_quota_reached'],
  )
  const shown = await cli('registrations', 'stats')
  assert.match(shown.stderr, /^Refused in the last hour: key_quota_reached, last at 20/m)
})

test('registrations revoke lists what --yes revokes, and can be repeated', long, async (t) => {
  const service = await startService(t)
  const cli = cliOf(t, service)
  const { token, secret } = await service.token()
  const mine = [await registered(service, {}, {}, secret), await registered(service, {}, {}, secret)]
  const other = await registered(service)
  const [first] = mine
  assert.ok(first)
  await manage(service, first, 'POST', '/rotate')

  assert.match(
    (await cli('registrations', 'revoke')).stderr,
    /^firstkey: specify registration ids, --token or --plan$/m,
  )
  const dry = await cli('registrations', 'revoke', '--token', token.id)
  assert.equal(dry.code, 0)
  for (const { registration_id } of mine) assert.match(dry.stdout, RegExp(registration_id))
  assert.ok(!dry.stdout.includes(other.registration_id))
  assert.match(
    dry.stderr,
    /^2 registrations would be revoked, and their keys deleted\.\nNothing was changed\. /,
  )
  const one = await cli('registrations', 'revoke', first.registration_id)
  assert.match(one.stderr, /^1 registration would be revoked/)
  const none = await cli('registrations', 'revoke', '--plan', 'gold')
  assert.equal(none.stderr, 'No registration matches; nothing was changed.\n')
  assert.equal(service.gateway.account.keys.size, 4)

  service.gateway.faults.order({ operation: 'DeleteApiKey', when: 'before', kind: 'fail', times: 99 })
  const failed = await cli('registrations', 'revoke', '--token', token.id, '--yes')
  assert.equal(failed.code, 1)
  assert.match(failed.stderr, /0 of 2 revoked/)
  assert.equal(((await (await manage(service, first, 'GET')).json()) as { status: string }).status, 'revoked')
  service.gateway.faults.clear()
  const done = await cli('registrations', 'revoke', '--token', token.id, '--yes')
  assert.equal(done.code, 0, done.stderr)
  assert.match(done.stderr, /^2\/2 .* revoked$/m)
  assert.deepEqual([...service.gateway.account.keys.keys()], [other.api_key_id])

  assert.equal((await cli('registrations', 'revoke', other.registration_id, '--yes')).code, 0)
  assert.equal((await cli('registrations', 'revoke', other.registration_id, '--yes')).code, 0)
  assert.equal(service.gateway.account.keys.size, 0)
})

test('tokens revoke --with-keys also revokes the registrations', async (t) => {
  const service = await startService(t)
  const { token, secret } = await service.token()
  const own = await registered(service, {}, {}, secret)
  const { code } = await cliOf(t, service)('tokens', 'revoke', token.id, '--with-keys', '--yes')
  assert.equal(code, 0)
  assert.equal(await dataPlane(service, own.api_key_value), 403)
  assert.equal((await service.register(secret)).status, 401)
})

test('registrations rotate --json prints the new key, and only JSON', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  const cli = cliOf(t, service)
  const { code, stdout } = await cli(
    ...[
      'registrations',
      'rotate',
      own.registration_id,
      '--overlap',
      '0',
      '--yes',
      '--management-token',
      '--json',
    ],
  )
  assert.equal(code, 0)
  const next = JSON.parse(stdout)
  assert.equal(await dataPlane(service, next.api_key_value), 200)
  assert.equal((await manage(service, own, 'GET')).status, 401)
  const renewed = { ...own, management: { ...own.management, token: next.management_token } }
  assert.equal((await manage(service, renewed, 'GET')).status, 200)
})

test('registrations suspend and resume work by any name of the registration', long, async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  const rotated = await manage(service, own, 'POST', '/rotate')
  const { api_key_id, api_key_value } = (await rotated.json()) as Registered
  const { name } = service.gateway.account.key(api_key_id)
  const cli = cliOf(t, service)
  assert.match(
    (await cli('registrations', 'resume', api_key_id)).stderr,
    /is active: only .* suspended can be/,
  )

  const done = await cli('registrations', 'suspend', api_key_id, name, own.registration_id, '--yes')
  assert.equal(done.code, 0, done.stderr)
  assert.match(
    done.stderr,
    RegExp(`^${own.registration_id}  ${api_key_id}  free  acme-agent  suspended$`, 'm'),
  )
  for (const value of [own.api_key_value, api_key_value]) assert.equal(await dataPlane(service, value), 403)
  assert.match((await cli('registrations', 'show', name)).stdout, /^suspended +since 2/m)
  const [listed] = JSON.parse((await cli('registrations', 'list', '--status', 'suspended', '--json')).stdout)
  assert.equal(listed.id, own.registration_id)
  assert.match((await cli('registrations', 'suspend', own.registration_id)).stderr, /is suspended: only/)
  assert.notEqual((await cli('registrations', 'rotate', own.registration_id)).code, 0)

  const rotation = name.split(' ')[0] ?? ''
  assert.match(rotation, /^rot_/)
  assert.equal((await cli('registrations', 'resume', rotation, '--yes')).code, 0)
  for (const value of [own.api_key_value, api_key_value]) assert.equal(await dataPlane(service, value), 200)
  const actions = (await service.deps.store.listAudit({ limit: 20 })).map(({ action }) => action)
  assert.ok(actions.includes('registration.suspended') && actions.includes('registration.resumed'))
})

test(
  'reconcile shows what AWS and the store disagree on, corrects it with --yes, and touches nothing else',
  long,
  async (t) => {
    let ago = 3_600_000
    const service = await startService(t, { clock: () => Date.now() - ago })
    const cli = cliOf(t, service)
    const { account } = service.gateway
    const [kept, dead] = [await registered(service), await registered(service)]
    const [disabled, detached, moved] = [
      await registered(service),
      await registered(service),
      await registered(service),
    ]
    await service.deps.mintQueue.settled()
    ago = 0
    const [young, healthy] = [await registered(service), await registered(service)]
    await service.deps.mintQueue.settled()
    const suspended = await registered(service)
    assert.equal((await cli('registrations', 'suspend', suspended.registration_id, '--yes')).code, 0)
    const [stray = ''] = newRegistrationIds(service.deps.store.id, 1)
    const strayKey = account.createKey({ name: `${stray} acme`, enabled: true })
    const [unmarked, elsewhere] = [newRegistration('').id, newRegistrationIds('0123456789', 1)[0] ?? '']
    const unmarkedKey = account.createKey({ name: `${unmarked} acme`, enabled: true })
    const names = ['reg_other', 'registry', '', `${stray}`, `x ${stray} acme`, `${elsewhere} acme`]
    const foreign = names.map((name) => account.createKey({ name, enabled: true }))
    account.deleteKey(dead.api_key_id)
    account.deleteKey(young.api_key_id)
    account.key(disabled.api_key_id).enabled = false
    account.detach('demofree', detached.api_key_id)
    account.detach('demofree', moved.api_key_id)
    account.attach('demogold', moved.api_key_id)
    const recordOf = ({ registration_id, api_key_id }: Registered) => ({
      id: registration_id,
      ...{ registration_id, api_key_id },
    })

    const { createdAt = 0 } = (await service.deps.store.getRegistration(young.registration_id)) ?? {}
    const dry = await cli('reconcile', '--json')
    assert.deepEqual(JSON.parse(dry.stdout), {
      stray_keys: [],
      unknown_keys: [
        {
          ...{ api_key_id: strayKey.id, name: strayKey.name, enabled: true, plan: null },
          created_at: new Date(strayKey.createdAt).toISOString().replace(/\d{3}Z/, '000Z'),
          ...{ days_used: 0, last_used: null },
        },
      ],
      unmarked_keys: [{ api_key_id: unmarkedKey.id, name: unmarkedKey.name }],
      other_stores: [{ store_id: '0123456789', keys: 1 }],
      dead_records: [recordOf(dead)],
      disabled_keys: [recordOf(disabled)],
      detached_keys: [recordOf(detached)],
      too_young: [{ ...recordOf(young), checked_from: new Date(createdAt + 600_000).toISOString() }],
    })
    assert.match(dry.stderr, /^Nothing was changed\. .*firstkey reconcile --yes$/m)
    const shown = await cli('reconcile')
    assert.match(
      shown.stdout,
      RegExp(
        `^${dead.registration_id}  its key ${dead.api_key_id} no longer exists in AWS; --yes records`,
        'm',
      ),
    )
    assert.match(
      shown.stdout,
      RegExp(
        `^${young.registration_id}  AWS does not list its key ${young.api_key_id} as usable; too young .*Z$`,
        'm',
      ),
    )
    assert.match(shown.stderr, /^Too young to judge: 1\. /m)
    assert.match(shown.stderr, /^Keys of another store, 0123456789: 1\. They are left alone\.$/m)
    assert.match(shown.stderr, /^Unknown keys without a store id: 1\. .*firstkey reconcile --unmarked$/m)
    assert.match(
      shown.stderr,
      /^Unknown keys: 1, of which 0 were used .*\n.*reconcile --yes --adopt\n.*--yes --delete /m,
    )
    assert.doesNotMatch(`${shown.stdout}${shown.stderr}`, RegExp(`${healthy.registration_id}|agree`))
    assert.deepEqual(await cli('sweep', '--json'), dry, 'under its former name too')
    assert.ok(account.keys.has(strayKey.id))

    const done = await cli('reconcile', '--yes', '--delete')
    assert.equal(done.code, 0, done.stderr)
    assert.match(done.stdout, RegExp(`its key ${dead.api_key_id} no longer exists in AWS$`, 'm'))
    assert.match(done.stderr, /^Keys deleted: 1\. Missing keys recorded: 1\.$/m)
    const left = [kept, disabled, detached, moved, healthy, suspended].map(({ api_key_id }) => api_key_id)
    const others = [...left, ...foreign.map(({ id }) => id)]
    assert.deepEqual([...account.keys.keys()].sort(), [...others, unmarkedKey.id].sort())
    const more = await cli('reconcile', '--delete', '--unmarked')
    assert.match(more.stderr, /firstkey reconcile --yes --delete --unmarked$/m)
    assert.match((await cli('reconcile', '--yes', '--delete', '--unmarked')).stderr, /^Keys deleted: 1\. /m)
    assert.deepEqual([...account.keys.keys()].sort(), others.sort())
    assert.equal(account.key(disabled.api_key_id).enabled, false)
    assert.equal(account.key(detached.api_key_id).planIds.size, 0)
    const status = async (id: string) => (await service.deps.store.getRegistration(id))?.status
    assert.deepEqual(
      await Promise.all([kept, dead, young, disabled].map(({ registration_id }) => status(registration_id))),
      ['active', 'ended', 'active', 'active'],
    )
  },
)

test('registrations recover shows what a failed request left, and undoes it with --yes', long, async (t) => {
  let ago = 3_600_000
  const service = await startService(t, { clock: () => Date.now() - ago })
  const { account, faults } = service.gateway
  faults.order({ operation: 'CreateUsagePlanKey', when: 'before', kind: 'refused', times: 9 })
  faults.order({ operation: 'DeleteApiKey', when: 'before', kind: 'fail', times: 99 })
  assert.equal((await service.register((await service.token()).secret)).status, 502)
  faults.clear()
  const [left] = await service.deps.store.listRegistrations({ status: 'pending', limit: 1 })
  assert.ok(left)

  ago = 0 // The lease has expired when the commands run.
  const cli = cliOf(t, service)
  const dry = await cli('registrations', 'recover')
  assert.match(dry.stdout, RegExp(`^${left.id} {2}undo: `))
  assert.match(dry.stderr, /^Nothing was changed\. .*firstkey registrations recover --yes$/m)
  assert.deepEqual(await cli('registrations', 'reconcile'), dry, 'under its former name too')
  assert.equal(account.keys.size, 1)

  const done = await cli('registrations', 'recover', '--yes')
  assert.equal(done.code, 0, done.stderr)
  assert.match(done.stdout, RegExp(`^${left.id} {2}undo \\(done\\)`))
  assert.equal(account.keys.size, 0)
  assert.match((await cli('registrations', 'recover')).stderr, /There is nothing to recover/)
})

/** Returns all rows of every table of a store file. */
function rowsOf(path: string): Record<string, Record<string, unknown>[]> {
  const db = new DatabaseSync(path, { readOnly: true })
  try {
    const tables = db.prepare(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
    )
    return Object.fromEntries(
      tables.all().map(({ name }) => [String(name), db.prepare(`SELECT * FROM ${name}`).all()]),
    )
  } finally {
    db.close()
  }
}

test('a dry run of registrations recover writes only its own audit entry', async (t) => {
  const path = join(tempDir(t), 'firstkey.db')
  const store = openSqliteStore(path)
  await fillStore(store)
  await store.close()
  const { audit: auditBefore = [], ...before } = rowsOf(path)
  assert.ok(before['registrations'] && before['tokens'] && before['duties'])

  const dry = await runCli(t, ['registrations', 'recover', '--json'], { STORE: `sqlite:${path}` })
  assert.equal(dry.code, 0, dry.stderr)
  const found = JSON.parse(dry.stdout) as { action: string; done: boolean }[]
  assert.deepEqual(
    new Set(found.map(({ action }) => action)),
    new Set(['decide', 'undo', 'sweep', 'settle', 'delete']),
  )
  assert.ok(found.every(({ done }) => !done))

  const { audit: auditAfter = [], ...after } = rowsOf(path)
  assert.deepEqual(after, before)
  assert.deepEqual(auditAfter.slice(0, auditBefore.length), auditBefore)
  assert.deepEqual(
    auditAfter.slice(auditBefore.length).map(({ action, detail }) => [action, detail]),
    [['command.run', 'registrations recover --json']],
  )
})

test(
  'registrations recover says what becomes of a rotation, and that a full round may leave more',
  long,
  async (t) => {
    const path = join(tempDir(t), 'firstkey.db')
    const store = openSqliteStore(path)
    const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
    const now = Date.now() - 60_000
    const root = newRegistration(token.id, now)
    const dead = { owner: 'dead', until: now + 5_000 }
    await store.beginRegistrations([root], dead)
    const completion = { ...newCompletion(root), owner: dead.owner }
    await store.completeRegistrations([completion], now + 2_000)
    await store.markDelivered([root.id], now + 2_001)
    const rotation = newRotation(root, { createdAt: now + 3_000 })
    await store.beginRegistrations([rotation], dead)
    const recover = () => runCli(t, ['registrations', 'recover'], { STORE: `sqlite:${path}` })
    const few = await recover()
    assert.equal(
      few.stdout,
      `${rotation.id}  undo: its key is deleted; the registration keeps its present key\n`,
    )
    assert.doesNotMatch(few.stderr, /There may be more/)

    const others = Array.from({ length: 999 }, () => newRegistration(token.id, now + 4_000))
    await store.beginRegistrations(others, dead)
    await store.close()
    const full = await recover()
    assert.equal(full.stdout.trimEnd().split('\n').length, 1_000)
    assert.match(full.stderr, /^There may be more: run the same command again afterwards\.$/m)
  },
)

test('registrations show reports as replayable only what a retry would receive', long, async (t) => {
  let now = Date.now()
  const service = await startService(t, { clock: () => now })
  const cli = cliOf(t, service)
  const keyed = () => registered(service, {}, { 'idempotency-key': randomUUID() })
  const [live, revoked, rotated] = [await keyed(), await keyed(), await keyed()]
  const plain = await registered(service)
  now -= 2 * DAY_MS
  const old = await keyed()
  now = Date.now()
  await manage(service, revoked, 'DELETE')
  await manage(service, rotated, 'POST', '/rotate')
  const isReplayable = async ({ registration_id: id }: Registered) => {
    const { replayable } = JSON.parse((await cli('registrations', 'show', id, '--json')).stdout)
    const { stdout } = await cli('registrations', 'show', id)
    assert.match(stdout, RegExp(`^replayable +${replayable ? 'yes' : 'no'}$`, 'm'))
    return replayable
  }
  assert.equal(await isReplayable(live), true)
  for (const one of [revoked, rotated, plain, old]) assert.equal(await isReplayable(one), false)
})

test(
  'sweep and registrations reconcile, the former names of two commands, are in no help',
  long,
  async (t) => {
    const help = async (...args: string[]) => (await runCli(t, [...args, '--help'], {})).stdout
    const [top, registrations] = [await help(), await help('registrations')]
    assert.match(top, /^ {2}reconcile /m)
    assert.match(registrations, /^ {2}recover /m)
    assert.doesNotMatch(top, /sweep/)
    assert.doesNotMatch(registrations, /reconcile/)
    assert.match(await help('sweep'), /^Usage: firstkey sweep /)
    assert.match(await help('registrations', 'reconcile'), /^Usage: firstkey registrations reconcile /)
  },
)

test(
  'reconcile accepts a key renamed in AWS, and deletes nothing if the store knows none of the keys',
  long,
  async (t) => {
    let ago = 3_600_000
    const service = await startService(t, { clock: () => Date.now() - ago })
    const own = await registered(service)
    ago = 0
    const { keys } = service.gateway.account
    keys.set(own.api_key_id, { ...service.gateway.account.key(own.api_key_id), name: 'renamed by hand' })
    const renamed = await cliOf(t, service)('reconcile', '--yes')
    assert.match(renamed.stderr, /^AWS and the store agree\.$/m)
    assert.equal(await dataPlane(service, own.api_key_value), 200)

    const env = { ...serverEnv(service.gateway, service.dataDir), STORE: `sqlite:${tempDir(t)}/other.db` }
    assert.match((await runCli(t, ['reconcile', '--yes'], env)).stderr, /there is no store/)
    await runCli(t, ['tokens', 'create', '--label', 'x'], env)
    const other = openSqliteStore(env.STORE.slice('sqlite:'.length))
    t.after(() => other.close())
    const [stray = ''] = newRegistrationIds(other.id, 1)
    service.gateway.account.createKey({ name: `${stray} acme`, enabled: true })
    assert.match(
      (await runCli(t, ['reconcile', '--delete'], env)).stderr,
      /^The store knows none of these keys: check that STORE is right\.\n[\s\S]*Nothing .*reconcile --yes --delete --force$/m,
    )
    const wrong = await runCli(t, ['reconcile', '--yes', '--delete'], env)
    assert.equal(wrong.code, 1)
    assert.match(wrong.stderr, /knows none of the firstkey keys in AWS \(1\).*check STORE/)
    assert.equal(service.gateway.account.keys.size, 2)
    const memory = await runCli(t, ['reconcile', '--yes'], { ...env, STORE: 'sqlite::memory:' })
    assert.match(memory.stderr, /no other process can see/)
    assert.equal((await runCli(t, ['reconcile', '--yes', '--delete', '--force'], env)).code, 0)
    assert.deepEqual([...service.gateway.account.keys.keys()], [own.api_key_id])
  },
)

test(
  'registrations list and show report a failed deletion with the reason, and the owner sees the old key',
  long,
  async (t) => {
    const service = await startService(t, { timing: fastTiming })
    const cli = cliOf(t, service)
    const own = await registered(service)
    await manage(service, own, 'POST', '/rotate', { overlap_seconds: 0 })
    service.gateway.faults.order({ operation: 'DeleteApiKey', when: 'before', kind: 'denied', times: 9 })
    await deleteDueKeys(service.deps, createLeaderLease(service.deps))
    assert.match((await cli('registrations', 'list')).stdout, /active, key not deleted yet/)
    const shown = await cli('registrations', 'show', own.registration_id)
    assert.match(
      shown.stdout,
      RegExp(`: key not deleted yet \\(${own.api_key_id}\\); upstream_misconfigured, next attempt 2`),
    )
    const view = registrationSchema.parse(await (await manage(service, own, 'GET')).json())
    assert.equal(view.rotation.overlapping?.api_key_id, own.api_key_id)
  },
)

test('tokens revoke --with-keys also revokes a registration that is still in progress', long, async (t) => {
  const service = await startService(t)
  const { token, secret } = await service.token()
  const inProgress = { operation: 'CreateUsagePlanKey', when: 'before', kind: 'conflict' } as const
  service.gateway.faults.order({ ...inProgress, times: 1_000_000 })
  const registering = service.register(secret)
  const { code, stderr } = await cliOf(t, service)(
    'tokens',
    'revoke',
    token.id,
    '--with-keys',
    '--yes',
    '--json',
  )
  assert.equal(code, 0, stderr)
  assert.match(stderr, /1 of 1 revoked/)
  service.gateway.faults.clear()
  assert.equal((await registering).status, 503)
  assert.equal(service.gateway.account.keys.size, 0)
})

test(
  'registrations rotate keeps its lease while AWS is slow, beside a server that recovers',
  long,
  async (t) => {
    const latency = { CreateApiKey: 2_700, CreateUsagePlanKey: 2_700 } // Together longer than a lease.
    const service = await startService(t, { gateway: { latency } })
    const own = await registered(service)
    const background = startScheduler(service.deps)
    const done = await cliOf(t, service)('registrations', 'rotate', own.registration_id, '--json')
    await background.stop()
    assert.equal(done.code, 0, done.stderr)
    assert.equal(await dataPlane(service, JSON.parse(done.stdout).api_key_value), 200)
  },
)
