import assert from 'node:assert/strict'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { newRegistrationIds } from '../../src/registration/key-names.ts'
import { runCli } from '../support/server-process.ts'
import { dataPlane, manage, registered, type Service, serverEnv, startService } from '../support/service.ts'

/** Everything that a command can change: the keys in AWS, the tokens, and the registrations. */
function stateOf({ gateway, dataDir }: Service): object {
  const db = new DatabaseSync(join(dataDir, 'firstkey.db'), { readOnly: true })
  try {
    const all = (table: string) => db.prepare(`SELECT * FROM ${table} ORDER BY id`).all()
    return {
      keys: [...gateway.account.keys.values()].map(({ id, enabled, planIds }) => ({ id, enabled, planIds })),
      ...{ tokens: all('tokens'), registrations: all('registrations') },
    }
  } finally {
    db.close()
  }
}

test('each command that deletes keys is a dry run, which prints the command that acts, and that command finishes its work', async (t) => {
  let ago = 3_600_000
  const service = await startService(t, { clock: () => Date.now() - ago })
  const { account } = service.gateway
  const env = serverEnv(service.gateway, service.dataDir)
  const { token, secret } = await service.token({ label: 'by token' })
  const [byToken, byPlan] = [
    await registered(service, {}, {}, secret),
    await registered(service, {}, {}, (await service.token({ plans: ['gold'] })).secret),
  ]
  const other = await service.token()
  const withKeys = await registered(service, {}, {}, other.secret)
  const [byId, rotated, overlapped] = [
    await registered(service),
    await registered(service),
    await registered(service),
  ]
  await manage(service, overlapped, 'POST', '/rotate', { overlap_seconds: 60 })
  await service.deps.mintQueue.settled()
  await service.deps.deliveries.flush()
  ago = 0
  const strayKey = account.createKey({ name: `${byId.registration_id} acme`, enabled: true })
  const [unknown = ''] = newRegistrationIds(service.deps.store.id, 1)
  const unknownKey = account.createKey({ name: `${unknown} acme`, enabled: true })

  const cases: [command: string, deleted: string[]][] = [
    [`registrations revoke ${byId.registration_id}`, [byId.api_key_id]],
    [`registrations revoke --token ${token.id}`, [byToken.api_key_id]],
    ['registrations revoke --plan gold', [byPlan.api_key_id]],
    [`tokens revoke ${other.token.id} --with-keys`, [withKeys.api_key_id]],
    [`registrations rotate ${rotated.registration_id} --overlap 0 --management-token`, [rotated.api_key_id]],
    ['registrations recover', [overlapped.api_key_id]],
    ['reconcile', [strayKey.id]],
    ['reconcile --delete', [unknownKey.id]],
  ]
  for (const [command, deleted] of cases) {
    const before = stateOf(service)
    const dry = await runCli(t, command.split(' '), env)
    assert.equal(dry.code, 0, `${command}: ${dry.stderr}`)
    assert.deepEqual(stateOf(service), before, command)
    for (const id of deleted) assert.match(dry.stdout + dry.stderr, RegExp(id), command)
    const [, printed = ''] = dry.stderr.match(/^Nothing was changed\. To do this, run: firstkey (.*)$/m) ?? []
    assert.deepEqual(printed.split(' ').toSorted(), [...command.split(' '), '--yes'].toSorted())

    const done = await runCli(t, printed.split(' '), env)
    assert.equal(done.code, 0, `${printed}: ${done.stderr}`)
    for (const id of deleted) assert.ok(!account.keys.has(id), printed)
  }
  assert.equal(await dataPlane(service, overlapped.api_key_value), 403)
  const left = [...account.keys.values()].filter(({ enabled }) => enabled)
  assert.equal(left.length, 2, 'the keys of the two rotations')
  const nothing = await runCli(t, ['registrations', 'recover'], env)
  assert.match(nothing.stderr, /There is nothing to recover/)
})

test('suspend and resume are dry runs without --yes, which print the command that acts', async (t) => {
  const service = await startService(t)
  const env = serverEnv(service.gateway, service.dataDir)
  const own = await registered(service)
  for (const [name, before, after] of [
    ['suspend', 200, 403],
    ['resume', 403, 200],
  ] as const) {
    const command = ['registrations', name, own.registration_id]
    const dry = await runCli(t, command, env)
    assert.equal(dry.code, 0, dry.stderr)
    assert.match(dry.stdout, RegExp(`^${own.registration_id} `))
    assert.match(
      dry.stderr,
      RegExp(`^Nothing was changed\\. To do this, run: firstkey ${command.join(' ')} --yes$`, 'm'),
    )
    assert.equal(await dataPlane(service, own.api_key_value), before)
    const done = await runCli(t, [...command, '--yes'], env)
    assert.match(done.stderr, RegExp(`^${own.registration_id} .* (suspended|resumed)$`, 'm'))
    assert.equal(await dataPlane(service, own.api_key_value), after)
  }
})

test('commands that delete and disable nothing act at once', async (t) => {
  const service = await startService(t)
  const env = serverEnv(service.gateway, service.dataDir)
  const cli = (...args: string[]) => runCli(t, args, env)
  const { token, secret } = await service.token()
  const own = await registered(service, {}, {}, secret)

  const rotated = await cli('registrations', 'rotate', own.registration_id)
  assert.equal(rotated.code, 0, rotated.stderr)
  assert.match(
    rotated.stderr,
    RegExp(`^The key ${own.api_key_id} works until 20\\S+Z; no server runs now: .*recover --yes"\\.$`, 'm'),
  )
  assert.equal(await dataPlane(service, own.api_key_value), 200)
  // A second rotation ends the key that still overlaps.
  const again = await cli('registrations', 'rotate', own.registration_id)
  assert.match(again.stderr, RegExp(`^The key ${own.api_key_id} is deleted\\.$`, 'm'))
  assert.ok(!service.gateway.account.keys.has(own.api_key_id))

  const revoked = await cli('tokens', 'revoke', token.id, '--yes')
  assert.equal(revoked.code, 0, revoked.stderr)
  assert.equal(service.gateway.account.keys.size, 2)
  const since = /^revoked +(\S+)$/m.exec(revoked.stdout)?.[1]
  assert.equal(
    (await cli('tokens', 'revoke', token.id)).stderr,
    `${token.id} was already revoked at ${since}.\n`,
  )
})

test('a key that a rotation replaces at once stays recorded until AWS deletes it, and the command says so', async (t) => {
  const service = await startService(t)
  const env = serverEnv(service.gateway, service.dataDir)
  const own = await registered(service)
  service.gateway.faults.order({ operation: 'DeleteApiKey', when: 'before', kind: 'denied', times: 99 })
  const rotate = ['registrations', 'rotate', own.registration_id, '--overlap', '0', '--yes', '--json']
  const { code, stdout, stderr } = await runCli(t, rotate, env)
  assert.equal(code, 1)
  assert.match(stderr, RegExp(`not deleted yet: ${own.api_key_id}; a server retries, or ".*recover --yes"`))
  assert.equal(await dataPlane(service, JSON.parse(stdout).api_key_value), 200)
  service.gateway.faults.clear()
  await service.deps.store.postponeEnding(own.registration_id, 'upstream_misconfigured', Date.now() - 1)
  const recovered = await runCli(t, ['registrations', 'recover', '--yes', '--json'], env)
  assert.deepEqual(JSON.parse(recovered.stdout), [{ id: own.registration_id, action: 'delete', done: true }])
  assert.ok(!service.gateway.account.keys.has(own.api_key_id))
})

test('revoke says of a registration that was revoked before when that was, and suspend of a key that is gone', async (t) => {
  const service = await startService(t)
  const env = serverEnv(service.gateway, service.dataDir)
  const cli = (...args: string[]) => runCli(t, ['registrations', ...args], env)
  const [own, gone] = [await registered(service), await registered(service)]
  const { registration_id: id } = own
  assert.match((await cli('revoke', id, '--yes')).stderr, /^1 of 1 revoked\.$/m)
  for (const again of [['--yes'], []]) {
    const { code, stdout, stderr } = await cli('revoke', id, ...again)
    assert.equal(code, 0)
    assert.equal(stdout, '')
    assert.match(stderr, RegExp(`^${id} .* already revoked, key deleted at 20\\S+Z$`, 'm'))
    assert.match(stderr, again.length > 0 ? /^0 of 1 revoked\.$/m : /nothing was changed\.$/m)
  }
  service.gateway.account.deleteKey(gone.api_key_id)
  const suspended = await cli('suspend', gone.registration_id, '--yes')
  assert.equal(suspended.code, 0, suspended.stderr)
  assert.match(suspended.stderr, RegExp(`^The key ${gone.api_key_id} no longer exists in AWS; `, 'm'))
})
