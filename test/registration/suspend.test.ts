import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, test } from 'node:test'
import type { FaultOrder } from '../../emulator/faults.ts'
import { deleteDueKeys } from '../../src/registration/jobs/delete-keys.ts'
import { createLeaderLease } from '../../src/registration/jobs/leader-lease.ts'
import { switchDueKeys, switchKey } from '../../src/registration/jobs/switch-keys.ts'
import { resume, suspend } from '../../src/registration/suspend.ts'
import { registrationSchema, rotatedSchema } from '../../src/routes/registration-schema.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { faultCounts, faultKinds, faultMoments } from '../support/fault-cases.ts'
import { assertInvariants, fastTiming, runJobsUntilIdle } from '../support/invariants.ts'
import { long } from '../support/long.ts'
import { readProblem } from '../support/problem.ts'
import {
  dataPlane,
  manage,
  type Registered,
  registered,
  type Service,
  startService,
} from '../support/service.ts'

const view = async (service: Service, own: Registered) =>
  registrationSchema.parse(await (await manage(service, own, 'GET')).json())
const rotate = (service: Service, own: Registered, body?: unknown, headers: Record<string, string> = {}) =>
  manage(service, own, 'POST', '/rotate', body, headers)
const codeOf = async (answer: Promise<Response>) => (await readProblem(await answer)).code

test('a suspended registration opens nothing, its owner sees it and cannot undo it; resumed, it works as before', async (t) => {
  const service = await startService(t)
  const headers = { 'idempotency-key': randomUUID() }
  const { secret } = await service.token()
  const own = await registered(service, {}, headers, secret)
  const next = rotatedSchema.parse(
    await (await rotate(service, own, { overlap_seconds: 600 }, headers)).json(),
  )
  await suspend(service.deps, own.registration_id, SERVICE)
  for (const { api_key_value } of [own, next]) assert.equal(await dataPlane(service, api_key_value), 403)
  const { status, live } = await view(service, own)
  assert.deepEqual([status, live], ['suspended', false])

  const minted = service.gateway.account.keys.size
  assert.equal(await codeOf(rotate(service, own)), 'registration_suspended')
  const replay = await rotate(service, own, { overlap_seconds: 600 }, headers)
  assert.equal(replay.status, 403)
  assert.equal((await readProblem(replay)).code, 'registration_suspended')
  assert.equal(service.gateway.account.keys.size, minted)

  await resume(service.deps, own.registration_id, SERVICE)
  for (const { api_key_value } of [own, next]) assert.equal(await dataPlane(service, api_key_value), 200)
  assert.equal((await view(service, own)).status, 'active')
  assert.equal((await rotate(service, own, { overlap_seconds: 600 }, headers)).status, 201)
})

test('a retry of a registration does not receive a suspended key', async (t) => {
  const service = await startService(t)
  const headers = { 'idempotency-key': randomUUID() }
  const { secret } = await service.token()
  const own = await registered(service, {}, headers, secret)
  await suspend(service.deps, own.registration_id, SERVICE)
  assert.equal(await codeOf(service.register(secret, undefined, headers)), 'registration_suspended')
  await resume(service.deps, own.registration_id, SERVICE)
  assert.equal((await registered(service, {}, headers, secret)).api_key_value, own.api_key_value)
})

test('a suspended registration can be revoked by its owner, and expires', async (t) => {
  let late = 0
  const service = await startService(t, { clock: () => Date.now() + late, timing: fastTiming })
  const [revoked, expired] = [await registered(service), await registered(service, { keyTtlMs: 60_000 })]
  for (const { registration_id } of [revoked, expired]) await suspend(service.deps, registration_id, SERVICE)
  assert.equal((await manage(service, revoked, 'DELETE')).status, 204)
  late = 60_001
  await deleteDueKeys(service.deps, createLeaderLease(service.deps))
  assert.equal(service.gateway.account.keys.size, 0)
  assert.deepEqual((await view(service, revoked)).status, 'revoked')
  assert.deepEqual((await view(service, expired)).status, 'expired')
})

test('a rotation that is being minted while its registration is suspended is undone', async (t) => {
  const service = await startService(t, {
    timing: fastTiming,
    gateway: { latency: { CreateUsagePlanKey: 20 } },
  })
  const own = await registered(service)
  let suspending: Promise<unknown> = Promise.resolve()
  service.gateway.onCall = (operation, moment) => {
    if (operation === 'CreateUsagePlanKey' && moment === 'arrived')
      suspending = suspend(service.deps, own.registration_id, SERVICE)
  }
  assert.notEqual((await rotate(service, own)).status, 201)
  await suspending
  await runJobsUntilIdle(service)
  await assertInvariants(service.gateway, service.deps.store, [own])
  assert.equal(service.gateway.account.keys.size, 1)
  assert.equal(service.gateway.account.key(own.api_key_id).enabled, false)
})

test('the leader finishes a suspension that was only recorded, and none other', async (t) => {
  const service = await startService(t, { timing: fastTiming })
  const [own, other] = [await registered(service), await registered(service)]
  const { store } = service.deps
  const leaderLease = createLeaderLease(service.deps)
  for (const suspended of [true, false]) {
    await store.setSuspended(own.registration_id, suspended, SERVICE, Date.now())
    await switchDueKeys(service.deps, leaderLease)
    assert.equal(service.gateway.account.key(own.api_key_id).enabled, !suspended)
    assert.equal(service.gateway.account.key(other.api_key_id).enabled, true)
  }
  await switchDueKeys(service.deps, leaderLease)
  assert.equal(service.gateway.answers['UpdateApiKey']?.[200], 2)
})

test('a key that is resumed while it is being disabled is enabled in the end', async (t) => {
  const service = await startService(t, { gateway: { latency: { UpdateApiKey: 50 } } })
  const own = await registered(service)
  const { store, apiGateway } = service.deps
  const [record] = await store.setSuspended(own.registration_id, true, SERVICE, Date.now())
  assert.ok(record)
  let resuming: Promise<unknown> | undefined
  service.gateway.onCall = (_operation, moment) => {
    if (moment === 'arrived') resuming ??= store.setSuspended(own.registration_id, false, SERVICE, Date.now())
  }
  await switchKey(service.deps, apiGateway, record)
  await resuming
  assert.equal(service.gateway.account.key(own.api_key_id).enabled, true)
  assert.deepEqual(await store.listSwitches(Date.now() + 9e6, 9), [])
})

describe('fault matrix of suspensions: the owner cannot rotate from the first record on, and the jobs finish what failed', {
  ...long,
  concurrency: 4,
}, () => {
  for (const when of faultMoments)
    for (const kind of faultKinds)
      for (const times of faultCounts) {
        const fault: FaultOrder = { operation: 'UpdateApiKey', when, kind, times }
        test(`${kind} ${when} the effect, ${times} times`, async (t) => {
          const service = await startService(t, { timing: fastTiming })
          const own = await registered(service)
          service.gateway.faults.order(fault)
          await suspend(service.deps, own.registration_id, SERVICE).catch(() => undefined)
          assert.equal((await view(service, own)).status, 'suspended')
          assert.equal(await codeOf(rotate(service, own)), 'registration_suspended')
          await runJobsUntilIdle(service)
          await assertInvariants(service.gateway, service.deps.store, [own])
          assert.equal(await dataPlane(service, own.api_key_value), 403)
          service.gateway.faults.order(fault)
          await resume(service.deps, own.registration_id, SERVICE).catch(() => undefined)
          await runJobsUntilIdle(service)
          await assertInvariants(service.gateway, service.deps.store, [own])
          assert.equal(await dataPlane(service, own.api_key_value), 200)
        })
      }
})
