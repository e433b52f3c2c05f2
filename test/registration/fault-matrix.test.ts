import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, test } from 'node:test'
import type { FaultOrder } from '../../src/local/faults.ts'
import { assertInvariants, fastTiming, type Given, settle } from '../invariants.ts'
import { readProblem } from '../problem.ts'
import { startService } from '../service.ts'

const operations = [
  'CreateApiKey',
  'CreateUsagePlanKey',
  'GetUsagePlanKeys',
  'GetApiKeys',
  'DeleteApiKey',
] as const
const kinds = ['fail', 'throttle', 'hang', 'cut', 'conflict'] as const
/** Once: the SDK's own retries meet a gateway that works again. Six times: they are used up. */
const lengths = [1, 6]

/** A refusal that makes the service undo, so that it looks the key up and deletes it. */
const undoing: FaultOrder = { operation: 'CreateUsagePlanKey', when: 'after', kind: 'denied' }

describe('fault matrix: whatever API Gateway does, every answer is final or retryable, and the invariants hold', {
  concurrency: 8,
}, () => {
  for (const operation of operations)
    for (const when of ['before', 'after'] as const)
      for (const kind of kinds)
        for (const times of lengths)
          for (const keyed of [false, true]) {
            test(`${operation} ${kind} ${when} the effect, ${times} times, ${keyed ? 'with' : 'without'} a key`, (t) =>
              runCase(t, { operation, when, kind, times }, keyed))
          }
})

async function runCase(
  t: Parameters<typeof startService>[0],
  fault: FaultOrder,
  keyed: boolean,
): Promise<void> {
  const service = await startService(t, { env: { REGISTER_TIMEOUT_MS: '1500' }, timing: fastTiming })
  const { secret } = await service.token({ maxUses: 1 })
  if (fault.operation === 'GetApiKeys' || fault.operation === 'DeleteApiKey')
    service.gateway.faults.order(undoing)
  service.gateway.faults.order(fault)
  const headers: Record<string, string> = keyed ? { 'idempotency-key': randomUUID() } : {}
  const given: Given[] = []

  const first = await service.register(secret, { name: 'acme-agent' }, headers)
  if (first.status === 201) given.push((await first.json()) as Given)
  else {
    const problem = await readProblem(first)
    if (problem.retryable) assert.ok(first.headers.has('retry-after'), 'says when to come back')
  }

  await settle(service)
  await assertInvariants(service.gateway, service.deps.store, given)
  if (!keyed && first.status === 201) return
  // Invariant 4: the retry is free, whatever broke: it gets the one key that this token may have.
  const retry = await service.register(secret, { name: 'acme-agent' }, headers)
  assert.equal(retry.status, 201)
  const credential = (await retry.json()) as Given
  if (first.status === 201) assert.deepEqual(credential, given[0])
  await assertInvariants(service.gateway, service.deps.store, [...given, credential])
  assert.equal(service.gateway.account.keys.size, 1)
}
