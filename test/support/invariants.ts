import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Gateway } from '../../emulator/gateway.ts'
import { deleteDueKeys } from '../../src/registration/jobs/delete-keys.ts'
import { createLeaderLease } from '../../src/registration/jobs/leader-lease.ts'
import { recover } from '../../src/registration/jobs/recover.ts'
import { defaultTiming, type Timing } from '../../src/registration/timing.ts'
import type { Registration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import type { Service } from './service.ts'

/** Times that a test can wait for. */
export const fastTiming: Timing = {
  ...defaultTiming,
  lease: 400,
  renew: 100,
  recover: 50,
  afterDeadline: 5_000,
  undo: 3_000,
  sweepAfter: 300,
  end: 50,
  endSpacing: 0,
  endRetry: 200,
  leaderLease: 400,
  forget: 100,
  upstreamCall: 150,
}

/** What a 201 gave to a client. */
export interface Given {
  readonly registration_id: string
  readonly api_key_id: string
  readonly api_key_value: string
}

/**
 * Holds the gateway's own state against the store and against what clients were given.
 * 1: every key given works, or was taken back. 2: every key there is belongs to an active registration or rotation, and
 * is enabled and on its plan. 3: the uses of every token are its registrations, and never more than allowed. And nothing
 * is pending or ending.
 */
export async function assertInvariants(
  gateway: Gateway,
  store: Store,
  given: readonly Given[],
): Promise<void> {
  const registrations = await store.listRegistrations({ limit: 100_000 })
  const active = new Map(
    registrations.filter(({ status }) => status === 'active').map((one) => [one.id, one]),
  )
  assert.deepEqual(
    registrations.filter(({ status }) => status === 'pending' || status === 'ending'),
    [],
    'something is still pending or ending',
  )
  for (const key of gateway.account.keys.values()) {
    const registration = active.get(key.name.split(' ')[0] ?? '')
    assert.ok(registration, `stray key: ${key.name}`)
    assert.equal(registration.apiKeyId, key.id, `two keys for ${registration.id}`)
    assert.ok(key.enabled && key.planIds.has(registration.usagePlanId), `dead key: ${key.name}`)
  }
  assert.equal(gateway.account.keys.size, active.size, 'an active registration has no key')
  for (const { api_key_id, api_key_value, registration_id } of given) {
    const one = registrations.find(({ apiKeyId }) => apiKeyId === api_key_id)
    assert.equal(
      one?.rotation?.of ?? one?.id,
      registration_id,
      `${registration_id} was given and is not known`,
    )
    if (one?.status === 'ended') continue
    assert.equal(one?.status, 'active', `${registration_id} was given and is not active`)
    assert.equal(gateway.account.key(api_key_id).value, api_key_value)
  }
  for (const token of await store.listTokens()) {
    const uses = registrations.filter(
      ({ tokenId, status, rotation }) => tokenId === token.id && status !== 'failed' && rotation === null,
    ).length
    assert.equal(token.uses, uses, `uses of ${token.label}`)
    assert.ok(token.maxUses === null || uses <= token.maxUses, `${token.label} is overspent`)
  }
}

/** Whether something of a registration or rotation is left for the background to do. */
export function isOpen({ status, sweepAt, endsAt }: Registration, now: number): boolean {
  if (status === 'active') return endsAt !== null && endsAt <= now
  return status === 'pending' || status === 'ending' || sweepAt !== null
}

/** Runs the background's work, with the gateway in order, until nothing is left to do, late sweeps included. */
export async function settle({ gateway, deps }: Service): Promise<void> {
  gateway.faults.clear()
  await deps.inFlight.settled()
  const leaderLease = createLeaderLease(deps)
  for (let round = 0; round < 200; round++) {
    await deps.store.forgetIdempotency(deps.clock() - deps.timing.idempotency)
    await recover(deps)
    await deleteDueKeys(deps, leaderLease)
    const rows = await deps.store.listRegistrations({ limit: 100_000 })
    if (!rows.some((one) => isOpen(one, deps.clock()))) return leaderLease.release()
    await sleep(50)
  }
  throw new Error('the background does not come to an end')
}
