import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { randomBase62 } from '../../src/auth/random.ts'
import { SERVICE } from '../../src/store/audit.ts'
import type { HandOut, HandOutOutcome, NewPoolKey, PoolKey } from '../../src/store/pool.ts'
import type { NewRegistration, TokenPolicy } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { unlimitedPolicy } from '../support/service.ts'
import { newRegistration } from './store-contract.ts'

/** Two connections to one empty store: those of two processes. */
export type OpenTwice = (t: TestContext) => Promise<readonly [Store, Store]>

/** The time at which the pool's records are made: late enough for the audit trail. */
export const T = Date.UTC(2026, 10, 24)
/** Two processes. */
export const [ANN, BEN] = ['ann', 'ben'] as const
/** The time of a holder (ms). */
export const LEASE_MS = 15_000

export function newPoolKeys(count: number, { plan = 'free', createdAt = T } = {}): NewPoolKey[] {
  return Array.from({ length: count }, () => ({
    ...{ id: `pool_${randomBase62(20)}`, plan, usagePlanId: `demo${plan}`, createdAt },
  }))
}

export const apiKeyOf = ({ id }: Pick<PoolKey, 'id'>) => `key of ${id}`

/** Makes `owner` a holder until `until`, and `count` keys of a plan `ready` in its hands. */
export async function fillPool(
  store: Store,
  count: number,
  { owner = ANN as string, plan = 'free', until = T + LEASE_MS } = {},
): Promise<NewPoolKey[]> {
  const keys = newPoolKeys(count, { plan })
  await makeReady(store, keys, owner, until)
  return keys
}

/** Makes `owner` a holder until `until`, and new keys of a plan `ready` in its hands. */
export async function makeReady(
  store: Store,
  keys: readonly NewPoolKey[],
  owner: string = ANN,
  until = T + LEASE_MS,
): Promise<void> {
  const count = keys.length
  await store.renewPoolHolder({ owner, until, sizes: { [keys[0]?.plan ?? '']: count }, trouble: null })
  assert.equal((await store.beginPoolKeys(keys, owner, 10_000)).size, count)
  for (const to of ['warming', 'ready'] as const) {
    const changes = keys.map((key) => ({
      id: key.id,
      to,
      apiKeyId: apiKeyOf(key),
      seenWorking: to === 'ready',
    }))
    assert.equal((await store.advancePoolKeys(changes, owner, T)).size, count)
  }
}

/** Fills the pool with one key. */
export async function newReadyKey(
  store: Store,
  options: Parameters<typeof fillPool>[2] = {},
): Promise<NewPoolKey> {
  const [key] = await fillPool(store, 1, options)
  assert.ok(key)
  return key
}

export async function newTokenId(store: Store, policy: Partial<TokenPolicy> = {}): Promise<string> {
  return (await issueBootstrapToken(store, { ...unlimitedPolicy, ...policy }, SERVICE, 1)).token.id
}

/** Returns the hand-out of a key to a registration, whose id becomes that of the key. */
export function newHandOut(
  key: NewPoolKey,
  registration: NewRegistration,
  overrides: Partial<HandOut> = {},
): HandOut {
  const kind = registration.rotation === null ? 'reg' : 'rot'
  return {
    poolKeyId: key.id,
    owner: ANN,
    registration: { ...registration, id: key.id.replace('pool', kind) },
    apiKeyId: apiKeyOf(key),
    actor: SERVICE,
    isAwaited: () => true,
    ...overrides,
  }
}

/** Hands a key out. @returns the outcome */
export async function handOut(store: Store, one: HandOut, now = T): Promise<HandOutOutcome> {
  const [outcome] = await store.handOutPoolKeys([one], now)
  assert.ok(outcome)
  return outcome
}

/** Hands a key of its own to a registration. @returns the registration as it was begun */
export async function newHandedOut(
  store: Store,
  tokenId: string,
  options: Partial<NewRegistration> = {},
): Promise<NewRegistration> {
  const one = newHandOut(await newReadyKey(store), { ...newRegistration(tokenId, T), ...options })
  assert.deepEqual(await handOut(store, one), { outcome: 'handed_out', replaced: null })
  return one.registration
}

export const poolKey = async (store: Store, { id }: Pick<PoolKey, 'id'>): Promise<PoolKey | undefined> =>
  (await store.listPoolKeys()).find((one) => one.id === id)

/** Everything that a refused hand-out must leave as it is. */
export async function recordsOf(store: Store) {
  return {
    poolKeys: await store.listPoolKeys(),
    tokens: await store.listTokens(),
    registrations: await store.listRegistrations({ limit: 1_000 }),
    // The newest are enough: DynamoDB reads on for a longer list, day by day.
    audit: await store.listAudit({ limit: 10 }),
  }
}
