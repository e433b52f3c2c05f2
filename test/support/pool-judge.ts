import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Gateway } from '../../emulator/gateway.ts'
import { keyName, POOL_PREFIX } from '../../src/registration/key-names.ts'
import type { PoolKey } from '../../src/store/pool.ts'
import type { Store } from '../../src/store/store.ts'
import { fastTiming, hasWorkLeft, ownersOf } from './invariants.ts'

/** Watches an account at every call, for what must hold of a pool at every moment. */
export interface PoolJudge {
  /** Looks at the account now, which may be in the middle of a call. */
  look(): void
  /** Asserts that every look so far was as it must be. */
  verdict(): Promise<void>
}

/** @param size the number of pool keys of all plans */
export function judgePool({ account }: Gateway, store: Store, size: number): PoolJudge {
  const looks: Promise<string | undefined>[] = []
  /** Not handed out when they were counted, and not found to be handed out a moment later. */
  async function surplus(names: readonly string[]): Promise<string | undefined> {
    const rest: string[] = []
    for (const name of names) {
      const owners = await Promise.all(ownersOf(name).map((id) => store.getRegistration(id)))
      if (owners.every((one) => one === undefined)) rest.push(name)
    }
    return rest.length > size ? `${rest.length} keys in the pool of ${size}: ${rest.join(', ')}` : undefined
  }
  return {
    look() {
      const names = [...account.keys.values()].flatMap(({ name }) =>
        name.startsWith(POOL_PREFIX) ? name : [],
      )
      if (names.length > size) looks.push(surplus(names))
    },
    async verdict() {
      assert.deepEqual((await Promise.all(looks)).filter((one) => one !== undefined).slice(0, 3), [])
    },
  }
}

/**
 * Waits until the pool is full and held by processes that run, nothing is left to recover, and every key that was handed out has
 * the name of its registration.
 * @param sizes the numbers of keys by plan
 * @throws Error with what is left after a minute, the time in which a stray key must be found and removed
 */
export async function poolSettled(
  { account }: Gateway,
  store: Store,
  sizes: Readonly<Record<string, number>>,
): Promise<void> {
  const settled = JSON.stringify({ ready: sizes, notReady: [], strays: 0, working: [], unnamed: [] })
  let left = ''
  // The lease of a holder that was killed is over by then.
  let settledUntil = Number.POSITIVE_INFINITY
  for (const end = Date.now() + 60_000; Date.now() < end; await sleep(50)) {
    left = JSON.stringify(await whatIsLeft(account, store, Object.keys(sizes)))
    if (left !== settled) settledUntil = Number.POSITIVE_INFINITY
    else if (settledUntil === Number.POSITIVE_INFINITY) settledUntil = Date.now() + fastTiming.poolLease
    if (Date.now() > settledUntil) return
  }
  assert.fail(`not settled after a minute: ${left}`)
}

async function whatIsLeft(account: Gateway['account'], store: Store, plans: readonly string[]) {
  const registrations = await store.listRegistrations({ limit: 100_000 })
  const pool = await store.listPoolKeys()
  const live = (await store.listPoolHolders()).filter(({ until }) => until > Date.now())
  const isReady = ({ state, holder }: PoolKey) =>
    state === 'ready' && live.some(({ owner }) => owner === holder)
  const active = registrations.filter(({ status }) => status === 'active')
  const names = new Set([...account.keys.values()].map(({ name }) => name))
  return {
    ready: Object.fromEntries(
      plans.map((plan) => [plan, pool.filter((key) => key.plan === plan && isReady(key)).length]),
    ),
    notReady: pool.filter((key) => !isReady(key)).map(({ id, state }) => [id, state]),
    strays: account.keys.size - active.length - pool.length,
    working: registrations
      .filter((one) => hasWorkLeft(one, Date.now()))
      .map(({ id, status }) => [id, status]),
    unnamed: active.filter((one) => !names.has(keyName(one))).map(({ id }) => id),
  }
}
