import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { ErrorCode } from '../../../src/error-catalogue.ts'
import { oauthErrorSchema } from '../../../src/http/oauth-error.ts'
import { problemStatus } from '../../../src/http/problem.ts'
import type { RecordedEntry } from '../../../src/store/audit.ts'
import { readProblem } from '../problem.ts'
import { type Service, startService, tempDir } from '../service.ts'
import { AUDIENCE, attacks, oddities, startTarget, trustFile } from './attacks.ts'
import { type Behaviour, startIssuer } from './issuer.ts'

const MISBEHAVIOURS: readonly Behaviour[] = [
  ...(['down', 'failing', 'slow', 'huge', 'redirecting', 'not json', 'other issuer'] as const),
]

/** A store to attack: the variables that choose it, and all that is in it as text. */
export interface AttackedStore {
  readonly env: Readonly<Record<string, string>>
  /** @param dataDir the folder of a store file */
  dump(dataDir: string): Promise<string>
}

/** A route that takes identity tokens. */
interface Door {
  readonly route: string
  send(url: string, jwt: string, key?: string): Promise<Response>
  /** Checks that a refusal is as this route gives it, and returns its code. */
  readRefusal(answer: Response): Promise<string>
  readonly accepted: number
}

const post = (url: string, headers: Record<string, string>, body: string | URLSearchParams) =>
  fetch(url, { method: 'POST', headers, body })

async function readOauthError(answer: Response) {
  assert.match(answer.headers.get('content-type') ?? '', /^application\/json/)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  return oauthErrorSchema.parse(await answer.json())
}

const doors: readonly Door[] = [
  {
    route: '/register',
    send: (url, jwt, key = randomUUID()) =>
      post(
        `${url}/register`,
        { authorization: `Bearer ${jwt}`, 'content-type': 'application/json', 'idempotency-key': key },
        '{"name":"agent"}',
      ),
    async readRefusal(answer) {
      const { code } = await readProblem(answer)
      assert.equal(answer.status, problemStatus[code as ErrorCode])
      return code
    },
    accepted: 201,
  },
  {
    route: '/connect/register',
    send: (url, jwt, key = randomUUID()) =>
      post(
        `${url}/connect/register`,
        { authorization: `Bearer ${jwt}`, 'content-type': 'application/json', 'idempotency-key': key },
        '{"client_name":"agent"}',
      ),
    async readRefusal(answer) {
      const { code, error } = await readOauthError(answer)
      assert.equal(answer.status, problemStatus[code as ErrorCode])
      assert.equal(error, answer.status === 401 ? 'invalid_token' : code)
      return code
    },
    accepted: 201,
  },
  {
    route: '/connect/token',
    send: (url, jwt) =>
      post(
        `${url}/connect/token`,
        {},
        new URLSearchParams({
          grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
          assertion: jwt,
        }),
      ),
    async readRefusal(answer) {
      const { code, error } = await readOauthError(answer)
      // RFC 7521, section 4.1.1.
      if (answer.status === 400) assert.equal(error, 'invalid_grant')
      else assert.equal(answer.status, 503)
      return code
    },
    accepted: 200,
  },
]

const WRITES = ['CreateApiKey', 'ImportApiKeys', 'CreateUsagePlanKey', 'UpdateApiKey', 'DeleteApiKey']

/** Starts the service with a trust file. */
async function startAttacked(
  t: TestContext,
  { env }: AttackedStore,
  trust: string,
): Promise<{ service: Service; writes: () => number }> {
  const path = join(tempDir(t), 'trust.yaml')
  writeFileSync(path, trust)
  const service = await startService(t, { env: { ...env, TRUST_FILE: path } })
  let writes = 0
  service.gateway.onCall = (operation, moment) => {
    if (moment === 'arrived' && WRITES.includes(operation)) writes += 1
  }
  return { service, writes: () => writes }
}

/** Returns a function that reads the refusals that were recorded since its last call. It ends the counts of repeats. */
function newRefusals({ deps }: Service): () => Promise<RecordedEntry[]> {
  const seen = new Set<string>()
  return async () => {
    await deps.refusals.flush()
    const fresh = (await deps.store.listAudit({ limit: 5 })).filter(({ id }) => !seen.has(id))
    for (const { id } of fresh) seen.add(id)
    return fresh.filter(({ action }) => action === 'request.refused')
  }
}

/** Asserts that no part of a JWT that only its holder knows is in the store, the log or the audit trail. */
async function assertNowhere(service: Service, { dump }: AttackedStore, jwts: readonly string[]) {
  const entries = await service.deps.store.listAudit({ limit: 1_000 })
  const places = {
    store: await dump(service.dataDir),
    log: service.logLines.join(''),
    audit: JSON.stringify(entries),
  }
  for (const jwt of jwts) {
    const [, payload = '', signature = ''] = jwt.split('.')
    for (const [name, text] of Object.entries(places))
      for (const part of [payload, signature])
        assert.ok(part.length < 40 || !text.includes(part), `the ${name} has a part of ${jwt}`)
  }
}

/** Tests that no attack gets through any door, and that none costs anything. */
export function refusesAttacks(store: string, open: (t: TestContext) => Promise<AttackedStore>): void {
  for (const door of doors)
    test(`${store}, ${door.route}: each attack is refused, makes no key, costs nothing, and leaves one audit entry`, async (t) => {
      const attacked = await open(t)
      const target = await startTarget(t)
      const { service, writes } = await startAttacked(t, attacked, trustFile(target))
      const sent: string[] = []
      const faults: string[] = []
      const refusals = newRefusals(service)
      for (const { name, code, jwt } of attacks) {
        const token = jwt(target)
        sent.push(token)
        const found = await door.readRefusal(await door.send(service.url, token))
        if (found !== code) faults.push(`${name}: ${found} instead of ${code}`)
        const details = (await refusals()).map(({ detail }) => detail)
        if (details.length !== 1 || details[0] !== found)
          faults.push(`${name}: ${found}, but the audit has ${details}`)
      }
      assert.deepEqual(faults, [])
      assert.equal(writes(), 0, 'no call that changes API Gateway')
      assert.deepEqual(await service.deps.store.listTokens(), [], 'no identity is known')
      assert.equal(target.evilRequests(), 0)
      const { jwks, discovery } = target.issuer.requests
      assert.ok(jwks <= 2 && discovery <= 2, `${jwks} requests of the keys, ${discovery} of their address`)

      // None of the attacks spent the honest caller's proof or place.
      const honest = target.issuer.sign(target.claims)
      sent.push(honest)
      const answer = await door.send(service.url, honest)
      assert.equal(answer.status, door.accepted, await answer.text())
      for (const { send, readRefusal } of doors)
        assert.equal(await readRefusal(await send(service.url, honest)), 'token_replayed')
      await assertNowhere(service, attacked, sent)
    })

  test(`${store}: of 20 requests with one token at all doors at once, one gets something, and no key is left over`, async (t) => {
    const attacked = await open(t)
    const target = await startTarget(t)
    const { service } = await startAttacked(t, attacked, trustFile(target))
    const replays = async () => {
      const jwt = target.issuer.sign({ ...target.claims, jti: randomUUID() })
      const answers = await Promise.all(
        Array.from({ length: 20 }, async (_, i) => {
          const door = doors[i % doors.length] ?? assert.fail()
          const answer = await door.send(service.url, jwt)
          return answer.status === door.accepted ? 'accepted' : door.readRefusal(answer)
        }),
      )
      const refused = answers.filter((answer) => answer !== 'accepted')
      assert.deepEqual([...new Set(refused)], ['token_replayed'], String(refused))
      assert.equal(refused.length, 19)
    }
    await replays()
    const [token] = await service.deps.store.listTokens()
    assert.equal(service.gateway.account.keys.size, token?.uses)
  })

  test(`${store}: of 20 fresh tokens of an identity that may have one key, at once, one gets it`, async (t) => {
    const target = await startTarget(t)
    const { service } = await startAttacked(t, await open(t), trustFile(target))
    const [door = assert.fail()] = doors
    const answers = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const answer = await door.send(
          service.url,
          target.issuer.sign({ ...target.claims, jti: randomUUID() }),
        )
        return answer.status === door.accepted ? 'accepted' : door.readRefusal(answer)
      }),
    )
    assert.equal(answers.filter((answer) => answer === 'accepted').length, 1)
    for (const answer of answers)
      assert.ok(
        ['accepted', 'already_registered', 'token_uses_pending', 'idempotency_in_progress'].includes(answer),
        answer,
      )
    assert.equal(service.gateway.account.keys.size, 1)
    assert.equal((await service.deps.store.listTokens())[0]?.uses, 1)
  })

  test(`${store}: a token that looks odd and is right is accepted`, async (t) => {
    const target = await startTarget(t)
    const { service } = await startAttacked(t, await open(t), trustFile(target))
    const [, , exchange = assert.fail()] = doors
    for (const { name, jwt } of oddities) {
      const token = jwt({ ...target, claims: { ...target.claims, jti: randomUUID() } })
      const answer = await exchange.send(service.url, token)
      assert.equal(answer.status, 200, `${name}: ${await answer.text()}`)
    }
  })

  test(`${store}: an issuer’s new key is accepted, its old one is not any more, and a flood of unknown keys asks it once`, async (t) => {
    const target = await startTarget(t)
    const { issuer } = target
    const { service } = await startAttacked(t, await open(t), trustFile(target))
    const [, , exchange = assert.fail()] = doors
    const fresh = () => issuer.sign({ ...target.claims, jti: randomUUID() })
    const old = fresh()
    assert.equal((await exchange.send(service.url, fresh())).status, 200)
    issuer.rotate()
    assert.equal((await exchange.send(service.url, fresh())).status, 200)
    assert.equal(await exchange.readRefusal(await exchange.send(service.url, old)), 'invalid_token')
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        const unknown = issuer.sign(target.claims, { kid: randomUUID() })
        assert.equal(await exchange.readRefusal(await exchange.send(service.url, unknown)), 'invalid_token')
      }),
    )
    assert.ok(issuer.requests.jwks <= 3, `${issuer.requests.jwks} requests of the keys`)
    issuer.behaviour = 'down'
    assert.equal((await exchange.send(service.url, fresh())).status, 200, 'stale keys are used')
  })

  test(`${store}: tokens of an issuer that misbehaves get 503, and cost other callers nothing`, async (t) => {
    const issuers = await Promise.all(
      MISBEHAVIOURS.map(async (behaviour) =>
        Object.assign(await startIssuer(t, { audience: AUDIENCE }), { behaviour }),
      ),
    )
    const evil = await startTarget(t)
    // To another server of this machine, which a redirect or a document must not lead to.
    for (const issuer of issuers)
      if (issuer.behaviour === 'redirecting') issuer.redirectTo = `${evil.evilUrl}/jwks`
    const metadata = await startIssuer(t, { audience: AUDIENCE })
    metadata.behaviour = 'redirecting'
    const all = [...issuers, metadata]
    const grant = { key_ttl: '1h' }
    const trust = {
      audience: AUDIENCE,
      issuers: Object.fromEntries(
        all.map(({ url }, i) => [`i${i}`, { kind: 'oidc', issuer: url, algorithms: ['ES256'] }]),
      ),
      rules: all.map((_, i) => ({ id: `r${i}`, issuer: `i${i}`, match: { sub: 'caller' }, grant })),
    }
    const { service, writes } = await startAttacked(t, await open(t), JSON.stringify(trust))
    let isAnswered = false
    const refused = Promise.all(
      doors.flatMap((door) =>
        all.map(async (issuer) => {
          const answer = await door.send(service.url, issuer.sign())
          assert.equal(answer.status, 503, issuer.behaviour)
          assert.ok(Number(answer.headers.get('retry-after')) > 0)
          assert.equal(await door.readRefusal(answer), 'identity_provider_unavailable')
        }),
      ),
    ).then(() => {
      isAnswered = true
    })
    const { secret } = await service.token()
    assert.equal((await service.register(secret)).status, 201)
    assert.ok(!isAnswered, 'the slow issuer is still awaited')
    await refused
    assert.equal(writes(), 2, 'only for the bootstrap token')
    assert.equal(evil.evilRequests(), 0)
    for (const { behaviour, requests } of all)
      assert.ok(requests.discovery + requests.jwks <= 2, `${behaviour} was asked ${JSON.stringify(requests)}`)
  })

  test(`${store}: a token that is too large is refused at every door`, async (t) => {
    const target = await startTarget(t)
    const { service, writes } = await startAttacked(t, await open(t), trustFile(target))
    for (const size of [12_500, 100_000]) {
      const jwt = target.issuer.sign({ ...target.claims, padding: 'x'.repeat(size) })
      for (const door of doors) {
        // Some are refused before the body, or the rest of the head, has arrived.
        const status = await door.send(service.url, jwt).then(
          (answer) => answer.status,
          (error: Error) => assert.match(String(error.cause), /ECONNRESET|EPIPE|closed/),
        )
        assert.ok(status === undefined || [400, 401, 413, 431].includes(status), `${door.route}: ${status}`)
      }
    }
    assert.equal(writes(), 0)
    assert.deepEqual(await service.deps.store.listTokens(), [])
  })
}
