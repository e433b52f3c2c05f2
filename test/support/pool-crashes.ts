import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Gateway } from '../../emulator/gateway.ts'
import type { OperationName } from '../../emulator/operation-names.ts'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { assertInvariants, fastTiming } from './invariants.ts'
import { PoolClients } from './pool-clients.ts'
import { judgePool, type PoolJudge, poolSettled } from './pool-judge.ts'
import { FAST_SERVER, startServer } from './server-process.ts'
import { serverEnv, tempDir, testGateway, unlimitedPolicy } from './service.ts'

export const POOL_SIZES = { free: 3, gold: 5 }
const MAX_USES = 40
const CLIENTS = 6
/** The operations of which a kill may wait for one, in place of a random time. */
export const POOL_OPERATIONS = [
  ...(['ImportApiKeys', 'GetApiKeys', 'GetUsagePlanKeys', 'UpdateApiKey', 'DeleteApiKey'] as const),
] satisfies OperationName[]

type Server = Awaited<ReturnType<typeof startServer>>

/** A gateway, a store, and places for two servers with a pool, which are killed and started again. */
export interface PoolWorld {
  readonly gateway: Gateway
  readonly store: Store
  readonly judge: PoolJudge
  readonly env: Readonly<Record<string, string>>
}

/** Starts what the servers share. A key reaches the data plane a while after it was made, and then is refused now and then. */
export async function poolWorld(t: TestContext): Promise<PoolWorld> {
  const gateway = await testGateway(t, { propagationMs: 50, flickerMs: 2 * fastTiming.poolProbe })
  const dir = tempDir(t)
  const store = openSqliteStore(join(dir, 'firstkey.db'))
  t.after(() => store.close())
  const pool = Object.entries(POOL_SIZES)
    .map(([plan, size]) => `${plan}:${size}`)
    .join(',')
  const env = { ...serverEnv(gateway, dir), POOL: pool, API_PROBE_PATH: '/probe' }
  const judge = judgePool(gateway, store, POOL_SIZES.free + POOL_SIZES.gold)
  gateway.onCall = () => judge.look()
  return { gateway, store, judge, env }
}

/**
 * Kills two servers on one store at random moments, or when a random call to AWS arrives or has taken effect, while clients
 * register, rotate and revoke, and starts them again, now and then after the other could take over. Then asserts that no two
 * clients share a key, that every received key works, that no use is overspent, and that no key is left that was neither handed
 * out nor is in the pool.
 * @param kills the number of kills before each look
 */
export async function crashPool(
  t: TestContext,
  world: PoolWorld,
  kills: number,
  seed: number,
): Promise<void> {
  const { gateway, store, judge, env } = world
  const random = randomNumbers(seed)
  const { secret, token } = await issueBootstrapToken(
    store,
    { ...unlimitedPolicy, label: 'limited', plans: ['gold', 'free'], maxUses: MAX_USES },
    SERVICE,
    Date.now(),
  )
  const open = await issueBootstrapToken(
    store,
    { ...unlimitedPolicy, label: 'open', plans: ['gold', 'free'] },
    SERVICE,
    Date.now(),
  )
  const servers: (Server | undefined)[] = [undefined, undefined]
  const start = async (place: number) => {
    servers[place] = await startServer(t, env, FAST_SERVER)
  }
  await Promise.all([start(0), start(1)])

  /** What waits for a call. */
  let waiting: { operation: OperationName; moment: string; strike: () => void }[] = []
  gateway.onCall = (operation, moment) => {
    judge.look()
    for (const one of waiting) if (one.operation === operation && one.moment === moment) one.strike()
  }
  const momentToStrike = async () => {
    // Every other time there are keys to hand out.
    if (random(2) === 0) await readyKeys(store, 10_000)
    const limit = random(400)
    if (random(2) === 0) return sleep(limit)
    const operation = POOL_OPERATIONS[random(POOL_OPERATIONS.length)] ?? 'ImportApiKeys'
    const moment = random(2) === 0 ? 'arrived' : 'effective'
    const { promise, resolve } = Promise.withResolvers<void>()
    const one = { operation, moment, strike: resolve }
    waiting.push(one)
    await Promise.race([promise, sleep(2_000)])
    waiting = waiting.filter((other) => other !== one)
  }
  let killed = 0
  const kill = async (place: number) => {
    while (killed < kills) {
      killed += 1
      await momentToStrike()
      const server = servers[place]
      servers[place] = undefined
      server?.child.kill('SIGKILL')
      await server?.ended()
      // Long enough for the other to take over, now and then.
      if (random(4) === 0) await sleep(random(1_500))
      await start(place)
    }
  }

  const clients = new PoolClients({ servers, random, secrets: [secret, open.secret], gateway })
  const working = Array.from({ length: CLIENTS }, () => clients.work())
  const killing = Promise.all([kill(0), kill(1)])
    // On a slow machine the servers may have been killed before they had made a key.
    .then(() => receivedFromPool(clients, 60_000))
    .finally(() => clients.stop())
  // What a client finds wrong ends the test at once.
  await Promise.all([killing, ...working])

  await judge.verdict()
  await poolSettled(gateway, store, POOL_SIZES)
  await assertInvariants(gateway, store, clients.received)
  const { uses = 0 } = (await store.getToken(token.id)) ?? {}
  assert.ok(uses <= MAX_USES)
  await clients.assertAllWork()
  for (const server of servers) server?.child.kill('SIGKILL')
  await Promise.all(servers.map((server) => server?.ended()))
}

/** Resolves when a client has received a key of the pool. @throws AssertionError after `limitMs` */
async function receivedFromPool({ received }: PoolClients, limitMs: number): Promise<void> {
  for (const end = Date.now() + limitMs; Date.now() < end; await sleep(50))
    if (received.some(({ ready }) => ready === true)) return
  assert.fail('no key of the pool was handed out')
}

/** Resolves when a key is ready, or after `limitMs`. */
async function readyKeys(store: Store, limitMs: number): Promise<void> {
  for (const end = Date.now() + limitMs; Date.now() < end; await sleep(20))
    if ((await store.listPoolKeys()).some(({ state }) => state === 'ready')) return
}

/** Returns a function for whole numbers from 0 that are the same for the same seed (mulberry32). */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}
