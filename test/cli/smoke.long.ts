import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { z } from 'zod'
import type { Gateway } from '../../emulator/gateway.ts'
import type { GatewayOptions } from '../../emulator/options.ts'
import { newRegistrationIds } from '../../src/registration/key-names.ts'
import { mayHaveKey } from '../../src/registration/lifecycle.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { runCli, startProgram, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

interface Setting {
  readonly gateway: Gateway
  readonly env: Record<string, string>
  readonly store: Store
  /** Runs `firstkey smoke` to its end. */
  smoke(...args: string[]): ReturnType<typeof runCli>
  start(...args: string[]): ReturnType<typeof startProgram>
}

async function setUp(
  t: TestContext,
  options: Partial<GatewayOptions> = {},
  variables: Record<string, string> = {},
): Promise<Setting> {
  const gateway = await testGateway(t, options)
  const dir = tempDir(t)
  const env = { ...serverEnv(gateway, dir), API_PROBE_PATH: '/status', ...variables }
  const store = openSqliteStore(`${dir}/firstkey.db`)
  t.after(() => store.close())
  return {
    ...{ gateway, env, store },
    smoke: (...args) => runCli(t, ['smoke', ...args], env),
    start: (...args) => startProgram(t, 'src/cli/main.ts', ['smoke', ...args], env),
  }
}

/** The API does not respond, so that no time is spent on asking it. */
const NO_API = { API_BASE_URL: 'http://127.0.0.1:9' }

const spread = z.strictObject({ median: z.int(), p90: z.int(), max: z.int() })
const bounds = z.strictObject({ seen_ms: z.int().nullable(), not_yet_ms: z.int().nullable() })
const step = { by: z.enum(['calls', 'import']), keys: z.int() }
const turns = z.array(
  z.strictObject({
    ...step,
    ...{ asked: z.int(), settled: z.int(), requests: z.int(), unclear: z.int() },
    ...{ first_ms: spread.nullable(), last_ms: z.int().nullable() },
  }),
)
/** All that the JSON may contain: whatever else it had would leave the machine of an operator. */
const report = z.strictObject({
  firstkey: z.string(),
  measured_at: z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:00Z$/),
  region: z.string(),
  endpoint: z.enum(['aws', 'other']),
  complete: z.boolean(),
  beside_server: z.boolean(),
  mint_mode: z.enum(['auto', 'single', 'bulk']),
  calls_per_second: z.int(),
  calls: z.array(
    z.strictObject({
      operation: z.string().regex(/^[A-Z][A-Za-z]+$/),
      attempts: z.int(),
      by_status: z.record(z.string().regex(/^(\d{3}|none)$/), z.int()),
      ms: spread.nullable(),
    }),
  ),
  retry_after_seconds: z.record(z.string().regex(/^\d+$/), z.int()),
  steps: z.array(z.strictObject({ ...step, ms: z.int() })),
  imports: z.array(
    z.strictObject({
      outcome: z.enum(['imported', 'refused', 'unsupported', 'late', 'unclear', 'failed']),
      ...{ keys: z.int(), attempts: z.int(), ms: z.int().nullable(), enabled: z.int(), attached: z.int() },
      order_of_ids: z.enum(['rows', 'reversed', 'sorted', 'other']).nullable(),
      ...{ get_api_keys: bounds, get_usage_plan_keys: bounds },
    }),
  ),
  lists: z.array(
    bounds.extend({
      change: z.enum(['created', 'deleted']),
      list: z.enum(['GetApiKeys', 'GetUsagePlanKeys']),
    }),
  ),
  data_plane: z
    .strictObject({
      asked_at: z.enum(['API_BASE_URL', 'API_PROBE_PATH']),
      ...{ accepted: turns, refused: turns },
    })
    .nullable(),
})
const reportOf = ({ stdout }: { stdout: string }) => report.parse(JSON.parse(stdout))

/** Fails unless a run left nothing: no key in AWS, no living registration, no usable token. */
async function assertRemoved({ gateway, store }: Setting, keys = 0): Promise<void> {
  assert.equal(gateway.account.keys.size, keys)
  assert.deepEqual((await store.listRegistrations({ limit: 10_000 })).filter(mayHaveKey), [])
  for (const { revokedAt } of await store.listTokens()) assert.notEqual(revokedAt, null)
}

/** A figure of the emulator may be exceeded by what a busy machine adds, but not undercut. */
function assertNear(actual: number | null | undefined, expected: number, name: string): void {
  assert.ok(typeof actual === 'number', name)
  assert.ok(
    actual >= expected - 5 && actual < expected + 2_000,
    `${name}: ${actual} ms, expected ${expected}`,
  )
}

test('a run measures what the account does, says nothing else, and leaves nothing', async (t) => {
  const latency = {
    ...{ CreateApiKey: 60, CreateUsagePlanKey: 110, ImportApiKeys: 160, DeleteApiKey: 30 },
    ...{ GetApiKeys: 20, GetUsagePlanKeys: 40 },
  }
  const setting = await setUp(t, { latency, importPerKeyMs: 5, propagationMs: 1_000, deletedMs: 700 })
  const { gateway, store, smoke } = setting
  const seen: string[] = []
  gateway.onCall = () => {
    for (const { id, value } of gateway.account.keys.values()) seen.push(id, value)
  }
  gateway.faults.order({ operation: 'CreateUsagePlanKey', when: 'before', kind: 'throttle' })
  const run = await smoke('--keys', '12', '--yes', '--json', '--wait', '1m')
  assert.equal(run.code, 0, run.stderr)
  await assertRemoved(setting)

  const found = reportOf(run)
  assert.deepEqual(
    [found.complete, found.beside_server, found.region, found.endpoint, found.retry_after_seconds],
    [true, false, 'eu-west-1', 'other', { 1: 1 }],
  )
  const call = new Map(found.calls.map((one) => [one.operation, one]))
  for (const [operation, ms] of Object.entries(latency)) {
    const base = operation === 'ImportApiKeys' ? ms + 10 * 5 : ms
    assertNear(call.get(operation)?.ms?.median, base, operation)
  }
  assert.deepEqual(call.get('CreateUsagePlanKey')?.by_status, { 201: 3, 429: 1 })
  assert.equal(call.get('DeleteApiKey')?.attempts, 3 + 1 + 10 + 12)
  assert.deepEqual(
    found.imports.map(({ keys, enabled, attached, attempts }) => [keys, enabled, attached, attempts]),
    [1, 10, 12].map((keys) => [keys, keys, keys, 1]),
  )
  for (const { keys, ms } of found.imports) assertNear(ms, 160 + 5 * keys, `import of ${keys}`)
  assert.equal(found.imports[2]?.order_of_ids, 'sorted')
  for (const { asked, settled, first_ms, last_ms } of found.data_plane?.accepted ?? []) {
    assert.equal(settled, asked)
    assertNear(first_ms?.max, 1_000 - 115, 'accepted')
    assert.ok(last_ms !== null && last_ms <= 1_000, `refused last after ${last_ms} ms`)
  }
  for (const { asked, settled, first_ms, last_ms } of found.data_plane?.refused ?? []) {
    assert.equal(settled, asked)
    assertNear(first_ms?.max, 700, 'refused')
    assert.ok(last_ms !== null && last_ms <= 700, `accepted last after ${last_ms} ms`)
  }
  assert.equal(found.data_plane?.accepted.length, 4)
  assert.equal(found.data_plane?.refused.length, 4)
  for (const { change, seen_ms } of found.lists) assertNear(seen_ms, change === 'deleted' ? 700 : 0, change)

  const all = run.stdout + run.stderr
  const tokens = await store.listTokens()
  for (const secret of [...seen, store.id, gateway.url, 'demofree', '/hello', ...tokens.map(({ id }) => id)])
    assert.ok(!all.includes(secret), secret)
  assert.match(run.stderr, /^ImportApiKeys {2}/m)
  assert.match(run.stderr, /^Retry-After: 1 s \(1 times\)$/m)

  const audit = await store.listAudit({ limit: 1_000 })
  const actors = new Map(Map.groupBy(audit, ({ action }) => action).entries())
  assert.equal(actors.get('registration.created')?.length, 26)
  assert.equal(actors.get('registration.revoked')?.length, 26)
  assert.ok(audit.every(({ actor }) => actor.kind === 'operator' || actor.kind === 'service'))
})

test('the dry run changes nothing, and says what a run makes, costs and takes', async (t) => {
  const setting = await setUp(t, {}, { AWS_CALLS_PER_SECOND: '10' })
  const { gateway, smoke } = setting
  gateway.account.createKey({ name: 'other' })
  const dry = await smoke()
  assert.equal(dry.code, 0, dry.stderr)
  assert.match(
    dry.stdout,
    /^It would register 114 keys, the largest import with 100, and delete them again\.$/m,
  )
  assert.match(dry.stdout, /^About \d+ calls to API Gateway, in about \d+ seconds, and the time until/m)
  assert.match(dry.stdout, /at most 5 calls a second, and room for 114 of 9999 keys\.$/m)
  assert.match(dry.stderr, /^Nothing was changed\. To do this, run: firstkey smoke --yes$/m)
  assert.deepEqual(
    Object.keys(gateway.answers).filter((operation) => !operation.startsWith('Get')),
    [],
  )
  await assertRemoved(setting, 1)

  // What a run cannot work with is said all at once, and nothing is begun.
  const plan = gateway.account.plan('demofree')
  plan.quota = { limit: 20, period: 'DAY' }
  plan.throttle = { rateLimit: 0, burstLimit: 0 }
  for (let i = 0; i < 9_960; i++) gateway.account.createKey({ name: 'other' })
  const refused = await smoke('--keys', '2600', '--yes')
  assert.equal(refused.code, 1)
  for (const fault of [
    /^ {2}The usage plan of the plan "free" has a rate and a burst of 0, so that its keys open nothing\.$/m,
    /^ {2}the plan "free" allows 20 requests a day for each key, and a run needs 50: choose another with --plan$/m,
    /^ {2}it makes 3714 keys, but of 10000 keys the account has room for 39$/m,
    /^ {2}MINT_BATCH_MAX is 2500: choose --keys 2500 or fewer$/m,
  ])
    assert.match(refused.stderr, fault)
  await assertRemoved(setting, 9_961)
  const unknown = await smoke('--plan', 'golt')
  assert.equal(unknown.code, 1)
  assert.match(unknown.stderr, /there is no plan golt.*gold/)
})

test('without API_PROBE_PATH the API itself is asked, and one that is open without a key is not', async (t) => {
  const gateway = await testGateway(t)
  const setting = await setUp(t, {}, { API_PROBE_PATH: '' })
  const asked = await setting.smoke('--keys', '1')
  assert.match(asked.stderr, /^API_PROBE_PATH is not set: requests go to API_BASE_URL itself/m)
  assert.match(asked.stdout, /^It would send requests with 2 of the keys to the API/m)

  const open = await setUp(t, {}, { API_BASE_URL: gateway.url, API_PROBE_PATH: '/_local/state' })
  const run = await open.smoke('--keys', '1', '--yes', '--json')
  assert.equal(run.code, 0, run.stderr)
  assert.match(
    run.stderr,
    /^API_PROBE_PATH accepts requests without a key: the time until .* is not measured/m,
  )
  assert.equal(reportOf(run).data_plane, null)
  await assertRemoved(open)
})

test('imports that leave keys disabled or off their plan, or that the lists show late, are seen', async (t) => {
  const setting = await setUp(t, {}, NO_API)
  const { gateway, smoke } = setting
  const cases = [
    { kind: 'disabled', enabled: 0, attached: 1, largest: 1 },
    { kind: 'unattached', enabled: 1, attached: 0, largest: 1 },
  ] as const
  for (const { kind, enabled, attached, largest } of cases) {
    gateway.faults.order({ operation: 'ImportApiKeys', when: 'after', kind, times: 100 })
    const run = await smoke('--keys', '2', '--yes', '--json')
    gateway.faults.clear()
    assert.equal(run.code, 0, run.stderr)
    const { imports } = reportOf(run)
    assert.deepEqual(
      imports.map((one) => [one.keys, one.enabled, one.attached]),
      [[largest, enabled, attached]],
    )
    assert.match(run.stderr, /^Imports do not do all of the work here: larger ones are left out\.$/m)
    await assertRemoved(setting)
  }

  for (const operation of ['GetApiKeys', 'GetUsagePlanKeys'] as const)
    gateway.faults.order({ operation, when: 'after', kind: 'late', ms: 800, times: 1_000 })
  const late = await smoke('--keys', '1', '--yes', '--json')
  assert.equal(late.code, 0, late.stderr)
  const { imports, lists } = reportOf(late)
  const shown = [
    ...imports.flatMap((one) => [one.get_api_keys, one.get_usage_plan_keys]),
    ...lists.slice(0, 2),
  ]
  for (const { seen_ms, not_yet_ms } of shown) {
    assertNear(seen_ms, 700, 'seen')
    assert.ok((not_yet_ms ?? 0) <= 800)
  }
  assert.deepEqual([imports[0]?.enabled, imports[0]?.attached], [1, 1])
  await assertRemoved(setting)
})

test('a fault midway ends the measurement; what was made is removed, and the figures so far are printed', async (t) => {
  const setting = await setUp(t, {}, NO_API)
  const { gateway, smoke } = setting
  for (const [operation, kind] of [
    ['ImportApiKeys', 'throttle'],
    ['DeleteApiKey', 'fail'],
  ] as const) {
    const when = operation === 'DeleteApiKey' ? 'before' : 'after'
    gateway.faults.order({ operation, when, kind, times: operation === 'DeleteApiKey' ? 5 : 100 })
    const run = await smoke('--keys', '3', '--yes')
    gateway.faults.clear()
    assert.equal(run.code, 1, run.stderr)
    assert.match(run.stderr, /^The measurement failed: /m)
    assert.match(run.stderr, /^All that was made is removed\.$/m)
    assert.match(run.stdout, RegExp(`^${operation} {2}`, 'm'))
    await assertRemoved(setting)
  }
})

/** Ends the program with a signal when the gateway has come to this moment of a call. */
function signalAt(
  gateway: Gateway,
  { child }: Pick<ReturnType<typeof startProgram>, 'child'>,
  signal: NodeJS.Signals,
  [operation, moment, nth = 1]: readonly [operation: string, moment: 'arrived' | 'effective', nth?: number],
): void {
  let count = 0
  gateway.onCall = (...call) => {
    if (call[0] === operation && call[1] === moment && ++count === nth) child.kill(signal)
  }
}

test('Ctrl-C and SIGTERM at any moment remove what was made', async (t) => {
  const setting = await setUp(t, { latency: { ImportApiKeys: 300 }, propagationMs: 600_000 })
  const { gateway, start } = setting
  const moments = [
    ['CreateApiKey', 'effective'],
    ['ImportApiKeys', 'arrived', 2],
    ['ImportApiKeys', 'effective', 2],
  ] as const
  for (const [i, moment] of moments.entries()) {
    const [signal, code] = i % 2 === 0 ? (['SIGINT', 130] as const) : (['SIGTERM', 143] as const)
    const run = start('--keys', '5', '--yes')
    signalAt(gateway, run, signal, moment)
    assert.equal(await run.ended(), code, run.output.stderr)
    assert.match(run.output.stderr, /^Stopped: removing what was made\. Ctrl-C again leaves it\.$/m)
    assert.match(run.output.stderr, /^All that was made is removed\.$/m)
    await assertRemoved(setting)
  }
  const waiting = start('--keys', '5', '--yes', '--json')
  await waiting.seen(/^Waiting until the API accepts the keys…$/m)
  waiting.child.kill('SIGINT')
  assert.equal(await waiting.ended(), 130, waiting.output.stderr)
  const found = reportOf(waiting.output)
  assert.equal(found.complete, false)
  assert.deepEqual(
    found.data_plane?.accepted.map(({ settled }) => settled),
    [0, 0, 0],
  )
  await assertRemoved(setting)
})

test('a second Ctrl-C says what it leaves and how to remove it, and so does the next run', async (t) => {
  const setting = await setUp(t, { latency: { DeleteApiKey: 500 }, propagationMs: 600_000 })
  const { gateway, smoke, start } = setting
  const run = start('--keys', '5', '--yes')
  await run.seen(/^Waiting until the API accepts the keys…$/m)
  signalAt(gateway, run, 'SIGINT', ['DeleteApiKey', 'arrived'])
  run.child.kill('SIGINT')
  assert.equal(await run.ended(), 1)
  const left = gateway.account.keys.size
  assert.ok(left > 0)
  assert.match(run.output.stderr, RegExp(`^firstkey: left: ${left} registrations with their keys$`, 'm'))
  assert.match(run.output.stderr, /^ {2}To remove this, run: firstkey smoke --remove --yes$/m)
  const dry = await smoke('--remove')
  assert.match(dry.stderr, RegExp(`^Earlier runs left: ${left} registrations with their keys\\.$`, 'm'))
  const removal = await smoke('--remove', '--yes')
  assert.equal(removal.code, 0, removal.stderr)
  await assertRemoved(setting)
})

test('what kill -9 left is found by the next run, also without a record, and removed; keys of others are not', async (t) => {
  const setting = await setUp(t, { latency: { ImportApiKeys: 100 } })
  const { gateway, smoke, start, store } = setting
  // A caller that took the name; a key of another store.
  const description = 'Made by firstkey smoke, which deletes it again.'
  const [other = ''] = newRegistrationIds('0123456789', 1)
  gateway.account.createKey({ name: `${other} firstkey-smoke`, description })
  gateway.account.createKey({ name: `${newRegistrationIds(store.id, 1)[0]} firstkey-smoke`, description: '' })
  const run = start('--keys', '4', '--yes')
  signalAt(gateway, run, 'SIGKILL', ['ImportApiKeys', 'effective', 2])
  assert.equal(await run.ended(), 'SIGKILL')
  assert.equal(gateway.account.keys.size, 2 + 3 + 1 + 4)
  gateway.onCall = () => undefined
  // A key whose record was lost with a backup.
  gateway.account.createKey({ name: `${newRegistrationIds(store.id, 1)[0]} firstkey-smoke`, description })

  const dry = await smoke('--keys', '1')
  assert.equal(dry.code, 0, dry.stderr)
  assert.match(
    dry.stderr,
    /^Earlier runs left: 8 registrations with their keys, 1 key without a record, 1 token that can be used\.$/m,
  )
  assert.match(dry.stderr, /^Keys that firstkey smoke made with other stores: 1\. /m)
  assert.match(dry.stdout, /^It would first remove what earlier runs left\.$/m)
  const next = await smoke('--keys', '1', '--yes')
  assert.equal(next.code, 0, next.stderr)
  await assertRemoved(setting, 2)
})

test('a second run at the same time removes what the first made, and both end with nothing left', async (t) => {
  const setting = await setUp(t, { propagationMs: 3_000 })
  const { smoke, start } = setting
  const first = start('--keys', '1', '--yes')
  await first.seen(/^Waiting until the API accepts the keys…$/m)
  const second = await smoke('--keys', '1', '--yes')
  assert.equal(second.code, 0, second.stderr)
  assert.equal(await first.ended(), 1)
  assert.match(
    first.output.stderr,
    /^The measurement failed: another firstkey smoke removed the keys of this one$/m,
  )
  await assertRemoved(setting)
})

test('beside a server it takes a part of the quotas, and the server neither adopts nor counts what it makes', async (t) => {
  const setting = await setUp(t, { propagationMs: 5_000 }, { AWS_CALLS_PER_SECOND: '10' })
  const { env, gateway, start, store } = setting
  const server = await startServer(t, env)
  const run = start('--keys', '1', '--yes', '--json')
  await run.seen(/^Waiting until the API accepts the keys…$/m)
  const reconciled = await runCli(t, ['reconcile', '--json'], env)
  const { unknown_keys, stray_keys } = JSON.parse(reconciled.stdout)
  assert.deepEqual([unknown_keys, stray_keys], [[], []])
  assert.equal((await fetch(`${server.url}/readyz`)).status, 200)
  assert.equal(await run.ended(), 0, run.output.stderr)
  const found = reportOf(run.output)
  assert.deepEqual([found.beside_server, found.calls_per_second], [true, 2])
  await assertRemoved(setting)
  assert.equal(gateway.answers['DeleteApiKey']?.[202], 2)
  const audit = await store.listAudit({ limit: 1_000 })
  assert.ok(!audit.some(({ action }) => action === 'registration.adopted'))
})
