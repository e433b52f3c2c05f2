import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { FaultOrder } from '../../../emulator/faults.ts'
import type { OperationName } from '../../../emulator/operation-names.ts'
import { defaultTiming } from '../../../src/registration/timing.ts'
import {
  assertInvariants,
  fastTiming,
  type ReceivedCredential,
  runJobsUntilIdle,
} from '../../support/invariants.ts'
import { readProblem } from '../../support/problem.ts'
import { registerTogether } from '../../support/register-together.ts'
import { dataPlane, type Service, type ServiceOptions, startService } from '../../support/service.ts'

/** More calls than any test makes: the fault does not end. */
const forever = 1_000_000
const AGENTS = 30

/** Counts the calls that arrive, by operation. */
function countCalls({ gateway }: Service): (operation: OperationName) => number {
  const counts = new Map<OperationName, number>()
  gateway.onCall = (operation, moment) => {
    if (moment === 'arrived') counts.set(operation, (counts.get(operation) ?? 0) + 1)
  }
  return (operation) => counts.get(operation) ?? 0
}

const warnings = ({ logLines }: Service) => logLines.filter((line) => line.includes('imports do not work'))

function start(t: TestContext, options: ServiceOptions = {}): Promise<Service> {
  return startService(t, { timing: fastTiming, ...options })
}

/** Registers agents, the others together while the first is minted. @returns the responses, by name */
async function burst(service: Service, secret: string, names: readonly string[]) {
  const answers = await registerTogether(
    service,
    secret,
    names.map((name) => ({ name })),
  )
  return new Map(names.map((name, i) => [name, answers[i] as Response]))
}

const agents = Array.from({ length: AGENTS }, (_, i) => `agent-${i}`)

async function assertAllWork(service: Service, answers: Iterable<Response>): Promise<void> {
  const received: ReceivedCredential[] = []
  for (const answer of answers) {
    assert.equal(answer.status, 201, await answer.clone().text())
    received.push((await answer.json()) as ReceivedCredential)
  }
  await runJobsUntilIdle(service)
  await assertInvariants(service.gateway, service.deps.store, received)
  for (const { api_key_value } of received) assert.equal(await dataPlane(service, api_key_value), 200)
}

/** The tries of one failing import: those of the SDK, which a time-out has not, twice if credentials may be the reason. */
const TRIES = { fail: 3, hang: 1, half: 1, cut: 3, odd: 1, slow: 6, refused: 1 }

for (const when of ['before', 'after'] as const)
  for (const kind of ['fail', 'hang', 'half', 'cut', 'odd', 'slow', 'refused'] as const) {
    if (when === 'after' && kind !== 'fail' && kind !== 'hang' && kind !== 'cut') continue
    test(`imports that always fail (${kind}, ${when} their effect) cost no agent of ${AGENTS} its key, and are given up for a while`, async (t) => {
      const service = await start(t)
      const { secret } = await service.token()
      const calls = countCalls(service)
      service.gateway.faults.order({ operation: 'ImportApiKeys', when, kind, times: forever })
      const answers = await burst(service, secret, agents)
      const tried = calls('ImportApiKeys')
      assert.ok(tried > 0 && tried <= 3 * TRIES[kind], `${tried} imports: at most three, with their retries`)
      assert.equal(warnings(service).length, 1)
      const again = await burst(service, secret, ['x', 'y', 'z'])
      assert.equal(calls('ImportApiKeys'), tried, 'no import while they are given up')
      await assertAllWork(service, [...answers.values(), ...again.values()])
    })
  }

for (const fault of [
  { kind: 'unimplemented', when: 'before' },
  { kind: 'unsupported', when: 'before' },
  { kind: 'garbled', when: 'before' },
  { kind: 'garbled', when: 'after' },
] satisfies Partial<FaultOrder>[])
  for (const mode of ['auto', 'bulk'] as const)
    test(`where imports are not available (${fault.kind}, ${fault.when} the effect, ${mode}), one call finds it out for the process, and the log says it once`, async (t) => {
      const service = await start(t, {
        env: { MINT_MODE: mode },
        timing: { ...fastTiming, distrust: 1 },
      })
      const { secret } = await service.token()
      const calls = countCalls(service)
      service.gateway.faults.order({ operation: 'ImportApiKeys', times: forever, ...fault })
      const answers: Response[] = []
      for (let round = 0; round < 3; round++)
        answers.push(...(await burst(service, secret, agents.slice(0, 8))).values())
      assert.equal(calls('ImportApiKeys'), 1)
      assert.equal(warnings(service).length, 1)
      await assertAllWork(service, answers)
    })

test('an endpoint that lacks imports for a while, as a proxy in between may seem to, is asked again', async (t) => {
  const service = await start(t, { env: { MINT_MODE: 'bulk' } })
  const { secret } = await service.token()
  const answers = [...(await burst(service, secret, ['a'])).values()]
  await service.deps.mintQueue.settled()
  service.gateway.faults.order({ operation: 'ImportApiKeys', when: 'before', kind: 'unimplemented' })
  for (const name of ['c', 'd']) answers.push(...(await burst(service, secret, [name])).values())
  assert.deepEqual(service.gateway.answers['ImportApiKeys'], { 201: 2, 501: 1 })
  await assertAllWork(service, answers)
})

for (const kind of ['fail', 'hang', 'refused'] as const)
  for (const at of kind === 'fail' ? [0, 11, AGENTS - 1] : [11])
    test(`one row that API Gateway chokes on (${kind}, number ${at}) fails alone`, async (t) => {
      const service = await start(t, { env: { MINT_MODE: 'bulk' } })
      const { secret, token } = await service.token()
      const calls = countCalls(service)
      const names = agents.with(at, 'poison')
      for (const operation of ['ImportApiKeys', 'CreateApiKey'] as const)
        service.gateway.faults.order({
          operation,
          when: 'before',
          kind,
          containing: 'poison',
          times: forever,
        })
      const answers = await burst(service, secret, names)
      const poisoned = answers.get('poison')
      assert.ok(poisoned)
      answers.delete('poison')
      const { code } = await readProblem(poisoned)
      assert.equal(code, kind === 'refused' ? 'upstream_misconfigured' : 'upstream_unavailable')
      assert.ok(
        calls('CreateApiKey') <= (kind === 'hang' ? AGENTS : 3),
        'the others are imported, not minted one by one',
      )
      await assertAllWork(service, answers.values())
      assert.equal((await service.deps.store.getToken(token.id))?.uses, AGENTS - 1)
    })

test('an import that is too large is split until its parts are small enough', async (t) => {
  const service = await start(t, { env: { MINT_MODE: 'bulk' } })
  const { secret } = await service.token()
  const calls = countCalls(service)
  // Larger ones have the numbers of all three.
  const isTooLarge = { operation: 'ImportApiKeys', when: 'before', kind: 'oversized' } as const
  service.gateway.faults.order({ ...isTooLarge, containing: 'agent-29', times: 2 })
  const answers = await burst(service, secret, agents)
  assert.ok(calls('CreateApiKey') <= 1)
  await assertAllWork(service, answers.values())
})

test('if API Gateway fails as a whole, a batch of many costs few calls', async (t) => {
  // No probe within the burst: on a busy machine it takes longer to arrive than the fault takes to be found.
  const timing = { ...fastTiming, faultProbe: defaultTiming.faultProbe }
  const service = await start(t, { env: { MINT_MODE: 'bulk' }, timing })
  const { secret, token } = await service.token()
  const calls = countCalls(service)
  for (const operation of ['ImportApiKeys', 'CreateApiKey'] as const)
    service.gateway.faults.order({ operation, when: 'before', kind: 'fail', times: forever })
  const answers = await burst(service, secret, agents)
  for (const answer of answers.values()) {
    assert.ok(answer.headers.has('retry-after'))
    assert.equal((await readProblem(answer)).code, 'upstream_unavailable')
  }
  // The fault stands after three failures, each of three tries: that of the first request, which is a batch of its own, and two
  // of the others, which are tried together before.
  assert.ok(calls('ImportApiKeys') <= 12, `${calls('ImportApiKeys')} imports`)
  assert.ok(calls('CreateApiKey') <= 9, `${calls('CreateApiKey')} single calls`)
  await runJobsUntilIdle(service)
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 0)
})

test('with the quotas and time limits of a real account, 30 agents get their keys although each import times out', async (t) => {
  const service = await startService(t, {
    env: { AWS_CALLS_PER_SECOND: '10' },
    gateway: { latency: { CreateApiKey: 50 }, quotas: true },
    timing: { upstreamCall: 2_000 },
  })
  const { secret } = await service.token()
  service.gateway.faults.order({ operation: 'ImportApiKeys', when: 'after', kind: 'hang', times: forever })
  const answers = await burst(service, secret, agents)
  for (const answer of answers.values()) assert.equal(answer.status, 201, await answer.clone().text())
  assert.equal(service.gateway.account.keys.size, AGENTS)
})
