import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FaultOrder } from '../../emulator/faults.ts'
import { createSecret } from '../../src/auth/token-format.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { startIssuer } from '../support/identity/issuer.ts'
import { long } from '../support/long.ts'
import { FAST_SERVER, runCli, startServer } from '../support/server-process.ts'
import { type Registered, serverEnv, tempDir, testGateway } from '../support/service.ts'

const faults: (FaultOrder | undefined)[] = [
  undefined,
  { operation: 'CreateApiKey', when: 'after', kind: 'cut' },
  { operation: 'CreateApiKey', when: 'before', kind: 'fail', times: 3 },
  { operation: 'CreateApiKey', when: 'before', kind: 'denied' },
  { operation: 'CreateUsagePlanKey', when: 'before', kind: 'denied' },
  { operation: 'CreateUsagePlanKey', when: 'after', kind: 'conflict' },
  { operation: 'GetUsagePlanKeys', when: 'before', kind: 'cut', times: 3 },
]

test(
  'invariant 5: no output or file of the process contains a secret, at log level trace, errors included',
  long,
  async (t) => {
    const gateway = await testGateway(t)
    const dir = tempDir(t)
    const issuer = await startIssuer(t, { audience: 'http://localhost:0' })
    const trustFile = join(tempDir(t), 'trust.json')
    const grant = { key_ttl: '1h', overlap: '0s' }
    writeFileSync(
      trustFile,
      JSON.stringify({
        audience: 'http://localhost:0',
        issuers: { ci: { kind: 'oidc', issuer: issuer.url, algorithms: ['ES256'], single_use: true } },
        rules: [{ id: 'ci', issuer: 'ci', match: { sub: 'caller' }, grant }],
      }),
    )
    const env = {
      ...serverEnv(gateway, dir),
      LOG_LEVEL: 'trace',
      API_PROBE_PATH: '/probe',
      TRUST_FILE: trustFile,
    }
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
    // Identity tokens: accepted, used again, refused, and in unexpected places. No part of them is written.
    const jwt = () => {
      const token = issuer.sign()
      for (const part of token.split('.').slice(1)) secrets.add(part)
      return token
    }
    const foreign = issuer.sign({ iss: 'https://idp.example', sub: 'stranger' })
    for (const part of foreign.split('.').slice(1)) secrets.add(part)
    const used = jwt()
    const uuid = randomUUID()
    secrets.add(uuid)
    for (const [token, name, idempotencyKey] of [
      [used, 'a', uuid],
      [used, 'a', uuid],
      [jwt(), 'a', uuid],
      [used, 'b', randomUUID()],
      [jwt(), 'a', randomUUID()],
      [jwt(), 'a', undefined],
      [foreign, 'a', randomUUID()],
      [`${used.slice(0, -6)}AAAAAA`, 'a', randomUUID()],
      [jwt(), used.slice(0, 100), randomUUID()],
    ] as const) {
      for (const path of ['/register', '/connect/register']) {
        const body = JSON.stringify({ [path === '/register' ? 'name' : 'client_name']: name })
        const { api_key_value, client_secret, management } = JSON.parse(
          await send(path, token, body, idempotencyKey),
        )
        for (const secret of [api_key_value, client_secret, management?.token])
          if (secret) secrets.add(secret)
      }
    }
    await send(`/${used}?assertion=${used}`, used, '{}')
    await send('/register', used, `{"name":"${used}`)
    assert.ok(answers.some((answer) => answer.includes('token_replayed')))
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
  },
)

test('invariant 5: no output or file of the process, its arguments and its environment contain the value of a pool key', async (t) => {
  const gateway = await testGateway(t)
  const dir = tempDir(t)
  const env = { ...serverEnv(gateway, dir), POOL: 'gold:3', API_PROBE_PATH: '/probe', LOG_LEVEL: 'trace' }
  const values = new Set<string>()
  gateway.onCall = () => {
    for (const { value } of gateway.account.keys.values()) values.add(value)
  }
  const server = await startServer(t, env, FAST_SERVER)
  const secret = (await runCli(t, ['tokens', 'create', '--label', 'x', '--plan', 'gold'], env)).stdout.trim()
  const store = openSqliteStore(join(dir, 'firstkey.db'))
  t.after(() => store.close())
  const ready = async () => (await store.listPoolKeys()).filter(({ state }) => state === 'ready')
  const isFull = async () => {
    while ((await ready()).length < 3) await sleep(20)
  }
  async function send(path: string, token: string, body: string) {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const answer = await fetch(`${server.url}${path}`, { method: 'POST', headers, body })
    assert.equal(answer.status, 201)
    const credential = (await answer.json()) as { ready?: boolean; api_key_value: string } & Registered
    assert.equal(credential.ready, true, 'it is from the pool')
    assert.ok(values.has(credential.api_key_value))
    return credential
  }

  // Filled and handed out; refilled by imports that fail; and discarded.
  await isFull()
  gateway.faults.order({ operation: 'ImportApiKeys', when: 'after', kind: 'cut', times: 4 })
  gateway.faults.order({ operation: 'UpdateApiKey', when: 'after', kind: 'cut', times: 4 })
  const { registration_id, management } = await send('/register', secret, '{"name":"a"}')
  await send(`/register/${registration_id}/rotate`, management.token, '{}')
  await isFull()
  gateway.faults.order({ operation: 'DeleteApiKey', when: 'before', kind: 'denied', times: 2 })
  const [first] = await ready()
  const disabled = gateway.account.keys.get(first?.apiKeyId ?? '')
  assert.ok(disabled)
  disabled.enabled = false
  while ((await store.listPoolKeys()).some(({ id }) => id === first?.id)) await sleep(20)
  await isFull()

  const files = () => readdirSync(dir).map((file) => readFileSync(join(dir, file), 'latin1'))
  const running = [
    ...files(),
    ...['cmdline', 'environ'].map((file) => readFileSync(`/proc/${server.child.pid}/${file}`, 'latin1')),
  ]
  assert.ok(readdirSync(dir).includes('firstkey.db-wal'))
  server.child.kill('SIGTERM')
  await server.ended()
  const written = [...running, ...files(), server.output.stdout, server.output.stderr].join('\n')
  assert.ok(values.size >= 6, `${values.size} values`)
  for (const part of [registration_id, 'keys of the pool made', 'discarded', 'firstkey.db'])
    assert.ok(written.includes(part), part)
  for (const value of values) assert.ok(!written.includes(value), `${value.slice(0, 4)}… was written`)
})
