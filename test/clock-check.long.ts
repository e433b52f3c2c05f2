import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { z } from 'zod'
import { deleteDueKeys } from '../src/registration/jobs/delete-keys.ts'
import { createLeaderLease } from '../src/registration/jobs/leader-lease.ts'
import { purgeAudit } from '../src/registration/jobs/purge.ts'
import { startScheduler } from '../src/registration/jobs/scheduler.ts'
import { SERVICE } from '../src/store/audit.ts'
import { newCompletion, newIdempotentRegistration } from './store/store-contract.ts'
import { fastTiming } from './support/invariants.ts'
import { readProblem } from './support/problem.ts'
import { runCli } from './support/server-process.ts'
import {
  manage,
  registered,
  type Service,
  type ServiceOptions,
  serverEnv,
  startService,
} from './support/service.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** The time that has passed for all, and by how much the service's clock is wrong (ms). */
interface Time {
  passed: number
  wrongBy: number
}

/** Starts a service whose clock can be wrong, beside a gateway whose clock is right. */
async function startWithClock(
  t: TestContext,
  options: ServiceOptions = {},
  time: Time = { passed: 0, wrongBy: 0 },
) {
  const right = () => Date.now() + time.passed
  const service = await startService(t, {
    timing: fastTiming,
    ...options,
    clock: () => right() + time.wrongBy,
    gateway: { clock: right, ...options.gateway },
  })
  return { ...service, time }
}

async function deleteRound({ deps }: Service): Promise<void> {
  const leaderLease = createLeaderLease(deps)
  await deleteDueKeys(deps, leaderLease)
  await leaderLease.release()
}

const keyIds = ({ gateway }: Service) => [...gateway.account.keys.keys()]
const logged = ({ logLines }: Service, level: string, words: RegExp) =>
  logLines.filter((line) => line.includes(`"level":"${level}"`) && words.test(line))

test('a clock that is 40 days ahead deletes no key, is logged once, and deletions resume when it is right', async (t) => {
  const service = await startWithClock(t)
  const { time } = service
  const key = await registered(service, { keyTtlMs: HOUR_MS })

  time.wrongBy = 40 * DAY_MS
  await deleteRound(service)
  await deleteRound(service)
  assert.deepEqual(keyIds(service), [key.api_key_id])
  const [wrong, ...more] = logged(service, 'error', /the clock of this machine is wrong/)
  assert.match(wrong ?? '', /"clock_ahead_seconds":345(59|60)\d\d/)
  assert.deepEqual(more, [])

  time.wrongBy = 0
  await deleteRound(service)
  assert.deepEqual(keyIds(service), [key.api_key_id])
  assert.equal(logged(service, 'info', /the clock agrees with AWS again/).length, 1)

  time.passed = HOUR_MS + 2_000
  await deleteRound(service)
  assert.deepEqual(keyIds(service), [])
})

test('a clock that was wrong before the start deletes nothing, also from the audit trail and of retries', async (t) => {
  const time = { passed: 0, wrongBy: 0 }
  const before = await startWithClock(t, {}, time)
  const key = await registered(before, { keyTtlMs: HOUR_MS }, { 'idempotency-key': 'a-retry-of-this-comes' })
  const audit = await before.deps.store.listAudit({ limit: 100 })

  time.wrongBy = 800 * DAY_MS
  const service = await startWithClock(t, { beside: before }, time)
  const background = startScheduler(service.deps)
  await purgeAudit(service.deps)
  await deleteRound(service)
  await background.stop()
  assert.deepEqual(keyIds(service), [key.api_key_id])
  assert.deepEqual((await service.deps.store.listAudit({ limit: 100 })).slice(-audit.length), audit)
  assert.notEqual((await service.deps.store.getRegistration(key.registration_id))?.idempotency, null)
})

test('invariant 4: a retry right after the clock jumped ahead gets the same key, and nothing is forgotten', async (t) => {
  const service = await startWithClock(t)
  const { secret } = await service.token()
  const key = { 'idempotency-key': 'a-retry-after-the-jump' }
  const own = await registered(service, {}, key, secret)
  await service.deps.mintQueue.settled()
  service.time.wrongBy = 40 * DAY_MS
  assert.equal((await registered(service, {}, key, secret)).api_key_value, own.api_key_value)
  assert.deepEqual(keyIds(service), [own.api_key_id])

  service.time.wrongBy = 0
  service.time.passed = DAY_MS + 2_000
  assert.notEqual((await registered(service, {}, key, secret)).api_key_value, own.api_key_value)
})

test('a clock that jumped ahead displaces no key that a retry may still ask for', async (t) => {
  const service = await startWithClock(t)
  const { deps, time } = service
  const { secret, token } = await service.token({ maxUses: 1 })
  const one = newIdempotentRegistration(token.id, 'k', deps.clock())
  await deps.store.beginRegistrations([one], { owner: 'a.1', until: deps.clock() + 1_000 })
  await deps.store.completeRegistrations([newCompletion(one, { isAwaited: () => false })], deps.clock())
  await deps.readiness.check() // AWS is heard before the jump, not since.
  time.wrongBy = 10 * fastTiming.displaceAfter
  assert.equal((await service.register(secret)).status, 409)
  assert.notEqual((await deps.store.getRegistration(one.id))?.idempotency, null)
})

test('while the clock is wrong, a rotation after another one is refused for longer than the deletion takes', async (t) => {
  const service = await startWithClock(t)
  const own = await registered(service)
  service.time.wrongBy = 40 * DAY_MS
  const rotate = () => manage(service, own, 'POST', '/rotate', { overlap_seconds: 0 })
  assert.equal((await rotate()).status, 201)
  await deleteRound(service)
  const { code, retry_after } = await readProblem(await rotate())
  assert.equal(code, 'rotation_in_progress')
  assert.ok((retry_after ?? 0) > 60, `${retry_after} s`)
})

test('a jump of 10 seconds does not delete a key that AWS has not seen past its end', async (t) => {
  const service = await startWithClock(t)
  const { time } = service
  const key = await registered(service, { keyTtlMs: HOUR_MS })
  time.passed = HOUR_MS - 10_000
  time.wrongBy = 15_000
  await deleteRound(service)
  assert.deepEqual(keyIds(service), [key.api_key_id])
  assert.equal((await service.deps.store.getRegistration(key.registration_id))?.status, 'active')
  time.passed = HOUR_MS + 2_000
  await deleteRound(service)
  assert.deepEqual(keyIds(service), [])
})

test('a clock that is behind keeps keys, and the key is deleted when the clock is right', async (t) => {
  const service = await startWithClock(t)
  const { time } = service
  await registered(service, { keyTtlMs: HOUR_MS })
  time.passed = 2 * HOUR_MS
  time.wrongBy = -90 * 60_000
  await deleteRound(service)
  assert.equal(keyIds(service).length, 1)
  assert.match(logged(service, 'error', /clock of this machine/)[0] ?? '', /"clock_ahead_seconds":-5\d\d\d/)
  time.wrongBy = 0
  await deleteRound(service)
  assert.deepEqual(keyIds(service), [])
})

test('revoked keys are deleted while the clock is wrong, however many keys seem to have expired', async (t) => {
  const service = await startWithClock(t)
  const { time, deps } = service
  const { secret } = await service.token({ keyTtlMs: HOUR_MS })
  const kept = await Promise.all(Array.from({ length: 12 }, () => registered(service, {}, {}, secret)))
  const revoked = await registered(service, { keyTtlMs: HOUR_MS })
  time.wrongBy = 40 * DAY_MS
  await deps.store.endKeys([revoked.registration_id], SERVICE, deps.clock())
  await deleteRound(service)
  assert.deepEqual(keyIds(service).sort(), kept.map(({ api_key_id }) => api_key_id).sort())
})

test('while AWS does not answer, nothing is deleted by the clock', async (t) => {
  const service = await startWithClock(t)
  const { time, gateway, deps } = service
  await registered(service, { keyTtlMs: 60_000 })
  await deps.mintQueue.settled()
  time.passed = 120_000 // A step of the clock: what AWS said before is void.
  gateway.faults.order({ operation: 'GetUsagePlan', when: 'before', kind: 'cut', times: 100 })
  assert.equal(await deps.clockCheck.certainNow(), undefined)
  await deleteRound(service)
  assert.equal(keyIds(service).length, 1)
  assert.equal(logged(service, 'warn', /the clock cannot be compared with AWS/).length, 1)
  gateway.faults.clear()
  await deleteRound(service)
  assert.deepEqual(keyIds(service), [])
})

test('an answer of AWS counts for minutes, so that an idle service does not ask for the time in every round', async (t) => {
  const service = await startWithClock(t)
  await registered(service)
  for (let round = 0; round < 5; round++) await deleteRound(service)
  assert.equal(service.gateway.answers['GetUsagePlan'], undefined)
})

test('a key that is minted while the clock is wrong expires by the time of AWS', async (t) => {
  for (const wrongBy of [40 * DAY_MS, -40 * DAY_MS]) {
    const service = await startWithClock(t, {}, { passed: 0, wrongBy })
    await service.deps.readiness.check() // As at the start.
    const { expires_at } = await registered(service, { keyTtlMs: HOUR_MS })
    assert.ok(Math.abs(Date.parse(expires_at ?? '') - Date.now() - HOUR_MS) < 30_000, String(expires_at))
  }
})

test('calls succeed while the clocks disagree', async (t) => {
  const service = await startService(t, { gateway: { clock: () => Date.now() + HOUR_MS } })
  const key = await registered(service)
  assert.equal((await manage(service, key, 'GET')).status, 200)
})

test('the commands that decide by the clock refuse to, and say how far off the clock is', async (t) => {
  const service = await startService(t, { gateway: { clock: () => Date.now() - 2 * HOUR_MS } })
  const env = serverEnv(service.gateway, service.dataDir)
  for (const command of [['registrations', 'recover'], ['reconcile']]) {
    const { code, stderr } = await runCli(t, [...command, '--yes'], env)
    assert.equal(code, 1)
    assert.match(stderr, /the clock of this machine is 7\d\d\d seconds ahead of that of AWS/)
    assert.equal((await runCli(t, command, env)).code, 0)
  }
})

test('/readyz shows by how much a clock is wrong, and the service stays ready', async (t) => {
  const service = await startWithClock(t, {}, { passed: 0, wrongBy: -2 * HOUR_MS })
  const ready = async () => (await fetch(`${service.url}/readyz`)).json()
  const { status, clock_ahead_seconds } = z
    .object({ status: z.literal('ready'), clock_ahead_seconds: z.int() })
    .parse(await ready())
  assert.ok(Math.abs(clock_ahead_seconds + 7_200) < 60, `${status} ${clock_ahead_seconds}`)
  service.time.wrongBy = 0
  assert.deepEqual(await ready(), { status: 'ready' })
})

for (const step of [30_000, -30_000])
  test(`a registration succeeds while the clock is set by ${step / 1_000} s, and recovery leaves it alone`, async (t) => {
    const timing = { ...fastTiming, upstreamCall: 5_000 }
    const service = await startWithClock(t, { timing, gateway: { latency: { CreateApiKey: 1_000 } } })
    const { time, deps, gateway } = service
    const background = startScheduler(deps)
    gateway.onCall = (operation) => {
      if (operation === 'CreateApiKey') time.wrongBy = step
    }
    await registered(service)
    await background.stop()
    assert.equal(gateway.answers['DeleteApiKey'], undefined)
  })
