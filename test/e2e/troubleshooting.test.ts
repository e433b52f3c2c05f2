import assert from 'node:assert/strict'
import { test } from 'node:test'
import { commands } from '../support/docs/troubleshooting.ts'
import { runCli } from '../support/server-process.ts'
import { registered, serverEnv, startService } from '../support/service.ts'

test('the operator commands of the troubleshooting table run', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  const env = serverEnv(service.gateway, service.dataDir)
  const [token] = await service.deps.store.listTokens()
  assert.ok(token)
  const run = commands
    .filter((command) => command.startsWith('firstkey '))
    .map((command) =>
      command
        .replace('tok_…', token.id)
        .replace('reg_…', own.registration_id)
        .replace(' …', ` ${own.registration_id}`),
    )
  assert.ok(run.length > 10)
  // So that there is something to resume.
  await runCli(t, ['registrations', 'suspend', own.registration_id, '--yes'], env)
  for (const command of new Set(run)) {
    const { code, stderr } = await runCli(t, command.split(' ').slice(1), env)
    assert.equal(code, 0, `${command}: ${stderr}`)
  }
})
