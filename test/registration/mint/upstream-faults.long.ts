import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FaultOrder } from '../../../emulator/faults.ts'
import { fastTiming, type ReceivedCredential, runJobsUntilIdle } from '../../support/invariants.ts'
import { readProblem } from '../../support/problem.ts'
import { type Service, startService } from '../../support/service.ts'

/** Asserts that no key and no spent use is left, and that a new registration succeeds. */
async function assertUndone(service: Service, tokenId: string, secret: string): Promise<void> {
  await service.deps.inFlight.settled()
  assert.equal(service.gateway.account.keys.size, 0, 'a key is left')
  assert.equal((await service.deps.store.getToken(tokenId))?.uses, 0, 'a use is spent')
  service.gateway.faults.clear()
  assert.equal((await service.register(secret)).status, 201)
}

/** More calls than any test makes: the fault does not end. */
const forever = 1_000_000

const fatal: [title: string, fault: FaultOrder, status: number, code: string, retryAfter: boolean][] = [
  [
    'CreateApiKey is throttled',
    { operation: 'CreateApiKey', when: 'before', kind: 'throttle', times: forever },
    503,
    'upstream_throttled',
    true,
  ],
  [
    'CreateApiKey fails',
    { operation: 'CreateApiKey', when: 'before', kind: 'fail', times: forever },
    503,
    'upstream_unavailable',
    true,
  ],
  [
    'the connection of CreateApiKey breaks',
    { operation: 'CreateApiKey', when: 'before', kind: 'cut', times: forever },
    503,
    'upstream_unavailable',
    true,
  ],
  [
    'CreateApiKey is denied',
    { operation: 'CreateApiKey', when: 'before', kind: 'denied' },
    502,
    'upstream_misconfigured',
    false,
  ],
  ...(['expired', 'unrecognized', 'odd', 'slow'] as const).map((kind): (typeof fatal)[number] => [
    `CreateApiKey keeps failing for a reason that may pass (${kind})`,
    { operation: 'CreateApiKey', when: 'before', kind, times: forever },
    503,
    'upstream_unavailable',
    true,
  ]),
  [
    'the API key quota is reached',
    { operation: 'CreateApiKey', when: 'before', kind: 'quota', times: forever },
    503,
    'key_quota_reached',
    true,
  ],
  [
    'CreateUsagePlanKey is denied',
    { operation: 'CreateUsagePlanKey', when: 'before', kind: 'denied' },
    502,
    'upstream_misconfigured',
    false,
  ],
  [
    'CreateUsagePlanKey fails',
    { operation: 'CreateUsagePlanKey', when: 'before', kind: 'fail', times: forever },
    503,
    'upstream_unavailable',
    true,
  ],
]

for (const [title, fault, status, code, retryAfter] of fatal) {
  test(`if ${title}, the response is ${code}, and the registration is undone`, async (t) => {
    const service = await startService(t, { timing: { faultProbe: 0 } })
    const { secret, token } = await service.token({ maxUses: 1 })
    service.gateway.faults.order(fault)
    const answer = await service.register(secret)
    assert.equal(answer.status, status)
    assert.equal(answer.headers.has('retry-after'), retryAfter)
    assert.equal((await readProblem(answer)).code, code)
    await assertUndone(service, token.id, secret)
  })
}

const survived: [title: string, faults: FaultOrder[]][] = [
  ['CreateApiKey took effect but returned 500', [{ operation: 'CreateApiKey', when: 'after', kind: 'fail' }]],
  [
    'CreateApiKey took effect but its connection broke',
    [{ operation: 'CreateApiKey', when: 'after', kind: 'cut' }],
  ],
  ...(['expired', 'unrecognized', 'slow'] as const).map((kind): (typeof survived)[number] => [
    `CreateApiKey was rejected once for a reason that passes (${kind})`,
    [{ operation: 'CreateApiKey', when: 'before', kind }],
  ]),
  ['CreateApiKey was throttled once', [{ operation: 'CreateApiKey', when: 'before', kind: 'throttle' }]],
  [
    'CreateUsagePlanKey took effect but its connection broke',
    [{ operation: 'CreateUsagePlanKey', when: 'after', kind: 'cut' }],
  ],
  [
    'CreateUsagePlanKey took effect but reported a concurrent change',
    [{ operation: 'CreateUsagePlanKey', when: 'after', kind: 'conflict' }],
  ],
  [
    'CreateUsagePlanKey reported five concurrent changes in a row',
    [{ operation: 'CreateUsagePlanKey', when: 'before', kind: 'conflict', times: 5 }],
  ],
]

for (const [title, faults] of survived) {
  test(`invariant 1: if ${title}, the registration succeeds, with one key`, async (t) => {
    const service = await startService(t)
    const { secret } = await service.token()
    for (const fault of faults) service.gateway.faults.order(fault)
    const answer = await service.register(secret)
    assert.equal(answer.status, 201)
    const { api_key_value } = (await answer.json()) as { api_key_value: string }
    const opened = await fetch(service.deps.config.apiBaseUrl, { headers: { 'x-api-key': api_key_value } })
    assert.equal(opened.status, 200)
    assert.equal(service.gateway.account.keys.size, 1)
  })
}

test('a key that is already on another plan of the same stage is deleted: upstream_misconfigured', async (t) => {
  const service = await startService(t)
  const { secret, token } = await service.token()
  service.gateway.onCall = (operation, moment) => {
    if (operation !== 'CreateApiKey' || moment !== 'effective') return
    for (const key of service.gateway.account.keys.values())
      service.gateway.account.attach('demogold', key.id)
    service.gateway.onCall = () => undefined
  }
  const answer = await service.register(secret)
  assert.equal(answer.status, 502)
  assert.equal((await readProblem(answer)).code, 'upstream_misconfigured')
  await assertUndone(service, token.id, secret)
})

for (const kind of ['expired', 'unrecognized', 'slow'] as const)
  test(`one import that is rejected for a reason that passes (${kind}) fails none of the waiting agents`, async (t) => {
    const service = await startService(t, { env: { MINT_MODE: 'bulk' } })
    const { secret } = await service.token()
    service.gateway.faults.order({ operation: 'ImportApiKeys', when: 'before', kind })
    const answers = await Promise.all(Array.from({ length: 99 }, () => service.register(secret)))
    for (const answer of answers) assert.equal(answer.status, 201)
    assert.equal(service.gateway.account.keys.size, 99)
  })

test('a key that another process undid before it was attached is no fault of the set-up: the error is retryable', async (t) => {
  const service = await startService(t)
  const { secret, token } = await service.token({ maxUses: 1 })
  service.gateway.onCall = (operation, moment) => {
    if (operation !== 'CreateApiKey' || moment !== 'effective') return
    for (const { id } of service.gateway.account.keys.values()) service.gateway.account.deleteKey(id)
    service.gateway.onCall = () => undefined
  }
  const answer = await service.register(secret)
  assert.equal(answer.status, 503)
  assert.equal((await readProblem(answer)).code, 'upstream_unavailable')
  await assertUndone(service, token.id, secret)
})

test('if the usage plan does not exist, the key is deleted: upstream_misconfigured', async (t) => {
  const service = await startService(t, { env: { USAGE_PLANS: 'free=nosuchplan' } })
  const { secret } = await service.token()
  const answer = await service.register(secret)
  assert.equal(answer.status, 502)
  assert.equal(service.gateway.account.keys.size, 0)
})

test('invariant 1: attaches that return 201 without attaching are repaired, logged once, and then verified before the response', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const { gateway, logLines } = service
  let calls = 0
  gateway.onCall = (operation, moment) => {
    if (operation !== 'CreateUsagePlanKey' || moment !== 'effective') return
    calls += 1
    // Every other attach has no effect.
    if (calls % 2 === 1) for (const key of gateway.account.keys.values()) key.planIds.clear()
  }
  const first = (await (await service.register(secret)).json()) as ReceivedCredential
  await service.deps.mintQueue.settled()
  assert.ok(gateway.account.key(first.api_key_id).planIds.has('demofree'), 'repaired after the response')
  assert.equal(logLines.filter((line) => line.includes('attachments do not work')).length, 1)

  const second = (await (await service.register(secret)).json()) as ReceivedCredential
  assert.ok(gateway.account.key(second.api_key_id).planIds.has('demofree'), 'repaired before the response')
  assert.equal(logLines.filter((line) => line.includes('attachments do not work')).length, 1)
})

test('a key that GetUsagePlanKeys shows late after an attach is not attached again, and casts no doubt on attaches', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const { gateway, logLines } = service
  gateway.faults.order({ operation: 'GetUsagePlanKeys', when: 'after', kind: 'late', times: forever })
  assert.equal((await service.register(secret)).status, 201)
  await service.deps.mintQueue.settled()
  assert.deepEqual(gateway.answers['CreateUsagePlanKey'], { 201: 1 })
  assert.ok((gateway.answers['GetUsagePlanKeys']?.[200] ?? 0) > 1, 'looked at again')
  assert.ok(!logLines.some((line) => line.includes('attachments do not work')))
})

test('a key that CreateApiKey returns disabled is enabled before the response', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  service.gateway.faults.order({ operation: 'CreateApiKey', when: 'after', kind: 'disabled' })
  const { api_key_value } = (await (await service.register(secret)).json()) as ReceivedCredential
  const opened = await fetch(service.deps.config.apiBaseUrl, { headers: { 'x-api-key': api_key_value } })
  assert.equal(opened.status, 200)
})

test('a key that a lost response left behind disabled is found and enabled before the response', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const { faults, account } = service.gateway
  faults.order({ operation: 'CreateApiKey', when: 'after', kind: 'cut' })
  service.gateway.onCall = (operation, moment) => {
    if (operation !== 'CreateApiKey' || moment !== 'effective') return
    for (const key of account.keys.values()) key.enabled = false
  }
  const { api_key_value } = (await (await service.register(secret)).json()) as ReceivedCredential
  const opened = await fetch(service.deps.config.apiBaseUrl, { headers: { 'x-api-key': api_key_value } })
  assert.equal(opened.status, 200)
  assert.equal(account.keys.size, 1)
})

test('a key that a lost response left behind is found however late GetApiKeys shows it', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const { faults, account } = service.gateway
  faults.order({ operation: 'CreateApiKey', when: 'after', kind: 'cut' })
  faults.order({ operation: 'GetApiKeys', when: 'after', kind: 'late', ms: 1_500, times: forever })
  assert.equal((await service.register(secret)).status, 201)
  assert.equal(account.keys.size, 1)
})

test('invariant 8: if API Gateway hangs, the response is 503 with Retry-After within REGISTER_TIMEOUT_MS, and the registration is undone', async (t) => {
  const service = await startService(t, { env: { REGISTER_TIMEOUT_MS: '3000' } })
  const { secret, token } = await service.token()
  service.gateway.faults.order({
    operation: 'CreateUsagePlanKey',
    when: 'before',
    kind: 'hang',
    times: forever,
  })
  const before = performance.now()
  const answer = await service.register(secret)
  const took = performance.now() - before
  // A second more, for the client on a busy machine.
  assert.ok(took < 4_000, `answered after ${took} ms`)
  assert.equal(answer.status, 503)
  assert.ok(Number(answer.headers.get('retry-after')) > 0)
  assert.equal((await readProblem(answer)).code, 'upstream_unavailable')
  await assertUndone(service, token.id, secret)
})

for (const kind of ['half', 'drip'] as const)
  for (const [mode, operation] of [
    ['single', 'CreateUsagePlanKey'],
    ['bulk', 'ImportApiKeys'],
  ] as const)
    test(`invariant 8: a response of ${operation} that stops half-way (${kind}) delays minting by the limit of one attempt`, async (t) => {
      const service = await startService(t, { env: { MINT_MODE: mode }, timing: fastTiming })
      const { secret } = await service.token()
      service.gateway.faults.order({ operation, when: 'after', kind })
      const before = performance.now()
      const answers = await Promise.all(Array.from({ length: 3 }, () => service.register(secret)))
      const took = performance.now() - before
      assert.deepEqual(
        answers.map(({ status }) => status),
        [201, 201, 201],
      )
      // The limit of an attempt is a second; until now it was that of the registration, 25 s.
      assert.ok(took < 8_000, `${took} ms`)
      assert.equal(service.gateway.account.keys.size, 3)
    })

test('a registration that is minted after the deadline is undone: no caller received its key', async (t) => {
  const service = await startService(t, {
    env: { REGISTER_TIMEOUT_MS: '1000' },
    gateway: { latency: { CreateApiKey: 1_200 } },
    timing: { ...fastTiming, upstreamCall: 6_000 },
  })
  const { secret, token } = await service.token()
  const effective = new Promise<void>((resolve) => {
    service.gateway.onCall = (operation, moment) =>
      operation === 'CreateApiKey' && moment === 'effective' && resolve()
  })
  assert.equal((await service.register(secret)).status, 503)
  await effective // Later than the response, and than the first look-up of the key.
  await runJobsUntilIdle(service)
  assert.equal(service.gateway.account.keys.size, 0)
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 0)
})

test('a registration that cannot be undone stays pending, keeps its use, and is logged', async (t) => {
  const service = await startService(t)
  const { secret, token } = await service.token({ maxUses: 1 })
  service.gateway.faults.order({ operation: 'CreateUsagePlanKey', when: 'before', kind: 'denied' })
  service.gateway.faults.order({ operation: 'DeleteApiKey', when: 'before', kind: 'denied' })
  assert.equal((await service.register(secret)).status, 502)
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 1)
  assert.equal(service.logLines.filter((line) => line.includes('stay pending')).length, 1)
  assert.equal((await readProblem(await service.register(secret))).code, 'token_uses_pending')
})

test('a denied look-up after an unclear CreateApiKey does not count as "no key"; recovery undoes the registration later', async (t) => {
  const service = await startService(t, { timing: fastTiming })
  const { secret, token } = await service.token({ maxUses: 1 })
  service.gateway.faults.order({ operation: 'CreateApiKey', when: 'after', kind: 'cut' })
  service.gateway.faults.order({ operation: 'GetApiKeys', when: 'before', kind: 'denied', times: 2 })
  assert.equal((await service.register(secret)).status, 503)
  assert.equal((await service.deps.store.getToken(token.id))?.uses, 1, 'the key may exist')
  await runJobsUntilIdle(service)
  await assertUndone(service, token.id, secret)
})

test('if CreateApiKey reports a concurrent change, it is repeated', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  service.gateway.faults.order({ operation: 'CreateApiKey', when: 'before', kind: 'conflict' })
  assert.equal((await service.register(secret)).status, 201)
  assert.equal(service.gateway.account.keys.size, 1)
})
