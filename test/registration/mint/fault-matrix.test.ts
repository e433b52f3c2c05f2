import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, type TestContext, test } from 'node:test'
import type { FaultOrder } from '../../../emulator/faults.ts'
import type { OperationName } from '../../../emulator/options.ts'
import { checkRefusal, faultCases, type Mode } from '../../support/fault-cases.ts'
import { assertInvariants, fastTiming, type Given, settle } from '../../support/invariants.ts'
import { startService } from '../../support/service.ts'

/** The operations of each way to mint, the last two on the way of undoing. */
const operations = {
  single: ['CreateApiKey', 'CreateUsagePlanKey', 'GetApiKeys', 'DeleteApiKey'],
  bulk: ['ImportApiKeys', 'GetUsagePlanKeys', 'GetApiKeys', 'DeleteApiKey'],
} as const satisfies Record<Mode, readonly OperationName[]>

/** A refusal that makes the service undo what is there, so that it looks the keys up and deletes them. */
const undoing: Record<Mode, FaultOrder> = {
  single: { operation: 'CreateUsagePlanKey', when: 'after', kind: 'denied' },
  bulk: { operation: 'GetUsagePlanKeys', when: 'before', kind: 'denied' },
}
/** How many register at once. */
const agents: Record<Mode, number> = { single: 1, bulk: 3 }

describe('fault matrix: whatever API Gateway does, every answer is final or retryable, and the invariants hold', {
  concurrency: 8,
}, () => {
  for (const { name, mode, fault, keyed } of faultCases(operations))
    test(name, (t) => runCase(t, mode, fault, keyed))
})

async function runCase(t: TestContext, mode: Mode, fault: FaultOrder, keyed: boolean): Promise<void> {
  const service = await startService(t, {
    env: { REGISTER_TIMEOUT_MS: '1500', MINT_MODE: mode },
    timing: fastTiming,
  })
  const count = agents[mode]
  const { secret } = await service.token({ maxUses: count })
  if (fault.operation === 'GetApiKeys' || fault.operation === 'DeleteApiKey')
    service.gateway.faults.order(undoing[mode])
  service.gateway.faults.order(fault)
  const registrants = Array.from({ length: count }, (_, i) => {
    const headers: Record<string, string> = keyed ? { 'idempotency-key': randomUUID() } : {}
    return () => service.register(secret, { name: `agent-${i}` }, headers)
  })

  const given: Given[] = []
  const unserved: number[] = []
  const first = await Promise.all(registrants.map((register) => register()))
  for (const [i, answer] of first.entries()) {
    if (answer.status === 201) {
      given.push((await answer.json()) as Given)
      continue
    }
    unserved.push(i)
    await checkRefusal(answer)
  }

  await settle(service)
  await assertInvariants(service.gateway, service.deps.store, given)
  // Invariant 4: the retry is free, whatever broke: each gets its one key, and nobody two.
  for (const [i, register] of registrants.entries()) {
    if (!keyed && !unserved.includes(i)) continue
    const retry = await register()
    assert.equal(retry.status, 201)
    const credential = (await retry.json()) as Given
    if (unserved.includes(i)) given.push(credential)
    else assert.ok(given.some((one) => one.api_key_value === credential.api_key_value))
  }
  await assertInvariants(service.gateway, service.deps.store, given)
  assert.equal(service.gateway.account.keys.size, count)
}
