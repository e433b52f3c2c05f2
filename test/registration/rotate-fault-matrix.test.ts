import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, type TestContext, test } from 'node:test'
import type { FaultOrder } from '../../emulator/faults.ts'
import type { OperationName } from '../../emulator/options.ts'
import { deleteDueKeys } from '../../src/registration/jobs/delete-keys.ts'
import { createLeaderLease } from '../../src/registration/jobs/leader-lease.ts'
import { checkRefusal, faultCases, kinds, lengths, type Mode, moments } from '../support/fault-cases.ts'
import { assertInvariants, fastTiming, type Given, settle } from '../support/invariants.ts'
import { manage, registered, type Service, startService } from '../support/service.ts'

/** The operations of a rotation, by each way to mint; the last two of `single` on the way of undoing. */
const operations = {
  single: ['CreateApiKey', 'CreateUsagePlanKey', 'GetApiKeys', 'DeleteApiKey'],
  bulk: ['ImportApiKeys', 'GetUsagePlanKeys'],
} as const satisfies Record<Mode, readonly OperationName[]>

function start(t: TestContext, mode: Mode = 'single'): Promise<Service> {
  const env = { REGISTER_TIMEOUT_MS: '1500', MINT_MODE: mode }
  return startService(t, { env, timing: fastTiming })
}

describe('fault matrix of rotations: until the new key was answered the present one works, and never is one too many', {
  concurrency: 8,
}, () => {
  for (const { name, mode, fault, keyed } of faultCases(operations))
    test(name, (t) => rotateUnder(t, mode, fault, keyed))
})

async function rotateUnder(t: TestContext, mode: Mode, fault: FaultOrder, keyed: boolean): Promise<void> {
  const service = await start(t, mode)
  const own = await registered(service)
  if (fault.operation === 'GetApiKeys' || fault.operation === 'DeleteApiKey')
    service.gateway.faults.order({ operation: 'CreateUsagePlanKey', when: 'before', kind: 'denied' })
  service.gateway.faults.order(fault)
  const headers: Record<string, string> = keyed ? { 'idempotency-key': randomUUID() } : {}
  const rotate = () => manage(service, own, 'POST', '/rotate', { overlap_seconds: 0 }, headers)

  const given: Given[] = [own]
  const first = await rotate()
  const served = first.status === 201
  if (served) given.push((await first.json()) as Given)
  else {
    await checkRefusal(first)
    const key = service.gateway.account.key(own.api_key_id)
    assert.ok(key.enabled && key.planIds.size === 1, 'the present key works')
  }
  await settle(service)
  await assertInvariants(service.gateway, service.deps.store, given)
  if (keyed || !served) {
    // Invariant 4: the retry is free, whatever broke.
    const retry = await rotate()
    assert.equal(retry.status, 201)
    const credential = (await retry.json()) as Given
    if (!served) given.push(credential)
    else assert.equal(credential.api_key_value, given.at(-1)?.api_key_value)
  }
  await settle(service)
  await assertInvariants(service.gateway, service.deps.store, given)
  assert.deepEqual([...service.gateway.account.keys.keys()], [given.at(-1)?.api_key_id])
}

describe('fault matrix of revocations and expiries: a key that is to go goes, and is not called live meanwhile', {
  concurrency: 8,
}, () => {
  for (const when of moments)
    for (const kind of kinds)
      for (const times of lengths) {
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
  if (first.status !== 204) await checkRefusal(first)
  await assertStatus(service, own, 'revoked')
  await settle(service)
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
  await settle(service)
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
