import assert from 'node:assert/strict'
import { test } from 'node:test'
import { rotatedSchema } from '../../src/routes/registration-schema.ts'
import { assertInvariants } from '../support/invariants.ts'
import { long } from '../support/long.ts'
import { runCli } from '../support/server-process.ts'
import {
  dataPlane,
  manage,
  type Registered,
  registered,
  serverEnv,
  startService,
  tempDir,
} from '../support/service.ts'

const cliKeys = (stdout: string) =>
  JSON.parse(stdout).unknown_keys as { api_key_id: string; plan: string; days_used: number }[]

test(
  'unknown keys of a restored store are offered for adoption; deletion leaves those that were used',
  long,
  async (t) => {
    const service = await startService(t)
    const { gateway, dataDir } = service
    const env = serverEnv(gateway, dataDir)
    const file = `${tempDir(t)}/backup.db`
    const [kept, moved] = [await registered(service), await registered(service)]
    assert.equal((await runCli(t, ['store', 'backup', file], env)).code, 0)
    const answer = await manage(service, moved, 'POST', '/rotate')
    const rotation = rotatedSchema.parse(await answer.json())
    assert.equal(await dataPlane(service, rotation.api_key_value), 200)
    const [used, unused, revoked] = [
      await registered(service, {}, {}),
      await registered(service),
      await registered(service),
    ]
    assert.equal(await dataPlane(service, used.api_key_value), 200)
    assert.equal(await dataPlane(service, revoked.api_key_value), 200)

    const restored = { ...env, STORE: `sqlite:${file}` }
    const cli = async (...args: string[]) => {
      const done = await runCli(t, args, restored)
      assert.equal(done.code, 0, done.stderr)
      return done
    }
    const dry = await cli('reconcile')
    assert.match(dry.stderr, /^This store was restored from a backup of \d{4}-/m)
    assert.match(
      dry.stdout,
      RegExp(`^${used.api_key_id} {2}unknown key: .*acme-agent \\(made .*, free, used on 1 of`, 'm'),
    )
    assert.match(
      dry.stdout,
      RegExp(`^${unused.api_key_id} {2}unknown key: .*, free, not used in the last 90 days`, 'm'),
    )
    assert.match(dry.stderr, /^Unknown keys: 4, of which 3 were used/m)
    const listed = cliKeys((await cli('reconcile', '--json')).stdout)
    assert.deepEqual(Object.fromEntries(listed.map(({ api_key_id, days_used }) => [api_key_id, days_used])), {
      [used.api_key_id]: 1,
      [unused.api_key_id]: 0,
      [rotation.api_key_id]: 1,
      [revoked.api_key_id]: 1,
    })
    const both = await runCli(t, ['reconcile', '--adopt', '--delete', '--yes'], restored)
    assert.equal(both.code, 1)
    await cli('reconcile', '--yes')
    assert.equal(gateway.account.keys.size, 6)

    const deleted = await cli('reconcile', '--yes', '--delete')
    assert.match(deleted.stderr, /^Keys deleted: 1\. /m)
    assert.match(deleted.stderr, /^Unknown keys: 3, of which 3 were used/m)
    assert.ok(!gateway.account.keys.has(unused.api_key_id))

    const adopted = await cli('reconcile', '--yes', '--adopt')
    assert.match(adopted.stderr, /Keys adopted, for the token tok_\w+: 3\./)
    assert.match((await cli('reconcile')).stderr, /^AWS and the store agree\.$|^Too young to judge/m)
    const list = JSON.parse((await cli('registrations', 'list', '--json')).stdout) as Record<
      string,
      unknown
    >[]
    const of = ({ registration_id }: Registered) => list.find(({ id }) => id === registration_id)
    for (const one of [kept, used, revoked]) assert.equal(of(one)?.['status'], 'active')
    assert.equal(of(used)?.['api_key_id'], used.api_key_id)
    assert.equal(of(used)?.['name'], 'acme-agent')
    // The key of a rotation becomes a registration of its own.
    const own = list.find(({ api_key_id }) => api_key_id === rotation.api_key_id)
    assert.match(String(own?.['id']), /^rot_/)
    assert.equal(own?.['name'], 'acme-agent')
    await cli('registrations', 'revoke', String(own?.['id']), '--yes')
    assert.equal(await dataPlane(service, rotation.api_key_value), 403)
    const audit = JSON.parse((await cli('audit', '--registration', used.registration_id, '--json')).stdout)
    assert.equal(audit[0].action, 'registration.adopted')

    await cli('registrations', 'recover', '--yes')
    await cli('registrations', 'suspend', used.registration_id, '--yes')
    assert.equal(gateway.account.key(used.api_key_id).enabled, false)
    await cli('registrations', 'resume', used.registration_id, '--yes')
    await cli('registrations', 'revoke', revoked.registration_id, '--yes')
    assert.equal(await dataPlane(service, revoked.api_key_value), 403)
    const rotated = JSON.parse(
      (
        await cli(
          'registrations',
          'rotate',
          used.registration_id,
          '--overlap',
          '0',
          '--yes',
          '--management-token',
          '--json',
        )
      ).stdout,
    )
    assert.equal(await dataPlane(service, rotated.api_key_value), 200)
    const after = await startService(t, { beside: service, env: { STORE: `sqlite:${file}` } })
    await assertInvariants(gateway, after.deps.store, [kept])
  },
)
