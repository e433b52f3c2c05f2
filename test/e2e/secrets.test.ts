import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { FaultOrder } from '../../emulator/faults.ts'
import { createSecret } from '../../src/auth/token-format.ts'
import { runCli, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

const faults: (FaultOrder | undefined)[] = [
  undefined,
  { operation: 'CreateApiKey', when: 'after', kind: 'cut' },
  { operation: 'CreateApiKey', when: 'before', kind: 'fail', times: 3 },
  { operation: 'CreateApiKey', when: 'before', kind: 'denied' },
  { operation: 'CreateUsagePlanKey', when: 'before', kind: 'denied' },
  { operation: 'CreateUsagePlanKey', when: 'after', kind: 'conflict' },
  { operation: 'GetUsagePlanKeys', when: 'before', kind: 'cut', times: 3 },
]

test('invariant 5: no output or file of the process contains a secret, at log level trace, errors included', async (t) => {
  const gateway = await testGateway(t)
  const dir = tempDir(t)
  const env = { ...serverEnv(gateway, dir), LOG_LEVEL: 'trace', API_PROBE_PATH: '/probe' }
  const server = await startServer(t, env)
  const secret = (await runCli(t, ['tokens', 'create', '--label', 'x'], env)).stdout.trim()
  const secrets = new Set([secret, createSecret('fkb_')])
  gateway.onCall = () => {
    for (const key of gateway.account.keys.values()) secrets.add(key.value)
  }
  const answers: string[] = []
  async function send(path: string, token: string, body: string, key?: string): Promise<string> {
    const headers = {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      prefer: 'wait=2',
      ...(key === undefined ? {} : { 'idempotency-key': key }),
    }
    const answer = await fetch(`${server.url}${path}`, { method: 'POST', headers, body })
    const text = await answer.text()
    if (answer.status !== 201) answers.push(text)
    return text
  }

  for (const fault of faults) {
    gateway.faults.clear()
    if (fault) gateway.faults.order(fault)
    const key = randomUUID()
    secrets.add(key)
    for (const idempotencyKey of [undefined, key, key]) {
      const { api_key_value, management } = JSON.parse(
        await send('/register', secret, '{"name":"a"}', idempotencyKey),
      )
      if (api_key_value) secrets.add(api_key_value).add(management.token)
    }
  }
  // Secrets in unexpected places: in the path, in the query, in the name, and in a body that is not JSON.
  const [, lost = ''] = secrets
  await send(`/${secret}?token=${secret}`, secret, '{}')
  await send(`/register/${lost}?x=${lost}`, lost, '{}')
  await send('/register', secret, `{"name":"${secret}`)
  await send('/register', `${secret.slice(0, -1)}!`, '{"name":"a"}')

  server.child.kill('SIGTERM')
  await server.ended()
  const written = [
    server.output.stdout,
    server.output.stderr,
    ...answers,
    ...readdirSync(dir).map((file) => readFileSync(join(dir, file), 'latin1')),
  ].join('\n')
  assert.ok(secrets.size > 15, `${secrets.size} secrets`)
  assert.ok(written.includes('"msg":"registered"') && written.includes('"msg":"registration failed"'))
  for (const hidden of secrets) assert.ok(!written.includes(hidden), `${hidden.slice(0, 4)}… was written`)
})
