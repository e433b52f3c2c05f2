import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, type TestContext, test } from 'node:test'
import type { FaultOrder } from '../../../emulator/faults.ts'
import type { OperationName } from '../../../emulator/operation-names.ts'
import { assertErrorResponse, faultCases, type MintMode } from '../../support/fault-cases.ts'
import { startFederated } from '../../support/identity/federated.ts'
import {
  assertInvariants,
  fastTiming,
  type ReceivedCredential,
  runJobsUntilIdle,
} from '../../support/invariants.ts'

/** The operations of each way to mint; the last two belong to undoing. */
const operations = {
  single: ['CreateApiKey', 'CreateUsagePlanKey', 'GetApiKeys', 'DeleteApiKey'],
  bulk: ['ImportApiKeys', 'GetUsagePlanKeys', 'GetApiKeys', 'DeleteApiKey'],
} as const satisfies Record<MintMode, readonly OperationName[]>

/** An error that makes the service undo the registrations, so that it looks up the keys and deletes them. */
const undoing: Record<MintMode, FaultOrder> = {
  single: { operation: 'CreateUsagePlanKey', when: 'after', kind: 'denied' },
  bulk: { operation: 'GetUsagePlanKeys', when: 'before', kind: 'denied' },
}
/** The number of concurrent registrations. */
const agents: Record<MintMode, number> = { single: 1, bulk: 3 }

describe('fault matrix of registrations: every response is final or retryable, and the invariants hold', {
  concurrency: 8,
}, () => {
  for (const { name, mode, fault, isIdempotent } of faultCases(operations))
    test(name, (t) => runCase(t, mode, fault, isIdempotent))
})

describe('fault matrix of identity tokens that can be used once: a token whose registration fails can be used again', {
  concurrency: 8,
}, () => {
  // The retries of the SDK hide a single fault.
  for (const { name, mode, fault, isIdempotent } of faultCases(operations))
    if (isIdempotent && fault.times !== 1) test(name, (t) => runCase(t, mode, fault, isIdempotent, true))
})

async function runCase(
  t: TestContext,
  mode: MintMode,
  fault: FaultOrder,
  isIdempotent: boolean,
  isFederated = false,
): Promise<void> {
  const count = agents[mode]
  const service = await startFederated(t, {
    env: { REGISTER_TIMEOUT_MS: '4000', MINT_MODE: mode },
    timing: fastTiming,
    grant: { max_live: count, on_repeat: 'refuse' },
  })
  const { secret } = await service.token({ maxUses: count })
  if (fault.operation === 'GetApiKeys' || fault.operation === 'DeleteApiKey')
    service.gateway.faults.order(undoing[mode])
  service.gateway.faults.order(fault)
  const registrants = Array.from({ length: count }, (_, i) => {
    const headers: Record<string, string> = isIdempotent ? { 'idempotency-key': randomUUID() } : {}
    const credential = isFederated ? service.jwt() : secret
    return () => service.register(credential, { name: `agent-${i}` }, headers)
  })

  const received: ReceivedCredential[] = []
  const unserved: number[] = []
  const first = await Promise.all(registrants.map((register) => register()))
  for (const [i, answer] of first.entries()) {
    if (answer.status === 201) {
      received.push((await answer.json()) as ReceivedCredential)
      continue
    }
    unserved.push(i)
    await assertErrorResponse(answer)
  }

  await runJobsUntilIdle(service)
  await service.deps.deliveries.flush()
  const inDoubt = await service.deps.store.listInDoubt(Number.MAX_SAFE_INTEGER, count)
  assert.deepEqual(inDoubt, [], 'the response with a key arrived, or its registration is undone')
  await assertInvariants(service.gateway, service.deps.store, received)
  // Invariant 4: a retry is possible after every fault, and each caller gets exactly one key.
  for (const [i, register] of registrants.entries()) {
    if (!isIdempotent && !unserved.includes(i)) continue
    const retry = await register()
    assert.equal(retry.status, 201)
    const credential = (await retry.json()) as ReceivedCredential
    if (unserved.includes(i)) received.push(credential)
    else assert.ok(received.some((one) => one.api_key_value === credential.api_key_value))
  }
  await assertInvariants(service.gateway, service.deps.store, received)
  assert.equal(service.gateway.account.keys.size, count)
}
