import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { z } from 'zod'
import { hashSecret } from '../../src/auth/secret-hash.ts'
import { createSecret } from '../../src/auth/token-format.ts'
import { oauthErrorSchema } from '../../src/http/oauth-error.ts'
import { deleteDueKeys } from '../../src/registration/jobs/delete-keys.ts'
import { createLeaderLease } from '../../src/registration/jobs/leader-lease.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { type Federated, startFederated } from '../support/identity/federated.ts'
import { long } from '../support/long.ts'
import { assertMetadata, readProblem } from '../support/problem.ts'
import { dataPlane, manage, startService } from '../support/service.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

const codeOf = async (answer: Promise<Response> | Response) => (await readProblem(await answer)).code

/** Sends `POST /connect/register`. */
function connect(
  { url }: Pick<Federated, 'url'>,
  jwt: string,
  {
    name = 'acme-agent',
    key = randomUUID(),
    headers = {},
  }: { name?: string; key?: string | null; headers?: Record<string, string> } = {},
): Promise<Response> {
  return fetch(`${url}/connect/register`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${jwt}`,
      'content-type': 'application/json',
      ...(key === null ? {} : { 'idempotency-key': key }),
      ...headers,
    },
    body: JSON.stringify({ client_name: name, scope: `scope-${key}` }),
  })
}

/** Deletes the keys that rotations replaced, as the jobs do. */
async function deleteReplaced({ deps }: Federated): Promise<void> {
  await deleteDueKeys(deps, createLeaderLease(deps))
}

/** The line of the last request. */
function lastLine({ logLines }: Federated) {
  const line = logLines.findLast((one) => one.includes('request completed'))
  return z.looseObject({}).parse(JSON.parse(line ?? '{}'))
}

/** Tokens that are refused, with the code and the status. */
const refused: Record<string, (one: Federated) => { jwt: string; code: string; status: number }> = {
  'an unknown issuer': ({ jwt }) => ({
    jwt: jwt({ iss: 'https://evil.example' }),
    code: 'issuer_not_trusted',
    status: 401,
  }),
  'another audience': ({ jwt }) => ({
    jwt: jwt({ aud: 'https://other' }),
    code: 'audience_mismatch',
    status: 401,
  }),
  'an expired token': ({ jwt }) => ({ jwt: jwt({ iat: 1, exp: 2 }), code: 'token_expired', status: 401 }),
  'a wrong signature': ({ jwt }) => ({
    jwt: `${jwt().slice(0, -8)}AAAAAAAA`,
    code: 'invalid_token',
    status: 401,
  }),
  'no JSON': () => ({ jwt: 'aaaa.bbbb.cccc', code: 'invalid_token', status: 401 }),
  'an identity without a rule': ({ jwt }) => ({
    jwt: jwt({ team: 'others' }),
    code: 'identity_not_allowed',
    status: 403,
  }),
}

test('a refused identity token costs nothing, and leaves one audit entry and a line that name the issuer', async (t) => {
  const one = await startFederated(t)
  for (const [name, refusal] of Object.entries(refused)) {
    const before = (await one.audit()).length
    const { jwt, code, status } = refusal(one)
    const answer = await one.join({ jwt })
    assert.equal(answer.status, status, name)
    const problem = await readProblem(answer)
    assert.equal(problem.code, code, name)
    assert.equal(problem.retryable, false)
    const line = lastLine(one)
    assert.deepEqual([line['code'], line['status']], [code, status])
    const entries = (await one.audit()).slice(before)
    assert.equal(entries.length, 1, name)
    const [entry] = entries
    assert.deepEqual(
      [entry?.action, entry?.detail, entry?.tokenId, entry?.actor.kind],
      ['request.refused', code, null, 'identity'],
    )
    assert.equal(entry?.actor.requestId, problem.instance)
    assert.equal(line['issuer'] ?? null, entry?.actor.identity?.issuer)
    assert.equal(entry?.actor.identity?.rule, null)

    // The same, in the dialect of the other door.
    const client = await connect(one, refusal(one).jwt)
    assert.equal(client.status, status)
    const error = oauthErrorSchema.parse(await client.json())
    assert.equal(error.code, code)
    assert.equal(error.error, status === 401 ? 'invalid_token' : code)
    assertMetadata(client, error.resource_metadata)
  }
  const verified = (await one.audit()).find(({ detail }) => detail === 'identity_not_allowed')
  assert.deepEqual(verified?.actor.identity?.claims, { sub: 'agent-1', team: 'others' })
  assert.equal(one.gateway.account.keys.size, 0)
  assert.deepEqual(await one.deps.store.listTokens(), [])
  // A retry without a token would be answered as the retry of a bootstrap token.
  const page = await one.join({ jwt: one.jwt({ aud: 'x' }), headers: { accept: 'text/html' } })
  assert.equal(page.status, 401)
  assert.match(await page.text(), /audience_mismatch/)
})

test('bogus tokens of unknown issuers are counted together, whatever they claim', async (t) => {
  const one = await startFederated(t)
  for (let i = 0; i < 50; i++)
    assert.equal((await one.join({ jwt: one.jwt({ iss: `https://evil-${i}.example` }) })).status, 401)
  const entries = await one.audit()
  assert.deepEqual(
    entries.map(({ detail }) => detail?.replace(/ in \d+ s/, '')),
    ['issuer_not_trusted', 'issuer_not_trusted: 49 more'],
  )
  assert.deepEqual(one.issuer.requests, { discovery: 0, jwks: 0 })
})

test('a registration with an identity token is in the log and the audit trail with issuer, rule and identity', async (t) => {
  const one = await startFederated(t)
  const own = await one.joined()
  const line = lastLine(one)
  assert.deepEqual([line['issuer'], line['rule'], line['status']], [one.issuer.url, 'agents', 201])
  const token = await one.virtualToken()
  assert.equal(line['token_id'], token.id)
  const identity = { issuer: one.issuer.url, rule: 'agents', claims: { sub: 'agent-1' } }
  const entries = await one.audit()
  assert.deepEqual(
    entries.map(({ action }) => action),
    ['token.created', 'registration.created'],
  )
  for (const { actor, tokenId } of entries) {
    assert.deepEqual([actor.kind, actor.id, tokenId, actor.identity], ['token', token.id, token.id, identity])
  }
  assert.equal(await codeOf(one.join({ name: '' })), 'invalid_request')
  const refusal = (await one.audit()).at(-1)
  assert.deepEqual(
    [refusal?.detail, refusal?.tokenId, refusal?.actor.identity],
    ['invalid_request', token.id, identity],
  )
  assert.equal(entries.at(-1)?.registrationId, own.registration_id)
})

test('an identity token needs a UUIDv4 as Idempotency-Key, before anything is spent', async (t) => {
  const one = await startFederated(t)
  const jwt = one.jwt()
  const bad = [
    null,
    'x'.repeat(36),
    '0123456789abcdef',
    '01890a5d-ac96-774b-bcce-b302099a8057',
    `${randomUUID()}0`,
  ]
  for (const key of bad) {
    assert.equal(await codeOf(one.join({ jwt, key })), 'invalid_idempotency_key', String(key))
    const client = oauthErrorSchema.parse(await (await connect(one, jwt, { key })).json())
    assert.equal(client.code, 'invalid_idempotency_key')
  }
  assert.equal((await one.virtualToken()).uses, 0)
  await one.joined({ jwt, key: randomUUID().toUpperCase() })
  await one.joined({ key: `"${randomUUID()}"`, name: 'quoted' })
})

test('/connect/register takes identity tokens; a client that registers again keeps its client and gets a new secret', async (t) => {
  const one = await startFederated(t)
  const key = randomUUID()
  const first = z.looseObject({
    client_id: z.string(),
    client_secret: z.string(),
    registration_client_uri: z.string(),
    registration_access_token: z.string(),
  })
  const register = async (key?: string) => {
    const answer = await connect(one, one.jwt(), { ...(key === undefined ? {} : { key }) })
    const text = await answer.text()
    assert.equal(answer.status, 201, text)
    return first.parse(JSON.parse(text))
  }
  const client = await register(key)
  assert.deepEqual(await register(key), client)
  const next = randomUUID()
  const again = await register(next)
  assert.equal(again.registration_client_uri, client.registration_client_uri)
  assert.notEqual(again.client_secret, client.client_secret)
  assert.equal(await dataPlane(one, again.client_secret), 200)
  const path = new URL(again.registration_client_uri).pathname
  const read = await fetch(`${one.url}${path}`, {
    headers: { authorization: `Bearer ${again.registration_access_token}` },
  })
  const view = z.looseObject({}).parse(await read.json())
  assert.deepEqual([view['client_id'], view['scope']], [again.client_id, `scope-${next}`])
  // The same name at the other door is the same registration.
  const own = await one.joined()
  assert.equal(`/connect/register/${own.registration_id}`, path)
  one.grant({ on_repeat: 'refuse' })
  const refusal = oauthErrorSchema.parse(await (await connect(one, one.jwt())).json())
  assert.deepEqual([refusal.code, refusal.error], ['already_registered', 'already_registered'])
  assert.match(refusal.error_description, new RegExp(own.registration_id))
})

test('the rule of today decides, before a retry is answered; so does a revocation', async (t) => {
  const one = await startFederated(t)
  const key = randomUUID()
  const own = await one.joined({ key })
  one.grant(null)
  assert.equal(await codeOf(one.join({ key })), 'identity_not_allowed')
  one.grant({})
  assert.equal((await one.joined({ key })).api_key_value, own.api_key_value)
  assert.equal(await codeOf(one.join({ key, jwt: one.jwt({ team: 'left' }) })), 'identity_not_allowed')
  const { id } = await one.virtualToken()
  await one.deps.store.revokeToken(id, SERVICE, Date.now())
  const refusal = await readProblem(await one.join({ key }))
  assert.equal(refusal.code, 'identity_not_allowed')
  const entry = (await one.audit()).at(-1)
  assert.deepEqual(
    [entry?.detail, entry?.tokenId, entry?.actor.identity?.rule],
    ['identity_not_allowed', id, 'agents'],
  )
  // Its registrations stay their owners'.
  assert.equal((await manage(one, own, 'GET')).status, 200)
})

test('an expired token is refused whatever its Idempotency-Key; a fresh one gets the answer', async (t) => {
  let now = Date.now()
  const one = await startFederated(t, { clock: () => now })
  const [jwt, key] = [one.jwt(), randomUUID()]
  const own = await one.joined({ jwt, key })
  now += 10 * MINUTE_MS
  const refusal = await readProblem(await one.join({ jwt, key }))
  assert.equal(refusal.code, 'token_expired')
  assert.match(refusal.next_step, /fresh identity token.*same Idempotency-Key/)
  assert.equal((await one.joined({ key })).api_key_value, own.api_key_value)
})

test('only a fresh proof makes a key live longer: a rotation by the management token does not', async (t) => {
  let now = Date.now()
  const one = await startFederated(t, { clock: () => now, grant: { key_ttl: '24h' } })
  const first = await one.joined()
  now += HOUR_MS
  const rotated = z
    .looseObject({ expires_at: z.string() })
    .parse(await (await manage(one, first, 'POST', '/rotate', { overlap_seconds: 0 })).json())
  assert.equal(rotated.expires_at, first.expires_at)
  await deleteReplaced(one)
  now += HOUR_MS
  assert.equal((await one.joined()).expires_at, new Date(now + 24 * HOUR_MS).toISOString())
})

test('the grant limits names, plans and requests a minute', async (t) => {
  let now = Date.now()
  const one = await startFederated(t, {
    clock: () => now,
    grant: { name: 'ci-{sub}', plans: ['gold', 'free'], on_repeat: 'add' },
  })
  const wrong = await readProblem(await one.join({ name: 'ci-agent-10' }))
  assert.equal(wrong.code, 'name_not_allowed')
  assert.match(wrong.detail, /must be "ci-agent-1"/)
  assert.equal((await one.joined({ name: 'ci-agent-1' }))['plan'], 'gold')
  assert.equal((await one.joined({ body: { name: 'ci-agent-1', plan: 'free' } }))['plan'], 'free')
  one.grant({ name: 'ci-{sub}*', plans: ['gold'], on_repeat: 'add' })
  assert.equal(await codeOf(one.join({ name: 'ci-agent-2' })), 'name_not_allowed')
  await one.joined({ name: 'ci-agent-1-blue' })
  assert.equal(await codeOf(one.join({ body: { name: 'ci-agent-1', plan: 'free' } })), 'plan_not_allowed')
  now += MINUTE_MS
  one.grant({ rate: 2, on_repeat: 'add' })
  const answers = []
  for (let i = 0; i < 3; i++) answers.push(await one.join())
  assert.deepEqual(
    answers.map(({ status }) => status),
    [201, 201, 429],
  )
  assert.match(answers[0]?.headers.get('ratelimit-policy') ?? '', /"token";q=2;w=60/)
  // Another identity of the rule has a limit of its own.
  assert.equal((await one.join({ jwt: one.jwt({ sub: 'agent-2' }) })).status, 201)
})

test(
  'a name that is registered again stays on its plan, where the request and the rule let it',
  long,
  async (t) => {
    let now = Date.now()
    const one = await startFederated(t, { clock: () => now, grant: { plans: ['gold', 'free'] } })
    const planOf = async (body: object) => {
      now += 2 * HOUR_MS
      await deleteReplaced(one)
      return (await one.joined({ body: { name: 'acme-agent', ...body } }))['plan']
    }
    assert.equal(await planOf({ plan: 'free' }), 'free')
    assert.equal(await planOf({}), 'free')
    assert.equal(await planOf({ plan: 'gold' }), 'gold')
    one.grant({ plans: ['free'] })
    assert.equal(await planOf({}), 'free', 'the rule does not allow gold any more')
  },
)

test(
  'an access token registers once; a second use waits for the first, and is then used up',
  long,
  async (t) => {
    let now = Date.now()
    const one = await startFederated(t, { clock: () => now, timing: { upstreamCall: 3_000 } })
    await one.joined()
    const { id: tokenId } = await one.virtualToken()
    const create = async (expiresAt = now + 10 * MINUTE_MS) => {
      const secret = createSecret('fkb_')
      await one.deps.store.createAccessToken(
        { secretHash: hashSecret(secret), tokenId, expiresAt },
        null,
        SERVICE,
        now,
      )
      return secret
    }
    const [secret, key] = [await create(), randomUUID()]
    let during: Promise<string> | undefined
    one.gateway.onCall = (operation, moment) => {
      if (operation === 'CreateApiKey' && moment === 'effective')
        during ??= codeOf(one.join({ jwt: secret, name: 'b' }))
    }
    one.gateway.faults.order({ operation: 'CreateUsagePlanKey', when: 'before', kind: 'hang' })
    const own = await one.joined({ jwt: secret, key, name: 'a' })
    assert.equal(await during, 'token_uses_pending')
    await one.deps.deliveries.flush()
    const used = await readProblem(await one.join({ jwt: secret, name: 'b' }))
    assert.equal(used.code, 'token_exhausted')
    assert.match(used.next_step, /token endpoint/)
    assert.deepEqual(await one.joined({ jwt: secret, key, name: 'a' }), own)
    // Without an Idempotency-Key, as any bootstrap token; and a name that is registered is rotated.
    const again = await one.joined({ jwt: await create(), key: null, name: 'a' })
    assert.equal(again.registration_id, own.registration_id)
    const line = lastLine(one)
    assert.deepEqual([line['issuer'], line['rule']], [one.issuer.url, 'agents'])

    const late = await create()
    now += 10 * MINUTE_MS
    assert.equal(await codeOf(one.join({ jwt: late, key: null, name: 'c' })), 'token_expired')
    assert.equal(await codeOf(one.join({ jwt: late, name: 'c' })), 'token_expired')
    const fresh = await create()
    one.grant(null)
    assert.equal(await codeOf(one.join({ jwt: fresh, name: 'd' })), 'identity_not_allowed')
  },
)

test('a service without a trust file says that it takes no identity tokens', async (t) => {
  const one = await startFederated(t)
  const plain = await startService(t)
  const answer = await plain.register(one.jwt(), undefined, { 'idempotency-key': randomUUID() })
  const problem = await readProblem(answer)
  assert.equal(problem.code, 'invalid_token')
  assert.match(problem.detail, /takes no identity tokens/)
  assert.match(problem.next_step, /bootstrap token/)
})

test('an identity token gets variables for a shell, and a page of another origin may send one', async (t) => {
  const origin = 'https://app.example.com'
  const one = await startFederated(t, { env: { CORS_ORIGINS: origin } })
  const lines = await one.join({ headers: { accept: 'text/plain' } })
  assert.match(await lines.text(), /^FIRSTKEY_REGISTRATION_ID=reg_/)
  for (const jwt of [one.jwt(), one.jwt({ aud: 'x' })]) {
    const answer = await one.join({ jwt, headers: { origin } })
    assert.equal(answer.headers.get('access-control-allow-origin'), origin)
  }
})

test('an OAuth client that registers at /register with an identity token is told where clients register', async (t) => {
  const one = await startFederated(t)
  for (const jwt of [one.jwt(), one.jwt({ aud: 'x' }), one.jwt({ iss: 'https://evil.example' })]) {
    const answer = await one.join({ jwt, body: { client_name: 'a', redirect_uris: [] } })
    const error = oauthErrorSchema.parse(await answer.json())
    assert.match(error.next_step + error.error_description, /\/connect\/register/)
    assert.equal(error.error, answer.status === 401 ? 'invalid_token' : 'invalid_client_metadata')
  }
})
