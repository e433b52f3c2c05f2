import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { commands } from '../support/docs/troubleshooting.ts'
import { startIssuer } from '../support/identity/issuer.ts'
import { runCli } from '../support/server-process.ts'
import { registered, serverEnv, startService } from '../support/service.ts'

test('the operator commands of the troubleshooting table run', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  const issuer = await startIssuer(t, { alg: 'RS256' })
  const trustFile = join(service.dataDir, 'trust.yaml')
  writeFileSync(trustFile, `issuers: { ci: { kind: github, issuer: "${issuer.url}" } }\nrules: []\n`)
  const env = { ...serverEnv(service.gateway, service.dataDir), TRUST_FILE: trustFile }
  const identity = { issuer: issuer.url, rule: null, claims: { repository_id: '42' } }
  const actor = { kind: 'identity', id: null, requestId: 'req_42', clientAddress: null, identity } as const
  const refused = {
    action: 'request.refused',
    detail: 'identity_not_allowed',
    at: Date.now(),
    actor,
  } as const
  await service.deps.store.appendAudit([{ ...refused, tokenId: null, registrationId: null, apiKeyId: null }])
  const [token] = await service.deps.store.listTokens()
  assert.ok(token)
  const run = commands
    .filter((command) => command.startsWith('firstkey '))
    .map((command) =>
      command
        .replace('tok_…', token.id)
        .replace('reg_…', own.registration_id)
        .replace('req_…', 'req_42')
        .replace(' …', ` ${own.registration_id}`),
    )
  assert.ok(run.length > 10)
  // So that there is something to resume.
  await runCli(t, ['registrations', 'suspend', own.registration_id, '--yes'], env)
  // An operator's role may look at the API, too.
  service.gateway.policy = null
  for (const command of new Set(run)) {
    const { code, stderr } = await runCli(t, command.split(' ').slice(1), env)
    assert.equal(code, 0, `${command}: ${stderr}`)
  }
})
