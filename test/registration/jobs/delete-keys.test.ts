import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newCompletion, newIdempotentRegistration } from '../../store/store-contract.ts'
import { assertInvariants, fastTiming, runJobsUntilIdle } from '../../support/invariants.ts'
import { registered, startService } from '../../support/service.ts'

const KEY_TTL_MS = 600_000
const UNRECEIVED = 12 // More than one page of due keys.

test('invariant 3: a key that expires before a caller received it costs no use', async (t) => {
  let passed = 0
  const clock = () => Date.now() + passed
  const service = await startService(t, { timing: fastTiming, clock })
  const { deps, gateway } = service
  const { secret, token } = await service.token({ maxUses: UNRECEIVED + 1, keyTtlMs: KEY_TTL_MS })
  for (let n = 0; n < UNRECEIVED; n++) {
    const begun = newIdempotentRegistration(token.id, `key ${n}`, clock())
    const one = { ...begun, expiresAt: clock() + KEY_TTL_MS }
    const lease = { owner: `worker ${n}`, until: clock() + 1_000 }
    await deps.store.beginRegistrations([one], lease)
    const { id: apiKeyId } = gateway.account.createKey({ name: `${one.id} ${one.name}`, enabled: true })
    gateway.account.attach('demofree', apiKeyId)
    const completion = newCompletion(one, { owner: lease.owner, apiKeyId, isAwaited: () => false })
    await deps.store.completeRegistrations([completion], clock())
  }
  const received = await registered(service, {}, {}, secret)
  passed = KEY_TTL_MS
  await runJobsUntilIdle(service)
  await assertInvariants(gateway, deps.store, [received])
  assert.equal(gateway.account.keys.size, 0)
  assert.equal((await deps.store.getToken(token.id))?.uses, 1)
  assert.equal((await service.register(secret)).status, 201)
})
