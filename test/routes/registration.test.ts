import assert from 'node:assert/strict'
import { test } from 'node:test'
import { registrationSchema } from '../../src/routes/registration-schema.ts'
import { rejectsOtherOwners } from '../support/management-cases.ts'
import { readProblem } from '../support/problem.ts'
import { dataPlane, manage, registered, startService } from '../support/service.ts'

const DAY_MS = 86_400_000

const viewed = async (answer: Promise<Response>) => registrationSchema.parse(await (await answer).json())

for (const [method, path] of [
  ['GET', ''],
  ['DELETE', ''],
  ['POST', '/rotate'],
] as const) {
  rejectsOtherOwners(`${method} /register/{id}${path}`, ({ url }, { registration_id }, authorization) =>
    fetch(`${url}/register/${registration_id}${path}`, {
      method,
      headers: authorization === null ? {} : { authorization },
    }),
  )
}

test('GET returns everything but the secrets, and whether API Gateway has the key', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  const answer = await manage(service, own, 'GET')
  assert.equal(answer.status, 200)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  const text = await answer.text()
  assert.ok(!text.includes(own.api_key_value) && !text.includes(own.management.token))
  const { created_at, ...body } = JSON.parse(text)
  assert.ok(Date.parse(created_at) <= Date.now())
  assert.deepEqual(body, {
    registration_id: own.registration_id,
    name: 'acme-agent',
    description: '',
    plan: 'free',
    usage_plan_id: 'demofree',
    status: 'active',
    expires_at: null,
    expires_soon: false,
    api_key_id: own.api_key_id,
    live: true,
    ready: null,
    rotation: { rotated_at: null, overlapping: null },
  })
})

test('GET reports a key that was deleted in AWS as not live, and null if AWS does not respond with its state', async (t) => {
  const service = await startService(t)
  const [gone, unknown] = [await registered(service), await registered(service)]
  service.gateway.account.deleteKey(gone.api_key_id)
  const first = await viewed(manage(service, gone, 'GET'))
  assert.deepEqual([first.status, first.live], ['active', false])
  service.gateway.faults.order({ operation: 'GetApiKey', when: 'before', kind: 'denied', times: 9 })
  const second = await viewed(manage(service, unknown, 'GET'))
  assert.deepEqual([second.status, second.live], ['active', null])
})

test('GET flags a key that expires soon', async (t) => {
  let now = Date.now()
  const service = await startService(t, { clock: () => now })
  const own = await registered(service, { keyTtlMs: 10 * DAY_MS })
  const soon = async () => (await viewed(manage(service, own, 'GET'))).expires_soon
  assert.equal(await soon(), false)
  now += 9 * DAY_MS - 1
  assert.equal(await soon(), false)
  now += 2
  assert.equal(await soon(), true)
  now += DAY_MS
  const after = await viewed(manage(service, own, 'GET'))
  assert.deepEqual([after.status, after.expires_soon], ['expired', false])
})

test('when DELETE returns 204, the key is deleted in AWS; a repeated DELETE returns 204, too', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  assert.equal(await dataPlane(service, own.api_key_value), 200)
  for (let i = 0; i < 2; i++) {
    const answer = await manage(service, own, 'DELETE')
    assert.equal(answer.status, 204)
    assert.equal(await answer.text(), '')
    assert.equal(service.gateway.account.keys.size, 0)
  }
  assert.equal(await dataPlane(service, own.api_key_value), 403)
  const view = await viewed(manage(service, own, 'GET'))
  assert.deepEqual([view.status, view.live], ['revoked', false])
})

test('GET right after DELETE does not report the key as live from a cached result', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  assert.equal((await viewed(manage(service, own, 'GET'))).live, true)
  assert.equal((await manage(service, own, 'DELETE')).status, 204)
  assert.equal((await viewed(manage(service, own, 'GET'))).live, false)
})

test('a content type without a body counts as no body', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  const headers = { 'content-type': 'application/json' }
  assert.equal((await manage(service, own, 'POST', '/rotate', undefined, headers)).status, 201)
  assert.equal((await manage(service, own, 'DELETE', '', undefined, headers)).status, 204)
})

test('if API Gateway fails during DELETE, the response is 503, the key is not replayed, and a retry deletes it', async (t) => {
  const service = await startService(t)
  const headers = { 'idempotency-key': 'e3b0c442-98fc-4c14' }
  const { secret } = await service.token()
  const own = await registered(service, {}, headers, secret)
  service.gateway.faults.order({ operation: 'DeleteApiKey', when: 'before', kind: 'fail', times: 9 })
  const answer = await manage(service, own, 'DELETE')
  assert.equal(answer.status, 503)
  assert.ok(answer.headers.has('retry-after'))
  assert.equal((await viewed(manage(service, own, 'GET'))).status, 'revoked')
  const replay = await readProblem(await service.register(secret, undefined, headers))
  assert.equal(replay.code, 'registration_ended')
  assert.equal(
    (await service.deps.store.getRegistration(own.registration_id))?.failure,
    'upstream_unavailable',
  )
  service.gateway.faults.clear()
  assert.equal((await manage(service, own, 'DELETE')).status, 204)
  assert.equal(service.gateway.account.keys.size, 0)
})

test('each registration accepts 60 management requests a minute; other registrations are not affected', async (t) => {
  const service = await startService(t)
  const [own, other] = [await registered(service), await registered(service)]
  const answers = await Promise.all(Array.from({ length: 65 }, () => manage(service, own, 'GET')))
  assert.equal(answers.filter(({ status }) => status === 200).length, 60)
  assert.equal((await manage(service, other, 'GET')).status, 200)
  assert.equal(service.gateway.answers['GetApiKey']?.[200], 2, 'concurrent requests share one look-up')
})
