import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, type TestContext, test } from 'node:test'
import type { FaultOrder } from '../../emulator/faults.ts'
import type { OperationName } from '../../emulator/operation-names.ts'
import { deleteDueKeys } from '../../src/registration/jobs/delete-keys.ts'
import { createLeaderLease } from '../../src/registration/jobs/leader-lease.ts'
import { usageSchema } from '../../src/routes/usage-schema.ts'
import {
  assertErrorResponse,
  faultCases,
  faultCounts,
  faultKinds,
  faultMoments,
  type MintMode,
} from '../support/fault-cases.ts'
import {
  assertInvariants,
  fastTiming,
  type ReceivedCredential,
  runJobsUntilIdle,
} from '../support/invariants.ts'
import { dataPlane, manage, registered, type Service, startService } from '../support/service.ts'

/** The operations of a rotation, for each way to mint; the last two of `single` belong to undoing. */
const operations = {
  single: ['CreateApiKey', 'CreateUsagePlanKey', 'GetUsage', 'GetApiKeys', 'DeleteApiKey'],
  bulk: ['ImportApiKeys', 'GetUsagePlanKeys', 'UpdateUsage'],
} as const satisfies Record<MintMode, readonly OperationName[]>

function start(t: TestContext, mode: MintMode = 'single'): Promise<Service> {
  const env = { REGISTER_TIMEOUT_MS: '4000', MINT_MODE: mode }
  return startService(t, { env, timing: fastTiming })
}

describe('fault matrix of rotations: the present key works until a caller receives the new one, and no key is left over', {
  concurrency: 8,
}, () => {
  for (const { name, mode, fault, isIdempotent } of faultCases(operations))
    test(name, (t) => rotateUnder(t, mode, fault, isIdempotent))
})

async function rotateUnder(
  t: TestContext,
  mode: MintMode,
  fault: FaultOrder,
  isIdempotent: boolean,
): Promise<void> {
  const dayOfStart = new Date().toISOString().slice(0, 10)
  const service = await start(t, mode)
  const own = await registered(service)
  assert.equal(await dataPlane(service, own.api_key_value), 200, 'a part of its quota is used')
  if (fault.operation === 'GetApiKeys' || fault.operation === 'DeleteApiKey')
    service.gateway.faults.order({ operation: 'CreateUsagePlanKey', when: 'before', kind: 'denied' })
  service.gateway.faults.order(fault)
  const headers: Record<string, string> = isIdempotent ? { 'idempotency-key': randomUUID() } : {}
  const rotate = () => manage(service, own, 'POST', '/rotate', { overlap_seconds: 0 }, headers)

  const received: ReceivedCredential[] = [own]
  const first = await rotate()
  const served = first.status === 201
  if (served) received.push((await first.json()) as ReceivedCredential)
  else {
    await assertErrorResponse(first)
    const key = service.gateway.account.key(own.api_key_id)
    assert.ok(key.enabled && key.planIds.size === 1, 'the present key works')
  }
  await runJobsUntilIdle(service)
  await assertInvariants(service.gateway, service.deps.store, received)
  if (isIdempotent || !served) {
    // Invariant 4: a retry is possible after every fault.
    const retry = await rotate()
    assert.equal(retry.status, 201)
    const credential = (await retry.json()) as ReceivedCredential
    if (!served) received.push(credential)
    else assert.equal(credential.api_key_value, received.at(-1)?.api_key_value)
  }
  await runJobsUntilIdle(service)
  await assertInvariants(service.gateway, service.deps.store, received)
  assert.deepEqual([...service.gateway.account.keys.keys()], [received.at(-1)?.api_key_id])
  const usage = usageSchema.parse(await (await manage(service, own, 'GET', '/usage')).json())
  if (usage.to === dayOfStart) assert.equal(usage.days.at(-1)?.remaining, 999, 'the quota was carried')
}

describe('fault matrix of revocations and expiries: the key is deleted, and its status is never active meanwhile', {
  concurrency: 8,
}, () => {
  for (const when of faultMoments)
    for (const kind of faultKinds)
      for (const times of faultCounts) {
        const fault: FaultOrder = { operation: 'DeleteApiKey', when, kind, times }
        test(`a revocation: ${kind} ${when} the effect, ${times} times`, (t) => revokeUnder(t, fault))
        test(`an expiry: ${kind} ${when} the effect, ${times} times`, (t) => expireUnder(t, fault))
      }
})

async function revokeUnder(t: TestContext, fault: FaultOrder): Promise<void> {
  const service = await start(t)
  const own = await registered(service)
  service.gateway.faults.order(fault)
  const first = await manage(service, own, 'DELETE')
  if (first.status !== 204) await assertErrorResponse(first)
  await assertStatus(service, own, 'revoked')
  await runJobsUntilIdle(service)
  assert.equal((await manage(service, own, 'DELETE')).status, 204)
  await assertInvariants(service.gateway, service.deps.store, [own])
  assert.equal(service.gateway.account.keys.size, 0)
}

async function expireUnder(t: TestContext, fault: FaultOrder): Promise<void> {
  let late = 0
  const service = await startService(t, { timing: fastTiming, clock: () => Date.now() + late })
  const own = await registered(service, { keyTtlMs: 3_600_000 })
  late = 3_600_001
  service.gateway.faults.order(fault)
  const leaderLease = createLeaderLease(service.deps)
  await deleteDueKeys(service.deps, leaderLease)
  await leaderLease.release()
  await assertStatus(service, own, 'expired')
  await runJobsUntilIdle(service)
  await assertInvariants(service.gateway, service.deps.store, [own])
  assert.equal(service.gateway.account.keys.size, 0)
}

async function assertStatus(
  service: Service,
  own: Awaited<ReturnType<typeof registered>>,
  expected: string,
): Promise<void> {
  const { status } = (await (await manage(service, own, 'GET')).json()) as { status: string }
  assert.equal(status, expected)
}
