import { join } from 'node:path'
import fc from 'fast-check'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { assertInvariants } from './invariants.ts'
import { type ModelStore, type OpenModelStore, World } from './world.ts'

const DAY_MS = 24 * 3_600_000
const operation = fc.constantFrom(
  ...(['CreateApiKey', 'CreateUsagePlanKey', 'ImportApiKeys'] as const),
  ...(['GetUsagePlanKeys', 'GetApiKeys', 'GetApiKey', 'GetUsagePlans'] as const),
  ...(['DeleteApiKey', 'UpdateApiKey'] as const),
)
const mintMode = fc.constantFrom('auto' as const, 'bulk' as const)
/** The number of keys of the default plan that are made beforehand. */
const poolSize = fc.constantFrom(0, 0, 1, 3)
const moment = fc.constantFrom('arrived' as const, 'effective' as const)

/**
 * A random action. `token`: one of two bootstrap tokens, or an identity token; `again`: the identity token of an earlier request;
 * `key`: one of three idempotency keys, or none; `racers`: the number of concurrent requests.
 */
const action = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('register' as const),
      token: fc.nat(2),
      again: fc.boolean(),
      key: fc.option(fc.nat(2)),
      racers: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('fault' as const),
      operation,
      when: fc.constantFrom('before' as const, 'after' as const),
      kind: fc.constantFrom(
        ...(['fail', 'throttle', 'hang', 'half', 'cut', 'conflict'] as const),
        ...(['denied', 'expired', 'odd', 'unsupported', 'refused', 'quota'] as const),
        ...(['late', 'disabled'] as const),
      ),
      nth: fc.integer({ min: 1, max: 3 }),
      ms: fc.constant(200),
      times: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('crash when' as const), operation, moment }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('use' as const), owner: fc.nat(3) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('clear faults' as const),
      waitMs: fc.integer({ min: 0, max: 600 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('move clock' as const),
      ms: fc.constantFrom(30_000, DAY_MS + 1, -3_600_000),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('set server clock' as const),
      aheadMs: fc.constantFrom(40 * DAY_MS, 10_000, -30_000, 0),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('revoke token' as const), token: fc.nat(2) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('rotate' as const),
      owner: fc.nat(3),
      key: fc.option(fc.nat(2)),
      overlap: fc.constantFrom(0, 60, 7_200),
      renew: fc.boolean(),
      racers: fc.integer({ min: 1, max: 2 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('revoke registration' as const), owner: fc.nat(3) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('suspend' as const),
      owner: fc.nat(3),
      suspended: fc.boolean(),
    }),
  },
)

export type Action = typeof action extends fc.Arbitrary<infer T> ? T : never

/**
 * Runs random sequences of registrations by bootstrap tokens and by identity tokens that can be used once, rotations, revocations,
 * suspensions, expiries, retries, replays, races, crashes, restarts, faults, uses of keys, clock jumps and wrong clocks, with and
 * without a pool. Checks that every response is a documented one, that the same request gets the same
 * credential within a day, and, once nothing is left to recover, every invariant against the gateway's own state; then again, once
 * everything that a crash left in doubt is settled.
 * @throws Error with the seed and the path that reproduce the failure
 */
export async function checkModel(
  parameters: { numRuns: number; seed: number; path?: string },
  openStore: OpenModelStore = openFile,
): Promise<void> {
  const run = (mode: 'auto' | 'bulk', pool: number, actions: readonly Action[]) =>
    runActions(openStore, mode, pool, actions)
  const actions = fc.array(action, { minLength: 3, maxLength: 14 })
  await fc.assert(fc.asyncProperty(mintMode, poolSize, actions, run), { ...parameters, endOnFailure: true })
}

async function openFile(dir: string): Promise<ModelStore> {
  const path = join(dir, 'firstkey.db')
  return { store: openSqliteStore(path), env: { STORE: `sqlite:${path}` } }
}

async function runActions(
  openStore: OpenModelStore,
  mode: 'auto' | 'bulk',
  pool: number,
  actions: readonly Action[],
): Promise<void> {
  const world = await World.create(openStore, mode, pool)
  try {
    for (const one of actions) await world.run(one)
    await world.waitUntilIdle()
    await assertInvariants(world.gateway, world.store, await world.keptCredentials())
    await world.settleDoubts()
    await assertInvariants(world.gateway, world.store, await world.keptCredentials())
    await world.assertRevoked()
    await world.assertNoneExpiredEarly()
    await world.assertExhausted()
    await world.assertUsedOnce()
  } finally {
    await world.close()
  }
}
