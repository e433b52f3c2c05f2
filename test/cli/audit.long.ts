import assert from 'node:assert/strict'
import { userInfo } from 'node:os'
import { test } from 'node:test'
import { runCli } from '../support/server-process.ts'
import { manage, registered, serverEnv, startService } from '../support/service.ts'

/** The operator as the audit trail names it where `SUDO_USER` is alice. */
const OPERATOR = `${userInfo().username} (SUDO_USER=alice)`

test('audit lists who did what, as a table or as JSON, and includes the commands themselves', async (t) => {
  const service = await startService(t)
  const env = { ...serverEnv(service.gateway, service.dataDir), SUDO_USER: 'alice' }
  const cli = (...args: string[]) => runCli(t, args, env)
  const created = await cli('tokens', 'create', '--label', 'by hand', '--json')
  const { id, secret } = JSON.parse(created.stdout) as { id: string; secret: string }
  const own = await registered(service, {}, {}, secret)
  await manage(service, own, 'POST', '/rotate')
  assert.equal((await cli('registrations', 'revoke', own.registration_id, '--yes')).code, 0)
  assert.equal((await cli('tokens', 'revoke', id)).code, 0)

  const entries = JSON.parse((await cli('audit', '--json', '--token', id)).stdout) as {
    action: string
    actor: object
    request_id: string | null
    client_address: string | null
    at: string
  }[]
  assert.deepEqual(
    entries.map(({ action }) => action),
    [
      'token.revoked',
      ...[
        'key.deleted',
        'key.deleted',
        'registration.revoked',
        'registration.rotated',
        'registration.created',
      ],
      'token.created',
    ],
  )
  assert.deepEqual(entries[0]?.actor, { type: 'operator', id: OPERATOR })
  assert.deepEqual(entries[3]?.actor, { type: 'operator', id: OPERATOR })
  assert.deepEqual(entries[4]?.actor, { type: 'registration', id: own.registration_id })
  assert.deepEqual(entries[5]?.actor, { type: 'token', id })
  assert.match(entries[5]?.request_id ?? '', /^req_/)
  assert.equal(entries[5]?.client_address, '127.0.0.1')

  const all = await cli('audit', '--limit', '3')
  assert.match(all.stdout, /^TIME +ACTOR +ACTION/)
  assert.match(all.stdout, /operator \S+ \(SUDO_USER=alice\) +command\.run .*audit --limit 3/)
  const next = all.stderr.match(/add --after (\S+)/)?.[1]
  const second = await cli('audit', '--limit', '2', '--after', next ?? '')
  assert.equal(second.stdout.trim().split('\n').length, 3)
  assert.ok(!all.stdout.includes(second.stdout.split('\n')[1] ?? ''))
  assert.equal(JSON.parse((await cli('audit', '--since', '2099-01-01', '--json')).stdout).length, 0)
  const none = await cli('audit', '--since', '2099-01-01')
  assert.match(none.stderr, /^No audit entries match\.$/m)
  assert.equal(none.stdout, '')
  assert.match((await cli('audit', '--since', 'yesterday')).stderr, /Expected a duration such as 90s/)
  for (const [args, message] of [
    [['--token', 'tok_none'], /there is no token tok_none/],
    [['--registration', 'reg_none'], /there is no registration reg_none/],
  ] as const) {
    const unknown = await cli('audit', ...args)
    assert.equal(unknown.code, 1)
    assert.match(unknown.stderr, message)
  }
  const byKey = await cli('audit', '--json', '--registration', own.api_key_id)
  assert.equal(JSON.parse(byKey.stdout).at(-1).action, 'registration.created')
  const text = (await cli('audit', '--json', '--limit', '1000')).stdout
  for (const hidden of [secret, own.api_key_value, own.management.token]) assert.ok(!text.includes(hidden))
})
