import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { credentialSchema } from '../../src/routes/register-schema.ts'
import { long } from '../support/long.ts'
import { readProblem } from '../support/problem.ts'
import { startService } from '../support/service.ts'

test('invariant 1: the API accepts a registered key at once, and no other value', async (t) => {
  const { token, register, deps } = await startService(t)
  const { secret } = await token()

  const answer = await register(secret, { name: 'acme-agent', description: 'nightly import' })

  assert.equal(answer.status, 201)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  const body = credentialSchema.parse(await answer.json())
  assert.equal(answer.headers.get('location'), body.management.url)
  assert.match(body.api_key_value, /^[A-Za-z0-9]{40}$/)
  assert.equal(
    (await fetch(deps.config.apiBaseUrl, { headers: { 'x-api-key': body.api_key_value } })).status,
    200,
  )
  assert.equal(
    (await fetch(deps.config.apiBaseUrl, { headers: { 'x-api-key': 'x'.repeat(40) } })).status,
    403,
  )
})

test('the key in API Gateway has the registration id, the name, the description and the plan', async (t) => {
  const { token, register, gateway } = await startService(t)
  const { secret } = await token({ plans: ['gold'] })

  const body = credentialSchema.parse(
    await (await register(secret, { name: 'a b', description: 'why' })).json(),
  )

  const key = gateway.account.key(body.api_key_id)
  assert.equal(key.name, `${body.registration_id} a b`)
  assert.equal(key.description, 'why')
  assert.equal(key.enabled, true)
  assert.deepEqual([...key.planIds], ['demogold'])
  assert.equal(body.usage_plan_id, 'demogold')
  assert.equal(body.plan, 'gold')
})

test('the record is pending before API Gateway is called and active after', async (t) => {
  const { token, register, gateway, deps } = await startService(t)
  const { secret } = await token()
  const seen: string[] = []
  gateway.onCall = (operation, moment) => {
    if (operation !== 'CreateApiKey' || moment !== 'effective') return
    const [key] = gateway.account.keys.values()
    const id = key?.name.split(' ')[0] ?? ''
    void deps.store.getRegistration(id).then((registration) => seen.push(String(registration?.status)))
  }

  const body = credentialSchema.parse(await (await register(secret)).json())

  assert.deepEqual(seen, ['pending'])
  const registration = await deps.store.getRegistration(body.registration_id)
  assert.equal(registration?.status, 'active')
  assert.equal(registration?.apiKeyId, body.api_key_id)
})

test('Accept: text/plain returns lines that a shell can source, whatever the name contains', async (t) => {
  const { token, register } = await startService(t)
  const { secret } = await token()
  const name = `it's $HOME;\`touch owned\`&&"x"`

  const answer = await register(secret, { name }, { accept: 'text/plain' })

  assert.equal(answer.status, 201)
  assert.match(answer.headers.get('content-type') ?? '', /^text\/plain/)
  const lines = await answer.text()
  assert.match(lines, /^FIRSTKEY_API_KEY=[A-Za-z0-9]{40}$/m)
  assert.match(lines, /^FIRSTKEY_MANAGEMENT_TOKEN=fkm_[A-Za-z0-9]{38}$/m)
  const ours = [...lines.matchAll(/^(\w+)=/gm)].map(([, variable = '']) => variable)
  for (const variable of ours) {
    assert.match(variable, /^FIRSTKEY_/, "no variable can be one of the shell's or of another program")
    assert.ok(!['FIRSTKEY_TOKEN', 'FIRSTKEY_URL'].includes(variable), 'what a client reads is not changed')
  }
  const sourced = execFileSync('sh', ['-c', `${lines}\nprintf %s "$FIRSTKEY_NAME"`], { encoding: 'utf8' })
  assert.equal(sourced, name)
})

test('the response is application/json if the client accepts both types, or any', async (t) => {
  const { token, register } = await startService(t)
  const { secret } = await token()
  for (const accept of ['*/*', 'text/plain;q=0.5, application/json', 'text/*;q=0.1, */*']) {
    const answer = await register(secret, { name: 'x' }, { accept })
    assert.match(answer.headers.get('content-type') ?? '', /^application\/json/, accept)
  }
})

test('use.curl is a command that the API answers: it calls the probe path, also in a replay', async (t) => {
  for (const [API_PROBE_PATH, path] of [
    ['/status', '/status'],
    ['', ''],
  ] as const) {
    const service = await startService(t, { env: { API_PROBE_PATH } })
    const { secret } = await service.token({ maxUses: 1 })
    for (const _ of [1, 2]) {
      const answer = await service.register(secret, undefined, { 'idempotency-key': 'k'.repeat(36) })
      const { use, api_key_value } = credentialSchema.parse(await answer.json())
      const { apiBaseUrl } = service.deps.config
      assert.equal(use.base_url, apiBaseUrl)
      assert.equal(use.curl, `curl -H 'x-api-key: ${api_key_value}' ${apiBaseUrl}${path}`)
      const { stdout } = await promisify(execFile)('sh', ['-c', `${use.curl} --silent --fail`])
      assert.match(stdout, /Hello/)
    }
  }
})

test(
  'invariant 3: of 200 concurrent requests with a single-use token exactly one gets a 201, with one key',
  long,
  async (t) => {
    const { token, register, gateway, deps } = await startService(t)
    const { secret, token: issued } = await token({ maxUses: 1 })

    const answers = await Promise.all(Array.from({ length: 200 }, () => register(secret)))

    const statuses = Map.groupBy(answers, (answer) => answer.status)
    assert.equal(statuses.get(201)?.length, 1)
    assert.equal(gateway.account.keys.size, 1)
    assert.equal((await deps.store.getToken(issued.id))?.uses, 1)
    for (const refused of answers.filter(({ status }) => status !== 201)) {
      // Final only for those that came after the 201.
      assert.ok(['token_uses_pending', 'token_exhausted'].includes((await readProblem(refused)).code))
    }
    const codeOfNext = async () => (await readProblem(await register(secret))).code
    while ((await codeOfNext()) === 'token_uses_pending') await sleep(50) // A finding is used for a second.
    assert.equal(await codeOfNext(), 'token_exhausted')
  },
)

test('key_ttl of the token becomes expires_at of the key', async (t) => {
  const now = Date.UTC(2030, 0, 1)
  const { token, register } = await startService(t, { clock: () => now })
  const { secret } = await token({ keyTtlMs: 30 * 86_400_000 })
  const body = credentialSchema.parse(await (await register(secret)).json())
  assert.equal(body.created_at, '2030-01-01T00:00:00.000Z')
  assert.equal(body.expires_at, '2030-01-31T00:00:00.000Z')
})

test('a registration writes one log line with its ids; no line contains a secret', async (t) => {
  const { token, register, logLines } = await startService(t)
  const { secret } = await token()
  const body = credentialSchema.parse(await (await register(secret)).json())

  const lines = logLines.filter((line) => line.includes('"msg":"registered"'))
  assert.equal(lines.length, 1)
  for (const id of [body.registration_id, body.api_key_id, 'tok_', 'request_id'])
    assert.match(lines[0] ?? '', RegExp(id))
  const log = logLines.join('')
  for (const hidden of [secret, body.api_key_value, body.management.token]) assert.ok(!log.includes(hidden))
})
