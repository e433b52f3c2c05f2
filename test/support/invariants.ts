import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Gateway } from '../../emulator/gateway.ts'
import { deleteDueKeys } from '../../src/registration/jobs/delete-keys.ts'
import { createLeaderLease } from '../../src/registration/jobs/leader-lease.ts'
import { recover } from '../../src/registration/jobs/recover.ts'
import { settleDoubts } from '../../src/registration/jobs/settle-doubts.ts'
import { switchDueKeys } from '../../src/registration/jobs/switch-keys.ts'
import {
  POOL_PREFIX,
  poolKeyName,
  registrationIdOf,
  registrationIdOfPoolKey,
  rotationIdOfPoolKey,
} from '../../src/registration/key-names.ts'
import { isInDoubt } from '../../src/registration/lifecycle.ts'
import { defaultTiming, type Timing } from '../../src/registration/timing.ts'
import type { Proof, Registration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import type { Service } from './service.ts'

const DAY_MS = 24 * 3_600_000

/** Timing that is short enough for tests. */
export const fastTiming: Timing = {
  ...defaultTiming,
  lease: 400,
  renew: 100,
  recover: 50,
  afterDeadline: 5_000,
  undo: 3_000,
  deliver: 10,
  deliverRetry: 50,
  inDoubtAfter: 500,
  settle: 50,
  sweepAfter: 300,
  faultProbe: 20,
  faultProbeLongest: 100,
  end: 50,
  endSpacing: 0,
  endRetry: 200,
  leaderLease: 400,
  forget: 100,
  upstreamCall: 1_000,
  displaceAfter: 2_000,
  poolRound: 50,
  poolQuiet: 10,
  poolLease: 1_000,
  poolCheck: 200,
  // Longer than the time for which the probe reuses a response.
  poolProbe: 210,
  poolPatience: 300,
}

/** The part of a 201 response that identifies the credential: what the caller holds. */
export interface ReceivedCredential {
  readonly registration_id: string
  readonly api_key_id: string
  readonly api_key_value: string
}

/**
 * Asserts that the gateway, the store and the credentials that callers received agree:
 *
 * 1. Every received key works, or its registration or rotation has ended.
 * 2. Every key in the gateway belongs to an active registration or rotation, or to the pool, is on its plan, and is enabled
 *    unless it is suspended.
 * 3. The uses of every ordinary token are the number of its registrations that have not failed, and at most `maxUses`.
 * 4. Virtual tokens: see {@link assertPlaces}.
 *
 * And no record is `pending` or `ending`.
 */
export async function assertInvariants(
  gateway: Gateway,
  store: Store,
  received: readonly ReceivedCredential[],
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
  const pool = new Map((await store.listPoolKeys()).map((one) => [one.apiKeyId, one]))
  for (const key of gateway.account.keys.values()) {
    const poolKey = pool.get(key.id)
    const registration = ownersOf(key.name).flatMap((id) => active.get(id) ?? [])[0]
    if (poolKey !== undefined) {
      assert.equal(registration, undefined, `handed out, and still in the pool: ${key.name}`)
      assert.equal(key.name, poolKeyName(poolKey.id, poolKey.plan))
      assert.ok(key.enabled && key.planIds.has(poolKey.usagePlanId), `dead pool key: ${key.name}`)
      continue
    }
    assert.ok(registration, `stray key: ${key.name}`)
    assert.equal(registration.apiKeyId, key.id, `two keys for ${registration.id}`)
    assert.equal(key.enabled, registration.suspendedAt === null, `enabled or not: ${key.name}`)
    assert.ok(key.planIds.has(registration.usagePlanId), `dead key: ${key.name}`)
  }
  assert.equal(gateway.account.keys.size, active.size + pool.size, 'an active registration has no key')
  for (const { api_key_id, api_key_value, registration_id } of received) {
    const one = registrations.find(({ apiKeyId }) => apiKeyId === api_key_id)
    assert.equal(
      one?.rotation?.of ?? one?.id,
      registration_id,
      `the store does not know the received key of ${registration_id}`,
    )
    if (one?.status === 'ended') continue
    assert.equal(one?.status, 'active', `the received key of ${registration_id} is not active`)
    assert.equal(gateway.account.key(api_key_id).value, api_key_value)
  }
  await assertPlaces(store)
  for (const token of (await store.listTokens()).filter(({ federation }) => federation === null)) {
    const uses = registrations.filter(
      ({ tokenId, status, rotation }) => tokenId === token.id && status !== 'failed' && rotation === null,
    ).length
    assert.equal(token.uses, uses, `uses of ${token.label}`)
    assert.ok(token.maxUses === null || uses <= token.maxUses, `${token.label} is overspent`)
  }
}

/** Returns the ids of which one is that of the registration or rotation that has a key of this name, if it was handed out. */
export function ownersOf(nameOfKey: string): string[] {
  const id = registrationIdOf(nameOfKey)
  return id.startsWith(POOL_PREFIX) ? [registrationIdOfPoolKey(id), rotationIdOfPoolKey(id)] : [id]
}

/**
 * Asserts of every virtual token that its uses are the number of its registrations that are pending or alive, that each name is
 * held by at most one of them, and that a registration or rotation holds its proof, unless it failed.
 */
export async function assertPlaces(store: Store): Promise<void> {
  const registrations = await store.listRegistrations({ limit: 100_000 })
  const byId = new Map(registrations.map((one) => [one.id, one]))
  const isAlive = (one: Registration) => {
    const current = byId.get(one.currentId ?? one.id)
    return current?.status === 'pending' || current?.status === 'active'
  }
  for (const token of (await store.listTokens()).filter(({ federation }) => federation !== null)) {
    const own = registrations.filter((one) => one.tokenId === token.id && one.rotation === null)
    const holders = own.filter(isAlive).filter(({ federated }) => federated !== null)
    const ids = (all: readonly Registration[]) => all.map(({ id }) => id).sort()
    assert.deepEqual(
      ids(own.filter(({ holdsPlace }) => holdsPlace)),
      ids(holders),
      `places of ${token.label}`,
    )
    const ordinary = own.filter((one) => one.federated === null && one.status !== 'failed')
    assert.equal(token.uses, holders.length + ordinary.length, `uses of ${token.label}`)
    for (const name of new Set(own.map((one) => one.name))) {
      const holding = holders.filter((one) => one.name === name && one.federated?.holdsName)
      assert.ok(holding.length <= 1, `${holding.length} hold the name ${name}`)
      assert.equal((await store.findLiveByName(token.id, name))?.id, holding[0]?.id, `holder of ${name}`)
    }
  }
  for (const { id, status, federated } of registrations) {
    if (!federated?.proof) continue
    const holder = (await store.findProof(federated.proof.hash))?.holder
    if (status === 'failed') assert.notEqual(holder, id, `the proof of ${id}, which failed`)
    // `undefined`: it has expired and is forgotten.
    else assert.ok(holder === id || holder === undefined, `${holder} has the proof of ${id} too`)
  }
}

/** Reports whether a proof is claimed. */
export async function isClaimed(store: Store, proof: Proof): Promise<boolean> {
  return (await store.findProof(proof.hash)) !== undefined
}

/** Reports whether the jobs have work left on a registration or rotation. */
export function hasWorkLeft(one: Registration, now: number): boolean {
  const { status, sweepAt, endsAt, switchAt } = one
  if (switchAt !== null) return true
  const isRemembered = one.idempotency !== null && one.createdAt >= now - DAY_MS
  if (isInDoubt(one, now - DAY_MS)) return one.rotation !== null || !isRemembered
  if (status === 'active') return endsAt !== null && endsAt <= now
  return status === 'pending' || status === 'ending' || sweepAt !== null
}

/** Clears all faults of the gateway and runs the jobs until they have no work left, late-key checks included. */
export async function runJobsUntilIdle({ gateway, deps }: Service): Promise<void> {
  gateway.faults.clear()
  await deps.inFlight.settled()
  const leaderLease = createLeaderLease(deps)
  for (let round = 0; round < 200; round++) {
    await deps.store.forgetIdempotency(deps.clock() - deps.timing.idempotency)
    await recover(deps)
    await settleDoubts(deps)
    await deleteDueKeys(deps, leaderLease)
    await switchDueKeys(deps, leaderLease)
    const rows = await deps.store.listRegistrations({ limit: 100_000 })
    if (!rows.some((one) => hasWorkLeft(one, deps.clock()))) return leaderLease.release()
    await sleep(50)
  }
  throw new Error('the jobs still have work left after 200 rounds')
}
