import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { defaultTiming } from '../../src/registration/timing.ts'
import { createTokenUses, type TokenUsesDeps } from '../../src/registration/token-uses.ts'
import { newCompletion, newIdempotentRegistration, newRegistration } from '../store/store-contract.ts'
import { fastTiming, type ReceivedCredential, runJobsUntilIdle } from '../support/invariants.ts'
import { long } from '../support/long.ts'
import { readProblem } from '../support/problem.ts'
import { type Service, startService } from '../support/service.ts'

const SLOW = { gateway: { latency: { CreateApiKey: 1_000 } } }

/** Resolves when a registration of the token is recorded as pending. */
async function untilBegun({ deps }: Service, tokenId: string): Promise<void> {
  while ((await deps.store.getToken(tokenId))?.uses === 0) await sleep(5)
}

test(
  'invariant 3: while the last use is held by a registration in progress, the refusal is retryable; after it, final',
  long,
  async (t) => {
    const service = await startService(t, SLOW)
    const { secret, token } = await service.token({ maxUses: 1 })
    const first = service.register(secret)
    await untilBegun(service, token.id)
    const early = await service.register(secret)
    assert.equal(early.status, 409)
    const { code, retry_after } = await readProblem(early)
    // Its deadline of 25 s, and the 20 s that an undoing may take.
    assert.deepEqual([code, retry_after], ['token_uses_pending', 45])
    assert.equal((await first).status, 201)
    while ((await readProblem(await service.register(secret))).code === 'token_uses_pending') await sleep(50)
    const late = await readProblem(await service.register(secret))
    assert.deepEqual([late.status, late.code, late.retryable], [403, 'token_exhausted', false])
  },
)

test('/connect/register refuses a token whose uses are pending in the OAuth dialect', long, async (t) => {
  const service = await startService(t, SLOW)
  const { secret, token } = await service.token({ maxUses: 1 })
  const first = service.register(secret)
  await untilBegun(service, token.id)
  const refused = await fetch(`${service.url}/connect/register`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
    body: '{"client_name":"acme-agent"}',
  })
  assert.equal(refused.status, 409)
  assert.equal(refused.headers.get('retry-after'), '45')
  const { error, retryable } = (await refused.json()) as { error: string; retryable: boolean }
  assert.deepEqual([error, retryable], ['token_uses_pending', true])
  await first
})

/** A moment in whole milliseconds, and the uses of a token with one use, read at it. */
async function usesAt(service: Service, now: number, more: Partial<TokenUsesDeps> = {}) {
  const { store, deliveries, config, log } = service.deps
  const deps = {
    store,
    deliveries,
    config,
    log,
    clock: () => now,
    clockCheck: { certainNow: async () => now },
    timing: defaultTiming,
    isInFlight: () => false,
  }
  return createTokenUses({ ...deps, ...more })
}

const NOW = 1_000_000_000
const LEASE = { owner: 'a.1', until: NOW + 4_000 }
const MINUTE = 60_000

const keyed = (tokenId: string, ageMs: number) => newIdempotentRegistration(tokenId, 'k', NOW - ageMs)
const unanswered = (minutes: number) => ({
  make: keyed,
  async afterwards(service: Service, one: ReturnType<typeof newRegistration>) {
    const completion = newCompletion(one, { isAwaited: () => false })
    await service.deps.store.completeRegistrations([completion], NOW - minutes * MINUTE)
  },
})
const answered = (seconds: number) => ({
  async afterwards(service: Service, one: ReturnType<typeof newRegistration>) {
    await service.deps.store.completeRegistrations([newCompletion(one)], NOW - seconds * 1_000)
  },
})

interface Holder {
  readonly name: string
  readonly ageMs?: number
  readonly make?: (tokenId: string, ageMs: number) => ReturnType<typeof newRegistration>
  readonly leaseUntil?: number
  afterwards?(service: Service, one: ReturnType<typeof newRegistration>): Promise<unknown>
  /** Seconds. */
  readonly freeAfter: number
}

const recovered = 2 + 6 // A round of recovery, and a call to API Gateway.
const settled = 30 + 60 + 6 // A round that forgets, one that settles doubts, and a call.
const takenOver = 10 + recovered // The leader lease as well.
const holders: readonly Holder[] = [
  { name: 'a new registration', freeAfter: 25 + 20 },
  { name: 'a registration that is 20 s old', ageMs: 20_000, freeAfter: 5 + 20 },
  { name: 'one that continues after its deadline', ageMs: 30_000, freeAfter: 55 + 20 },
  { name: 'one whose worker died', leaseUntil: NOW - 1, freeAfter: takenOver },
  {
    name: 'one whose lease ends far in the future, as its clock was ahead, and that is old',
    ageMs: 200_000,
    leaseUntil: NOW + 3_600_000,
    freeAfter: 5 + takenOver,
  },
  {
    name: 'one that is being undone',
    afterwards: ({ deps }, { id }) => deps.store.startUndoing([{ id, owner: LEASE.owner }]),
    freeAfter: Math.ceil(4 + takenOver + 0.2),
  },
  {
    name: 'one whose undoing failed',
    async afterwards({ deps }, { id }) {
      await deps.store.startUndoing([{ id, owner: LEASE.owner }])
      await deps.store.releaseLeases([{ id, owner: LEASE.owner }])
    },
    freeAfter: Math.ceil(recovered + 0.2),
  },
  { name: 'a key that was not fetched for a minute', ...unanswered(1), freeAfter: 5 * 60 + recovered },
  { name: 'a key that was not fetched for 6 minutes', ...unanswered(6), freeAfter: recovered },
  { name: 'an answer that is not recorded as delivered', ...answered(10), freeAfter: 50 },
  {
    name: 'an answer that has been in doubt for an hour',
    ...answered(3_600),
    freeAfter: 23 * 3_600 + settled,
  },
]

for (const {
  name,
  ageMs = 0,
  make = newRegistrationOf,
  leaseUntil = LEASE.until,
  afterwards,
  freeAfter,
} of holders)
  test(`Retry-After is ${freeAfter} s if the last use is held by ${name}`, async (t) => {
    const service = await startService(t)
    const { token } = await service.token({ maxUses: 1 })
    const one = make(token.id, ageMs)
    await service.deps.store.beginRegistrations([one], { ...LEASE, until: leaseUntil })
    await afterwards?.(service, one)
    const refusal = await (await usesAt(service, NOW)).whyNoneLeft(token)
    assert.equal(refusal?.code, 'token_uses_pending')
    assert.ok(Math.abs((refusal?.retryAfter ?? 0) - freeAfter) <= 1, `${refusal?.retryAfter} s`)
  })

function newRegistrationOf(tokenId: string, ageMs: number) {
  return newRegistration(tokenId, NOW - ageMs)
}

test('a use is spent for good if it is in doubt and its key expires before that is settled', async (t) => {
  const service = await startService(t)
  const { token } = await service.token({ maxUses: 1 })
  const one = { ...newRegistration(token.id, NOW - 2 * MINUTE), expiresAt: NOW + 5 * MINUTE }
  await service.deps.store.beginRegistrations([one], LEASE)
  await service.deps.store.completeRegistrations([newCompletion(one)], NOW - 2 * MINUTE)
  const refusal = await (await usesAt(service, NOW)).whyNoneLeft(token)
  assert.equal(refusal?.code, 'token_exhausted')
})

test('of several that hold uses, the one that comes back first counts', async (t) => {
  const service = await startService(t)
  const { token } = await service.token({ maxUses: 2 })
  const dead = newRegistration(token.id, NOW)
  await service.deps.store.beginRegistrations([newRegistration(token.id, NOW)], LEASE)
  await service.deps.store.beginRegistrations([dead], { owner: 'dead', until: NOW - 1 })
  const refusal = await (await usesAt(service, NOW)).whyNoneLeft(token)
  assert.ok((refusal?.retryAfter ?? 99) <= takenOver + 1)
})

/** A registration whose only caller left before its key was minted: the key works, and waits for the retry. */
async function leaveUnanswered(service: Service, secret: string, idempotencyKey: string): Promise<void> {
  const { gateway, url, deps } = service
  const leaving = new AbortController()
  gateway.onCall = (operation, moment) => {
    if (operation === 'CreateUsagePlanKey' && moment === 'arrived') leaving.abort()
  }
  await assert.rejects(
    fetch(`${url}/register`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${secret}`,
        'content-type': 'application/json',
        'idempotency-key': idempotencyKey,
      },
      body: '{"name":"acme-agent"}',
      signal: leaving.signal,
    }),
  )
  gateway.onCall = () => undefined
  await deps.inFlight.settled()
  await deps.mintQueue.settled()
}

test(
  'a caller who lost its Idempotency-Key is served after Retry-After: a key that was not fetched in time is displaced',
  long,
  async (t) => {
    let later = 0
    const service = await startService(t, {
      clock: () => Date.now() + later,
      timing: { ...fastTiming, displaceAfter: 6 * MINUTE },
      gateway: { latency: { CreateUsagePlanKey: 100 } },
    })
    const { secret, token } = await service.token({ maxUses: 1 })
    const lost = randomUUID()
    await leaveUnanswered(service, secret, lost)
    const [one] = await service.deps.store.listRegistrations({ limit: 1 })
    assert.deepEqual([one?.status, one?.answeredAt], ['active', null])

    const early = await readProblem(
      await service.register(secret, undefined, { 'idempotency-key': randomUUID() }),
    )
    assert.equal(early.code, 'token_uses_pending')
    assert.ok((early.retry_after ?? 0) >= 6 * 60, `${early.retry_after} s`)
    assert.notEqual((await service.deps.store.getRegistration(one?.id ?? ''))?.idempotency, null, 'not yet')

    later += (early.retry_after ?? 0) * 1_000
    const notServed = await service.register(secret, { name: 'x', plan: 'platinum' })
    assert.equal((await readProblem(notServed)).code, 'plan_not_allowed')
    const isForgotten = async () =>
      (await service.deps.store.getRegistration(one?.id ?? ''))?.idempotency === null
    assert.equal(await isForgotten(), false, 'a request that cannot be served displaces nothing')
    while (!(await isForgotten())) {
      assert.equal((await readProblem(await service.register(secret))).code, 'token_uses_pending')
      await sleep(50) // The earlier finding is used for a second of real time.
    }
    await runJobsUntilIdle(service)
    const served = await service.register(secret)
    assert.equal(served.status, 201)
    const { api_key_id } = (await served.json()) as ReceivedCredential
    assert.deepEqual([...service.gateway.account.keys.keys()], [api_key_id])
    assert.equal((await service.deps.store.getToken(token.id))?.uses, 1)
    const retry = await service.register(secret, undefined, { 'idempotency-key': lost })
    assert.ok(['token_exhausted', 'token_uses_pending'].includes((await readProblem(retry)).code))
  },
)

test('a registration with a retry in flight is not displaced, and the retry gets its key', async (t) => {
  const service = await startService(t)
  const { token } = await service.token({ maxUses: 1 })
  const one = keyed(token.id, 0)
  await service.deps.store.beginRegistrations([one], LEASE)
  await unanswered(6).afterwards(service, one)
  const retried = await usesAt(service, NOW, { isInFlight: () => true })
  const refusal = await retried.whyNoneLeft(token)
  assert.equal(refusal?.retryAfter, 25 + recovered)
  assert.notEqual((await service.deps.store.getRegistration(one.id))?.idempotency, null)
})

test('one request displaces one registration: none while a use is about to come back', async (t) => {
  const service = await startService(t)
  const { token } = await service.token({ maxUses: 2 })
  const { store } = service.deps
  const both = ['older', 'newer'].map((key, i) => newIdempotentRegistration(token.id, key, 1_000 + i))
  await store.beginRegistrations(both, LEASE)
  await store.completeRegistrations(
    both.map((one) => newCompletion(one, { isAwaited: () => false })),
    NOW - 7 * MINUTE,
  )
  for (let i = 0; i < 3; i++) await (await usesAt(service, NOW)).whyNoneLeft(token)
  const records = await Promise.all(both.map(({ id }) => store.getRegistration(id)))
  assert.deepEqual(
    records.map((one) => one?.idempotency === null),
    [true, false],
  )
})

test('a flood of requests with a used-up token costs one reading a second', async (t) => {
  const service = await startService(t)
  const { token } = await service.token({ maxUses: 1 })
  await service.deps.store.beginRegistrations([newRegistration(token.id, NOW)], LEASE)
  let readings = 0
  const { store } = service.deps
  const counted = {
    ...store,
    findHeldUses(...args: Parameters<typeof store.findHeldUses>) {
      readings += 1
      return store.findHeldUses(...args)
    },
  }
  const uses = await usesAt(service, NOW, { store: counted })
  const refusals = await Promise.all(Array.from({ length: 500 }, () => uses.whyNoneLeft(token)))
  for (let i = 0; i < 500; i++) refusals.push(await uses.whyNoneLeft(token))
  assert.ok(refusals.every((one) => one?.code === 'token_uses_pending'))
  assert.ok(readings <= 2, `${readings} readings`)
})
