import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ApiKey } from '../../emulator/account.ts'
import type { Gateway } from '../../emulator/gateway.ts'
import { POOL_PREFIX } from '../../src/registration/key-names.ts'
import type { PoolKey } from '../../src/store/pool.ts'
import { fastTiming } from './invariants.ts'
import { type Service, type ServiceOptions, startService } from './service.ts'

const WAIT_MS = 30_000

/** Starts a service with a pool, whose keys count as working at once unless the options say otherwise. */
export function startPooled(t: TestContext, options: ServiceOptions = {}): Promise<Service> {
  return startService(t, {
    ...options,
    timing: { ...fastTiming, ...options.timing },
    env: { POOL: 'gold:4', POOL_SETTLE: '0', ...options.env },
  })
}

/** Waits until something holds. */
export async function until(
  { logLines }: Pick<Service, 'logLines'>,
  holds: () => boolean | Promise<boolean>,
  what: string,
): Promise<void> {
  for (const end = Date.now() + WAIT_MS; !(await holds()); await sleep(10))
    if (Date.now() > end) assert.fail(`not in time: ${what}\n${logLines.slice(-30).join('')}`)
}

/** Waits until the records of the pool are as wanted. @returns them */
export async function untilRecords(
  service: Service,
  holds: (keys: PoolKey[]) => boolean,
  what: string,
): Promise<PoolKey[]> {
  let keys: PoolKey[] = []
  await until(
    service,
    async () => {
      keys = await service.deps.store.listPoolKeys()
      return holds(keys)
    },
    what,
  )
  return keys
}

/** Waits until the pool has `count` keys, and all are ready. */
export const untilReady = (service: Service, count: number): Promise<PoolKey[]> =>
  untilRecords(
    service,
    (keys) => keys.length === count && keys.every(({ state }) => state === 'ready'),
    `${count} ready`,
  )

/** Waits until the only holder of the pool has such a trouble; `none` stands for no trouble. */
export const untilTrouble = (service: Service, wanted: RegExp): Promise<void> =>
  until(
    service,
    async () => wanted.test((await service.deps.store.listPoolHolders())[0]?.trouble ?? 'none'),
    `the trouble is ${wanted}`,
  )

/** The keys in the gateway that have the names of pool keys. */
export const poolKeysIn = ({ account }: Gateway): ApiKey[] =>
  [...account.keys.values()].filter(({ name }) => name.startsWith(POOL_PREFIX))

/** The calls of an operation that the gateway has answered. */
export const callsOf = ({ calls }: Gateway, operation: string) =>
  calls.filter((call) => call.operation === operation)

/** Returns how many keys of gold this process can hand out. */
export const readyHere = ({ deps }: Service): number => deps.pool?.heldKeys.ready('demogold') ?? 0
