import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FaultOrder } from '../../../emulator/faults.ts'
import type { OperationName } from '../../../emulator/operation-names.ts'
import { assertErrorResponse, faultCases, type MintMode } from '../../support/fault-cases.ts'
import { assertInvariants, fastTiming, runJobsUntilIdle } from '../../support/invariants.ts'
import { judgePool, poolSettled } from '../../support/pool-judge.ts'
import { dataPlane, type Registered, registeredSchema, startService } from '../../support/service.ts'

/** The operations of a refill one key at a time, and those of a refill by import, a check, a renaming and a deletion. */
const operations = {
  single: ['CreateApiKey', 'CreateUsagePlanKey'],
  bulk: ['ImportApiKeys', 'GetUsagePlanKeys', 'GetApiKeys', 'UpdateApiKey', 'DeleteApiKey'],
} as const satisfies Record<MintMode, readonly OperationName[]>

const SIZE = 3
const sizes = { free: SIZE }

describe('fault matrix of the pool: what stands ready is handed out, the pool is full again, and no key is left over', {
  concurrency: 8,
}, () => {
  for (const { name, mode, fault, isIdempotent } of faultCases(operations))
    test(name, (t) => runCase(t, mode, fault, isIdempotent))
})

async function runCase(
  t: TestContext,
  mode: MintMode,
  fault: FaultOrder,
  isIdempotent: boolean,
): Promise<void> {
  const service = await startService(t, {
    env: {
      POOL: `free:${SIZE}`,
      API_PROBE_PATH: '/probe',
      REGISTER_TIMEOUT_MS: '4000',
      MINT_MODE: mode === 'single' ? 'single' : 'auto',
    },
    timing: fastTiming,
  })
  const { gateway, deps } = service
  const judge = judgePool(gateway, deps.store, SIZE)
  gateway.onCall = judge.look
  await poolSettled(gateway, deps.store, sizes)
  const { secret } = await service.token()
  gateway.faults.order(fault)
  if (fault.operation === 'DeleteApiKey') await disableOne()

  async function disableOne(): Promise<void> {
    const [first] = await deps.store.listPoolKeys()
    gateway.account.key(first?.apiKeyId ?? '').enabled = false
    const isReady = async () =>
      (await deps.store.listPoolKeys()).some(({ id, state }) => id === first?.id && state === 'ready')
    while (await isReady()) await sleep(20)
  }

  // The pool serves the first; the others arrive while it is filled again.
  const registrants = Array.from({ length: SIZE + 2 }, (_, i) => {
    const headers: Record<string, string> = isIdempotent ? { 'idempotency-key': randomUUID() } : {}
    return () => service.register(secret, { name: `agent-${i}` }, headers)
  })
  const received: Registered[] = []
  const unserved: typeof registrants = []
  for (const register of registrants) {
    const answer = await register()
    if (answer.status === 201) received.push(registeredSchema.parse(await answer.json()))
    else {
      await assertErrorResponse(answer)
      unserved.push(register)
    }
  }
  if (fault.operation !== 'DeleteApiKey')
    assert.ok(received.length >= SIZE, 'a fault of AWS does not keep ready keys from callers')

  await runJobsUntilIdle(service)
  await poolSettled(gateway, deps.store, sizes)
  await judge.verdict()
  await assertInvariants(gateway, deps.store, received)
  for (const register of isIdempotent ? registrants : unserved) {
    const answer = await register()
    assert.equal(answer.status, 201)
    const credential = registeredSchema.parse(await answer.json())
    if (unserved.includes(register)) received.push(credential)
    else assert.ok(received.some((one) => one.api_key_value === credential.api_key_value))
  }
  await poolSettled(gateway, deps.store, sizes)
  await judge.verdict()
  await assertInvariants(gateway, deps.store, received)
  for (const { api_key_value } of received) assert.equal(await dataPlane(service, api_key_value), 200)
}
