import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { githubClaims } from '../support/identity/claims.ts'
import { startIssuer } from '../support/identity/issuer.ts'
import { readProblem } from '../support/problem.ts'
import { runCli, startServer } from '../support/server-process.ts'
import { registeredSchema, serverEnv, tempDir, testGateway } from '../support/service.ts'

const AUDIENCE = 'https://keys.example.com'

test('an operator sees who registered without a token, why others were refused, and stops an identity', async (t) => {
  const dir = tempDir(t)
  const issuer = await startIssuer(t, { alg: 'RS256', audience: AUDIENCE })
  const trustFile = join(dir, 'trust.yaml')
  const trust = (environment: string) =>
    writeFileSync(
      trustFile,
      `issuers: { github: { kind: github, issuer: "${issuer.url}" } }
rules:
  - id: acme-ci
    issuer: github
    match: { repository_id: "42", environment: ${environment} }
    identity: [repository_id]
    grant: { plans: [gold], key_ttl: 24h, max_live: 2 }
`,
    )
  trust('prod')
  const gateway = await testGateway(t)
  const env: Record<string, string> = {
    ...serverEnv(gateway, dir),
    PUBLIC_URL: AUDIENCE,
    TRUST_FILE: trustFile,
  }
  const { url, child, seen, output } = await startServer(t, env)
  const tokens: string[] = []
  const register = (claims: object, name = 'agent') => {
    const jwt = issuer.sign(githubClaims({ ...claims }))
    tokens.push(jwt)
    return fetch(`${url}/register`, {
      method: 'POST',
      headers: {
        ...{ authorization: `Bearer ${jwt}`, 'idempotency-key': randomUUID() },
        'content-type': 'application/json',
      },
      body: JSON.stringify({ name }),
    })
  }
  const cli = async (...args: string[]) => {
    const result = await runCli(t, args, env)
    output.stdout += result.stdout + result.stderr
    return result
  }
  const explain = async (response: Response) => {
    const { code, instance } = await readProblem(response)
    const { stdout, stderr } = await cli('trust', 'explain', instance)
    return { code, stdout, stderr }
  }

  const answer = await register({})
  assert.equal(answer.status, 201)
  const own = registeredSchema.parse(await answer.json())
  const listed = (await cli('tokens', 'list')).stdout
  assert.match(listed, /^tok_\w{20} +usable +1\/2 +gold +acme-ci +http:\S+ +repository_id="42"$/m)
  const id = listed.match(/tok_\w{20}/)?.[0] ?? ''
  const entries = JSON.parse((await cli('audit', '--token', id, '--json')).stdout) as {
    action: string
    identity: object | null
  }[]
  const identity = { issuer: issuer.url, rule: 'acme-ci', claims: { repository_id: '42' } }
  assert.deepEqual(entries.find(({ action }) => action === 'registration.created')?.identity, identity)
  assert.match(
    (await cli('registrations', 'show', own.registration_id)).stdout,
    /^identity +repository_id="42"$/m,
  )

  // A token of the token endpoint is no token of the list: it stands for its identity.
  const exchanged = await fetch(`${url}/connect/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
      assertion: issuer.sign(githubClaims()),
    }),
  })
  assert.equal(exchanged.status, 200)
  assert.deepEqual((await cli('tokens', 'list')).stdout.match(/tok_\w{20}/g), [id])

  const dev = await explain(await register({ environment: 'dev' }))
  assert.equal(dev.code, 'identity_not_allowed')
  assert.match(dev.stdout, /NO +match +environment +"prod" +"dev" +environment has another value/, dev.stderr)
  const foreign = await explain(await register({ iss: 'https://evil.example' }))
  assert.equal(foreign.code, 'issuer_not_trusted')
  assert.match(foreign.stdout, /The token named the issuer https:\/\/evil\.example\. It was not verified/)
  const elsewhere = await explain(await register({ aud: 'https://other.example' }))
  assert.equal(elsewhere.code, 'audience_mismatch')
  assert.match(elsewhere.stdout, /The rules were not the reason/)

  trust('dev')
  child.kill('SIGHUP')
  await seen(/"rules_changed":\["acme-ci"\]/)
  assert.equal((await register({ environment: 'dev' }, 'second')).status, 201)

  assert.equal((await cli('tokens', 'revoke', id)).code, 0)
  const revoked = await explain(await register({ environment: 'dev' }, 'third'))
  assert.equal(revoked.code, 'identity_not_allowed')
  assert.match(revoked.stdout, /You revoked this identity at 20/)
  assert.equal(await dataPlaneOf(own.api_key_value), 200)
  assert.equal((await cli('tokens', 'revoke', id, '--with-keys', '--yes')).code, 0)
  assert.equal(gateway.account.keys.size, 0)
  assert.match((await cli('tokens', 'list')).stdout, RegExp(`${id} +revoked +0/2 `))
  for (const jwt of tokens)
    for (const part of jwt.split('.').slice(1)) assert.ok(!`${output.stdout}${output.stderr}`.includes(part))

  async function dataPlaneOf(key: string): Promise<number> {
    return (await fetch(env['API_BASE_URL'] ?? '', { headers: { 'x-api-key': key } })).status
  }
})
