import assert from 'node:assert/strict'
import { copyFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { backUp } from '../../src/store/sqlite/backup.ts'
import { FAST_SERVER, runCli, startServer } from '../support/server-process.ts'
import { type Registered, serverEnv, tempDir, testGateway } from '../support/service.ts'

test('invariant 6: what was answered survives a restored backup, and its newer keys are adopted', async (t) => {
  const gateway = await testGateway(t)
  const dir = tempDir(t)
  const [path, backup] = [join(dir, 'firstkey.db'), join(dir, 'backup.db')]
  const env = serverEnv(gateway, dir)
  const cli = async (...args: string[]) => {
    const done = await runCli(t, args, env)
    assert.equal(done.code, 0, done.stderr)
    return done
  }
  const opens = async ({ api_key_value }: Registered) =>
    (await fetch(env['API_BASE_URL'] ?? '', { headers: { 'x-api-key': api_key_value } })).status === 200
  let server = await startServer(t, env, FAST_SERVER)
  const secret = (await cli('tokens', 'create', '--label', 'x')).stdout.trim()
  const register = async (): Promise<Registered> => {
    const answer = await fetch(`${server.url}/register`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'acme-agent' }),
    })
    const text = await answer.text()
    assert.equal(answer.status, 201, text)
    return JSON.parse(text)
  }
  const burst = (count: number) => Promise.all(Array.from({ length: count }, register))

  const before = await burst(20)
  // The backup has one registration as pending, whose caller is answered afterwards.
  let backingUp: Promise<unknown> | undefined
  gateway.onCall = (operation, moment) => {
    if (operation === 'CreateUsagePlanKey' && moment === 'effective')
      backingUp ??= backUp(path, backup, Date.now(), () => undefined)
  }
  const during = await register()
  await backingUp
  const after = await burst(5)
  server.child.kill('SIGKILL')
  await server.ended()

  for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true })
  copyFileSync(backup, path)
  server = await startServer(t, env, FAST_SERVER)
  const ready = (await (await fetch(`${server.url}/readyz`)).json()) as { restored_as_of: string }
  assert.ok(Date.parse(ready.restored_as_of) <= Date.now())
  const later = await register()
  await sleep(2_000) // Several rounds of recovery.
  for (const one of [...before, during, ...after, later]) assert.ok(await opens(one), one.registration_id)

  const unknown = JSON.parse((await cli('reconcile', '--json')).stdout).unknown_keys as {
    api_key_id: string
  }[]
  const newer = new Set(after.map(({ api_key_id }) => api_key_id))
  assert.deepEqual(unknown.map(({ api_key_id }) => api_key_id).sort(), [...newer].sort())
  await cli('reconcile', '--yes', '--adopt')
  const preview = await cli('registrations', 'recover')
  assert.match(
    preview.stdout,
    RegExp(`^${during.registration_id} {2}waits for you: .* used on 1 of .*: its key is kept`, 'm'),
  )
  await cli('registrations', 'recover', '--yes')
  assert.deepEqual(await (await fetch(`${server.url}/readyz`)).json(), { status: 'ready' })
  for (const one of [...before, during, ...after, later]) assert.ok(await opens(one), one.registration_id)

  const [revoked, ...kept] = after
  assert.ok(revoked)
  await cli('registrations', 'revoke', revoked.registration_id, '--yes')
  assert.ok(!(await opens(revoked)))
  for (const one of [...before, during, ...kept, later]) assert.ok(await opens(one), one.registration_id)
  assert.equal(gateway.account.keys.size, 26)
})
