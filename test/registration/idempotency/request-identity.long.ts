import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readIdempotencyKey } from '../../../src/http/idempotency-key.ts'
import { recover } from '../../../src/registration/jobs/recover.ts'
import { SERVICE } from '../../../src/store/audit.ts'
import {
  assertInvariants,
  fastTiming,
  type ReceivedCredential,
  runJobsUntilIdle,
} from '../../support/invariants.ts'
import { readProblem } from '../../support/problem.ts'
import { startService } from '../../support/service.ts'

const body = { name: 'acme-agent', description: 'nightly' }
/** The headers of a request with an Idempotency-Key. */
const idempotent = (key: string = randomUUID()) => ({ 'idempotency-key': key })

test('invariant 4: a retry gets the same bytes, marked as a replay', async (t) => {
  const { token, register, gateway, deps } = await startService(t)
  const { secret, token: issued } = await token({ maxUses: 1 })
  const key = randomUUID()

  const first = await register(secret, body, idempotent(key))
  const again = await register(secret, body, idempotent(`"${key}"`))

  assert.deepEqual([first.status, again.status], [201, 201])
  assert.equal(first.headers.get('idempotency-replayed'), null)
  assert.equal(again.headers.get('idempotency-replayed'), 'true')
  assert.equal(again.headers.get('location'), first.headers.get('location'))
  assert.equal(await again.text(), await first.text())
  assert.equal(gateway.account.keys.size, 1)
  assert.equal((await deps.store.getToken(issued.id))?.uses, 1)
})

test('a replay has the media type that the retry accepts', async (t) => {
  const { token, register } = await startService(t)
  const { secret } = await token()
  const headers = idempotent()
  const first = (await (await register(secret, body, headers)).json()) as ReceivedCredential
  const text = await (await register(secret, body, { ...headers, accept: 'text/plain' })).text()
  assert.match(text, RegExp(`^FIRSTKEY_API_KEY=${first.api_key_value}$`, 'm'))
})

test('concurrent duplicates wait for the first request and get its response: one key, one use', async (t) => {
  const { token, register, gateway } = await startService(t, { gateway: { latency: { CreateApiKey: 50 } } })
  const { secret } = await token({ maxUses: 1 })
  const headers = idempotent()
  const answers = await Promise.all(Array.from({ length: 20 }, () => register(secret, body, headers)))
  const bodies = new Set(await Promise.all(answers.map((answer) => answer.text())))
  assert.ok(answers.every(({ status }) => status === 201))
  assert.equal(bodies.size, 1)
  assert.equal(answers.filter(({ headers }) => headers.has('idempotency-replayed')).length, 19)
  assert.equal(gateway.account.keys.size, 1)
})

test('another body with the same Idempotency-Key is rejected, during the first request and after it', async (t) => {
  const { token, register, gateway } = await startService(t, { gateway: { latency: { CreateApiKey: 100 } } })
  const { secret } = await token()
  const headers = idempotent()
  const running = register(secret, body, headers)
  await new Promise<void>((resolve) => {
    gateway.onCall = () => resolve()
  })
  const others = [{ ...body, name: 'other' }, { ...body, plan: 'free' }, { name: body.name }]
  for (const other of others) {
    const refused = await register(secret, other, headers)
    assert.equal(refused.status, 422)
    assert.equal((await readProblem(refused)).code, 'idempotency_mismatch')
  }
  assert.equal((await running).status, 201)
  assert.equal((await register(secret, others[0], headers)).status, 422)
  assert.equal(gateway.account.keys.size, 1)
})

test('an Idempotency-Key is scoped to its token', async (t) => {
  const { token, register, gateway } = await startService(t)
  const [one, two] = [await token(), await token()]
  const headers = idempotent()
  const values = [one, two].map(
    async ({ secret }) =>
      ((await (await register(secret, body, headers)).json()) as ReceivedCredential).api_key_value,
  )
  assert.notEqual(await values[0], await values[1])
  assert.equal(gateway.account.keys.size, 2)
})

test('while another process works on the request, a retry is rejected with idempotency_in_progress; afterwards it is replayed', async (t) => {
  const one = await startService(t, { gateway: { latency: { CreateApiKey: 200 } } })
  const two = await startService(t, { beside: one })
  const { secret } = await one.token({ maxUses: 1 })
  const headers = idempotent()
  const running = one.register(secret, body, headers)
  await new Promise<void>((resolve) => {
    one.gateway.onCall = () => resolve()
  })
  const early = await two.register(secret, body, headers)
  assert.equal(early.status, 409)
  assert.equal(early.headers.get('retry-after'), '5', 'by then it is done, or its lease has expired')
  assert.equal((await readProblem(early)).code, 'idempotency_in_progress')
  const first = await (await running).text()
  const replayed = await two.register(secret, body, headers)
  assert.equal(replayed.headers.get('idempotency-replayed'), 'true')
  assert.equal(await replayed.text(), first)
})

test('a used-up or expired token can retry its earlier requests, a revoked one cannot', async (t) => {
  let now = Date.now()
  const { token, register, deps } = await startService(t, { clock: () => now })
  const { secret, token: issued } = await token({ maxUses: 1, expiresAt: now + 60_000 })
  const headers = idempotent()
  const first = await (await register(secret, body, headers)).text()
  now += 61_000
  assert.equal((await register(secret, body, idempotent())).status, 401)
  assert.equal(await (await register(secret, body, headers)).text(), first)

  await deps.store.revokeToken(issued.id, SERVICE, now)
  const refused = await register(secret, body, headers)
  assert.equal((await readProblem(refused)).code, 'token_revoked')
  const [registration] = await deps.store.listRegistrations({ limit: 1 })
  assert.equal(registration?.idempotency, null, 'the sealed secrets are forgotten')
  assert.equal(registration?.status, 'active', 'the key stays')
})

test('after 24 hours an Idempotency-Key is forgotten, and the same request is a new one', async (t) => {
  let now = Date.now()
  const service = await startService(t, { clock: () => now })
  const { secret } = await service.token()
  const headers = idempotent()
  const first = (await (await service.register(secret, body, headers)).json()) as ReceivedCredential
  now += 24 * 3_600_000 + 1 // No job has run since.
  const second = (await (await service.register(secret, body, headers)).json()) as ReceivedCredential
  assert.notEqual(second.api_key_value, first.api_key_value)
  assert.equal(await (await service.register(secret, body, headers)).text(), JSON.stringify(second))
  await assertInvariants(service.gateway, service.deps.store, [first, second])
})

test('at the deadline the response is 503 with Retry-After, minting continues, and the retry gets the key', async (t) => {
  const service = await startService(t, {
    env: { REGISTER_TIMEOUT_MS: '1000' },
    gateway: { latency: { CreateUsagePlanKey: 1_300 } },
  })
  const { secret } = await service.token({ maxUses: 1 })
  const headers = idempotent()
  const late = await service.register(secret, body, headers)
  assert.equal(late.status, 503)
  assert.ok(Number(late.headers.get('retry-after')) > 0)
  const retry = await service.register(secret, body, headers)
  assert.equal(retry.status, 201)
  assert.equal(retry.headers.get('idempotency-replayed'), 'true')
  await assertInvariants(service.gateway, service.deps.store, [(await retry.json()) as ReceivedCredential])
})

test('a caller that disconnects gets its registration with a retry', async (t) => {
  const service = await startService(t, { gateway: { latency: { CreateUsagePlanKey: 100 } } })
  const { secret } = await service.token({ maxUses: 1 })
  const headers = idempotent()
  const caller = new AbortController()
  service.gateway.onCall = (operation) => operation === 'CreateUsagePlanKey' && caller.abort()
  await assert.rejects(
    fetch(`${service.url}/register`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
      signal: caller.signal,
    }),
  )
  await service.deps.inFlight.settled()
  const [waiting] = await service.deps.store.listRegistrations({ limit: 1 })
  assert.deepEqual([waiting?.status, waiting?.answeredAt], ['active', null])
  const retry = await service.register(secret, body, headers)
  assert.equal(retry.headers.get('idempotency-replayed'), 'true')
  await assertInvariants(service.gateway, service.deps.store, [(await retry.json()) as ReceivedCredential])
})

test('invariant 2: a key that is not retried for 24 hours is deleted, and its use is refunded', async (t) => {
  let now = Date.now()
  const service = await startService(t, {
    env: { REGISTER_TIMEOUT_MS: '1000' },
    gateway: { latency: { CreateUsagePlanKey: 1_100 } },
    clock: () => now,
  })
  const { secret, token } = await service.token({ maxUses: 1 })
  assert.equal((await service.register(secret, body, idempotent())).status, 503)
  await service.deps.inFlight.settled()
  assert.equal(service.gateway.account.keys.size, 1)
  now += 24 * 3_600_000 + 1
  await service.deps.store.forgetIdempotency(now - service.deps.timing.idempotency)
  await recover(service.deps)
  assert.equal(service.gateway.account.keys.size, 0)
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 0)
})

test('a key that is created late, after its registration was undone, is deleted', async (t) => {
  const service = await startService(t, { timing: fastTiming })
  const { secret } = await service.token({ maxUses: 1 })
  service.gateway.faults.order({ operation: 'CreateApiKey', when: 'before', kind: 'cut', times: 3 })
  assert.equal((await service.register(secret, body)).status, 503)
  const [failed] = await service.deps.store.listRegistrations({ limit: 1 })
  assert.equal(failed?.status, 'failed')
  // API Gateway carries out the accepted call only now.
  service.gateway.account.createKey({
    name: `${failed?.id} ${body.name}`,
    value: 'L'.repeat(40),
    enabled: true,
  })
  await runJobsUntilIdle(service)
  assert.equal(service.gateway.account.keys.size, 0)
})

test('a copy of the database reveals no API key, no token and no Idempotency-Key', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const key = randomUUID()
  const answer = (await (
    await service.register(secret, body, idempotent(key))
  ).json()) as ReceivedCredential & {
    management: { token: string }
  }
  const files = ['firstkey.db', 'firstkey.db-wal'].map((file) =>
    readFileSync(join(service.dataDir, file), 'latin1'),
  )
  assert.ok(files.join('').includes(answer.registration_id), 'the files contain the record')
  for (const hidden of [secret, key, answer.api_key_value, answer.management.token]) {
    assert.ok(!files.join('').includes(hidden))
  }
})

test('an Idempotency-Key has 16 to 255 visible characters, bare or quoted', async (t) => {
  assert.equal(readIdempotencyKey(undefined), undefined)
  assert.equal(readIdempotencyKey('a'.repeat(16)), 'a'.repeat(16))
  assert.equal(readIdempotencyKey(`"${'a'.repeat(16)}"`), 'a'.repeat(16))
  assert.equal(readIdempotencyKey(`"a\\"${'b'.repeat(16)}\\\\"`), `a"${'b'.repeat(16)}\\`)
  const { token, register, gateway } = await startService(t)
  const { secret } = await token()
  for (const wrong of [
    '',
    'short',
    'a'.repeat(15),
    'a'.repeat(256),
    'with a space in it',
    '"unclosed-quoted-text',
    'quote"in-the-middle',
  ]) {
    const refused = await register(secret, body, { 'idempotency-key': wrong })
    assert.equal(refused.status, 400, wrong)
    assert.equal((await readProblem(refused)).code, 'invalid_idempotency_key')
  }
  assert.equal((await register(secret, body, idempotent('a'.repeat(255)))).status, 201)
  assert.equal(gateway.account.keys.size, 1)
})
