import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { deleteDueKeys } from '../../src/registration/jobs/delete-keys.ts'
import { createLeaderLease } from '../../src/registration/jobs/leader-lease.ts'
import { recover } from '../../src/registration/jobs/recover.ts'
import { startScheduler } from '../../src/registration/jobs/scheduler.ts'
import { registrationSchema, rotatedSchema } from '../../src/routes/registration-schema.ts'
import { fastTiming } from '../support/invariants.ts'
import { readProblem } from '../support/problem.ts'
import {
  dataPlane,
  manage,
  type Registered,
  registered,
  type Service,
  startService,
} from '../support/service.ts'

const HOUR_MS = 3_600_000

const rotate = (
  service: Pick<Service, 'url'>,
  own: Registered,
  body?: unknown,
  headers?: Record<string, string>,
  signal?: AbortSignal,
) => manage(service, own, 'POST', '/rotate', body, headers, signal)

const viewed = async (answer: Promise<Response>) => registrationSchema.parse(await (await answer).json())

const rotated = async (answer: Promise<Response>) => rotatedSchema.parse(await (await answer).json())

test('after a rotation the new key works at once, the old one until the overlap ends; the management token stays', async (t) => {
  let now = Date.now()
  const service = await startService(t, { clock: () => now, timing: fastTiming })
  const leaderLease = createLeaderLease(service.deps)
  const own = await registered(service, { maxUses: 1 })
  const answer = await rotate(service, own, { overlap_seconds: 7_200 })
  assert.equal(answer.status, 201)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  const next = rotatedSchema.parse(await answer.json())
  assert.equal(next.registration_id, own.registration_id)
  assert.notEqual(next.api_key_value, own.api_key_value)
  assert.deepEqual(next.management, { url: own.management.url })
  const endsAt = new Date(now + 2 * HOUR_MS).toISOString()
  assert.deepEqual(next.replaced, { api_key_id: own.api_key_id, ends_at: endsAt })

  const view = await viewed(manage(service, own, 'GET'))
  assert.deepEqual([view.status, view.live, view.api_key_id], ['active', true, next.api_key_id])
  assert.deepEqual(view.rotation.overlapping, { api_key_id: own.api_key_id, ends_at: endsAt })
  assert.deepEqual(
    [await dataPlane(service, own.api_key_value), await dataPlane(service, next.api_key_value)],
    [200, 200],
  )
  now += 2 * HOUR_MS - 1
  await deleteDueKeys(service.deps, leaderLease)
  assert.equal(await dataPlane(service, own.api_key_value), 200)
  now += 2
  await deleteDueKeys(service.deps, leaderLease)
  assert.deepEqual(
    [await dataPlane(service, own.api_key_value), await dataPlane(service, next.api_key_value)],
    [403, 200],
  )
  const after = await viewed(manage(service, own, 'GET'))
  assert.deepEqual([after.status, after.rotation.overlapping], ['active', null])
  const [token] = await service.deps.store.listTokens()
  assert.equal(token?.uses, 1, 'a rotation costs no use')
})

test('a second rotation during an overlap deletes the oldest key', async (t) => {
  const service = await startService(t, { timing: fastTiming })
  const leaderLease = createLeaderLease(service.deps)
  const own = await registered(service)
  const second = await rotated(rotate(service, own))
  const third = await rotated(rotate(service, own))
  await deleteDueKeys(service.deps, leaderLease)
  const works = await Promise.all(
    [own, second, third].map(({ api_key_value }) => dataPlane(service, api_key_value)),
  )
  assert.deepEqual(works, [403, 200, 200])
  assert.equal(third.replaced?.api_key_id, second.api_key_id)
})

test('the overlap ends when the old key expires; the new key has its own lifetime', async (t) => {
  const now = Date.now()
  const service = await startService(t, { clock: () => now })
  const own = await registered(service, { keyTtlMs: HOUR_MS })
  const next = await rotated(rotate(service, own, { overlap_seconds: 7_200 }))
  assert.equal(next.replaced?.ends_at, own.expires_at)
  assert.equal(next.expires_at, new Date(now + HOUR_MS).toISOString())
})

test('a retry of a rotation returns the same credential, even after it renewed the management token', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  const headers = { 'idempotency-key': randomUUID() }
  const body = { overlap_seconds: 0, management_token: true }
  const first = await rotated(rotate(service, own, body, headers))
  const renewedToken = first.management.token ?? ''
  assert.match(renewedToken, /^fkm_/)
  assert.notEqual(renewedToken, own.management.token)
  const again = await rotate(service, own, body, headers)
  assert.equal(again.status, 201)
  assert.equal(again.headers.get('idempotency-replayed'), 'true')
  assert.deepEqual(
    { ...rotatedSchema.parse(await again.json()), replaced: null },
    { ...first, replaced: null },
  )
  assert.equal(
    (await readProblem(await rotate(service, own, undefined, headers))).code,
    'idempotency_mismatch',
  )

  // The old management token is accepted only for that retry.
  assert.equal((await manage(service, own, 'GET')).status, 401)
  assert.equal((await manage(service, own, 'DELETE')).status, 401)
  assert.equal((await rotate(service, own)).status, 401)
  const other = { 'idempotency-key': randomUUID() }
  assert.equal((await rotate(service, own, body, other)).status, 401)
  const renewed = { ...own, management: { ...own.management, token: renewedToken } }
  assert.equal((await manage(service, renewed, 'GET')).status, 200)
  await deleteDueKeys(service.deps, createLeaderLease(service.deps))
  assert.equal((await rotate(service, renewed)).status, 201)
})

test('a registration is not rotated while an earlier key of it waits for its deletion', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  await rotated(rotate(service, own, { overlap_seconds: 0 }))
  const answer = await rotate(service, own, { overlap_seconds: 0 })
  assert.equal(answer.status, 409)
  const problem = await readProblem(answer)
  assert.equal(problem.code, 'rotation_in_progress')
  assert.match(problem.detail, /still being deleted/)
  assert.equal(answer.headers.get('retry-after'), '7')
  assert.equal(service.gateway.account.keys.size, 2)
  await deleteDueKeys(service.deps, createLeaderLease(service.deps))
  await rotated(rotate(service, own, { overlap_seconds: 0 }))
})

test('a rotation that waits for a deletion succeeds after Retry-After, however many keys are deleted before', async (t) => {
  const timing = { ...fastTiming, end: 500, endSpacing: 200, upstreamCall: 5_000 }
  const service = await startService(t, { timing })
  const { secret } = await service.token()
  const owners = await Promise.all(Array.from({ length: 10 }, () => registered(service, {}, {}, secret)))
  for (const own of owners) await rotated(rotate(service, own, { overlap_seconds: 0 }))
  const background = startScheduler(service.deps)
  const answers = owners.map(async (own) => {
    const { retry_after } = await readProblem(await rotate(service, own))
    await sleep((retry_after ?? 0) * 1_000)
    return (await rotate(service, own)).status
  })
  assert.deepEqual(new Set(await Promise.all(answers)), new Set([201]))
  await background.stop()
})

test('Retry-After of a rotation allows for a deletion that failed', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  await rotated(rotate(service, own, { overlap_seconds: 0 }))
  service.gateway.faults.order({ operation: 'DeleteApiKey', when: 'before', kind: 'refused' })
  await deleteDueKeys(service.deps, createLeaderLease(service.deps))
  const { code, retry_after } = await readProblem(await rotate(service, own))
  assert.deepEqual([code, retry_after], ['rotation_in_progress', 21])
})

test('an expired key is deleted before the keys that others rotated away', async (t) => {
  let now = Date.now()
  const service = await startService(t, { clock: () => now++, timing: { ...fastTiming, endSpacing: 50 } })
  const replaced = []
  for (let i = 0; i < 4; i++) {
    const own = await registered(service)
    await rotated(rotate(service, own, { overlap_seconds: 0 }))
    replaced.push(own)
  }
  const expired = await registered(service, { keyTtlMs: HOUR_MS })
  now += HOUR_MS
  await deleteDueKeys(service.deps, createLeaderLease(service.deps))
  const [first, ...others] = await Promise.all(
    [expired, ...replaced].map(
      async ({ registration_id }) =>
        (await service.deps.store.getRegistration(registration_id))?.endedAt ?? 0,
    ),
  )
  assert.ok(
    others.every((endedAt) => Number(first) < endedAt),
    String([first, ...others]),
  )
})

test('a rotation whose response is lost does not affect the current key, and its retry returns the new one', async (t) => {
  const service = await startService(t, {
    timing: fastTiming,
    gateway: { latency: { CreateUsagePlanKey: 50 } },
  })
  const leaderLease = createLeaderLease(service.deps)
  const own = await registered(service)
  const headers = { 'idempotency-key': randomUUID() }
  const client = new AbortController()
  service.gateway.onCall = (operation) => {
    if (operation === 'CreateUsagePlanKey') client.abort()
  }
  await assert.rejects(rotate(service, own, { overlap_seconds: 0 }, headers, client.signal))
  await service.deps.inFlight.settled()
  assert.equal(service.gateway.account.keys.size, 2)
  await recover(service.deps)
  await deleteDueKeys(service.deps, leaderLease)
  assert.equal(await dataPlane(service, own.api_key_value), 200, 'the current key still works')
  const retry = await rotate(service, own, { overlap_seconds: 0 }, headers)
  assert.equal(retry.status, 201)
  const next = rotatedSchema.parse(await retry.json())
  await deleteDueKeys(service.deps, leaderLease)
  assert.deepEqual(
    [await dataPlane(service, own.api_key_value), await dataPlane(service, next.api_key_value)],
    [403, 200],
  )
})

test('a rotation of a revoked or expired registration is rejected, and mints no key', async (t) => {
  let now = Date.now()
  const service = await startService(t, { clock: () => now })
  const revoked = await registered(service)
  await manage(service, revoked, 'DELETE')
  const expired = await registered(service, { keyTtlMs: HOUR_MS })
  now += HOUR_MS
  for (const own of [revoked, expired]) {
    const answer = await rotate(service, own)
    assert.equal(answer.status, 409)
    const problem = await readProblem(answer)
    assert.equal(problem.code, 'registration_ended')
    assert.equal(problem.retryable, false)
  }
  assert.equal(service.gateway.answers['CreateApiKey']?.[201], 2)
})

test('overlaps out of range and unknown fields are rejected, and mint no key', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  for (const body of [
    { overlap_seconds: -1 },
    { overlap_seconds: 7 * 86_400 + 1 },
    { overlap_seconds: 1.5 },
    { overlap_seconds: '60' },
    { overlap: 60 },
    { management_token: 'yes' },
    [],
    'x',
  ]) {
    const answer = await rotate(service, own, body)
    assert.equal(answer.status, 400, JSON.stringify(body))
    assert.equal((await readProblem(answer)).code, 'invalid_request')
  }
  assert.equal(service.gateway.account.keys.size, 1)
  assert.equal((await rotate(service, own, { overlap_seconds: 7 * 86_400 })).status, 201)
})

test('if a revocation and a rotation race, no key is left, whichever wins', async (t) => {
  const service = await startService(t, {
    timing: fastTiming,
    gateway: { latency: { CreateUsagePlanKey: 20 } },
  })
  for (let i = 0; i < 10; i++) {
    const own = await registered(service)
    const rotating = rotate(service, own, { overlap_seconds: 60 })
    await new Promise((resolve) => setTimeout(resolve, i * 4))
    assert.equal((await manage(service, own, 'DELETE')).status, 204)
    const { status } = await rotating
    assert.ok([201, 409, 503].includes(status), String(status))
  }
  await service.deps.inFlight.settled()
  await recover(service.deps)
  assert.equal(service.gateway.account.keys.size, 0)
})

test('concurrent rotations run one at a time, and only the latest key and its predecessor remain', async (t) => {
  const service = await startService(t, { timing: fastTiming })
  const leaderLease = createLeaderLease(service.deps)
  const own = await registered(service)
  const answers = await Promise.all(Array.from({ length: 5 }, () => rotate(service, own)))
  const won = answers.filter(({ status }) => status === 201)
  assert.ok(won.length >= 1)
  for (const answer of answers.filter(({ status }) => status !== 201)) {
    assert.equal((await readProblem(answer)).code, 'rotation_in_progress')
    assert.ok(answer.headers.has('retry-after'))
  }
  await deleteDueKeys(service.deps, leaderLease)
  assert.equal(service.gateway.account.keys.size, 2)
})

test('a retry does not return a key that has been rotated since, but the next step', async (t) => {
  const service = await startService(t)
  const headers = { 'idempotency-key': randomUUID() }
  const { secret } = await service.token()
  const own = await registered(service, {}, headers, secret)
  const first = { 'idempotency-key': randomUUID() }
  await rotated(rotate(service, own, undefined, first))
  const late = await readProblem(await service.register(secret, undefined, headers))
  assert.equal(late.code, 'key_replaced')
  assert.match(late.next_step, /latest rotation/)
  assert.equal((await rotate(service, own, undefined, first)).status, 201)
  await rotated(rotate(service, own))
  assert.equal((await readProblem(await rotate(service, own, undefined, first))).code, 'key_replaced')
})

test('a retry does not return a key that has expired, even if it is not deleted yet', async (t) => {
  let now = Date.now()
  const service = await startService(t, { clock: () => now })
  const headers = { 'idempotency-key': randomUUID() }
  const { secret } = await service.token({ keyTtlMs: HOUR_MS })
  await registered(service, {}, headers, secret)
  now += HOUR_MS
  assert.equal(
    (await readProblem(await service.register(secret, undefined, headers))).code,
    'registration_ended',
  )
})

test('the management token is renewed only with an Idempotency-Key, so that a lost response can be recovered', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  const answer = await rotate(service, own, { management_token: true })
  assert.equal(answer.status, 400)
  assert.equal((await readProblem(answer)).code, 'invalid_idempotency_key')
  assert.equal(service.gateway.account.keys.size, 1)
})

test('if a registration expires before a lost rotation is retried, the retry is rejected and the new key is deleted', async (t) => {
  let now = Date.now()
  const gateway = { latency: { CreateUsagePlanKey: 50 } }
  const service = await startService(t, { clock: () => now, timing: fastTiming, gateway })
  const leaderLease = createLeaderLease(service.deps)
  const own = await registered(service, { keyTtlMs: HOUR_MS })
  now += HOUR_MS / 2
  const headers = { 'idempotency-key': randomUUID() }
  const client = new AbortController()
  service.gateway.onCall = (operation) => {
    if (operation === 'CreateUsagePlanKey') client.abort()
  }
  await assert.rejects(rotate(service, own, undefined, headers, client.signal))
  await service.deps.inFlight.settled()
  now += HOUR_MS / 2
  await deleteDueKeys(service.deps, leaderLease)
  assert.equal((await readProblem(await rotate(service, own, undefined, headers))).code, 'registration_ended')
  await recover(service.deps)
  assert.equal(service.gateway.account.keys.size, 0)
})
