import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ServiceError } from '../../../src/errors.ts'
import { poolKeysIn, startPooled, until, untilReady } from '../../support/pool-states.ts'
import { registered, type Service } from '../../support/service.ts'

/** Waits until the pool has `count` ready keys, and the gateway no other pool keys. */
async function untilNoStrays(service: Service, count: number): Promise<void> {
  const keys = await untilReady(service, count)
  const recorded = keys.map(({ apiKeyId }) => apiKeyId).sort()
  const inGateway = () => poolKeysIn(service.gateway).map(({ id }) => id)
  await until(service, () => inGateway().sort().join() === recorded.join(), `only ${recorded.join()}`)
}

/** Replaces a method of the service's store for its next call that `isMeant` accepts. */
function onNext<M extends 'beginPoolKeys' | 'advancePoolKeys'>(
  { deps: { store } }: Service,
  method: M,
  replacement: (...args: Parameters<Service['deps']['store'][M]>) => Promise<Set<string>>,
  isMeant: (...args: Parameters<Service['deps']['store'][M]>) => boolean = () => true,
): void {
  const original = store[method]
  Object.assign(store, {
    [method]: (...args: Parameters<Service['deps']['store'][M]>) => {
      if (!isMeant(...args)) return Reflect.apply(original, store, args)
      Object.assign(store, { [method]: original })
      return replacement(...args)
    },
  })
}

const startsToWarm = (changes: readonly { readonly to: string }[]) =>
  changes.some(({ to }) => to === 'warming')

describe('no key is left that the store does not know', { concurrency: 4 }, () => {
  test('an import may have taken effect, and its repeat is denied', async (t) => {
    const empty = await startPooled(t, { env: { POOL: '' } })
    const { faults } = empty.gateway
    faults.order({ operation: 'ImportApiKeys', when: 'after', kind: 'fail' })
    faults.order({ operation: 'ImportApiKeys', nth: 2, when: 'before', kind: 'denied' })
    await untilNoStrays(await startPooled(t, { beside: empty, env: { POOL: 'gold:2' } }), 2)
  })

  for (const mode of ['single', 'auto']) {
    const env = { USAGE_PLANS: 'gold=demogold', POOL: 'gold:1', MINT_MODE: mode }

    test(`${mode}: the store fails after a key was made`, async (t) => {
      const service = await startPooled(t, { env })
      await untilReady(service, 1)
      const { promise: failed, resolve } = Promise.withResolvers<void>()
      const fail = () => {
        resolve()
        return Promise.reject(new ServiceError('store_unavailable', 'The store is not available.'))
      }
      onNext(service, 'advancePoolKeys', fail, startsToWarm)
      await registered(service)
      await failed
      await untilNoStrays(service, 1)
    })

    test(`${mode}: another process forgot the record while the key was being made`, async (t) => {
      const service = await startPooled(t, { env })
      await untilReady(service, 1)
      const { store } = service.deps
      const { promise: forgotten, resolve } = Promise.withResolvers<void>()
      const afterOther = async (...args: Parameters<typeof store.advancePoolKeys>) => {
        const [changes, owner, now] = args
        const ids = changes.map(({ id }) => id)
        await store.discardPoolKeys(ids, owner, now)
        await store.forgetPoolKeys(ids, owner)
        resolve()
        return store.advancePoolKeys(...args)
      }
      onNext(service, 'advancePoolKeys', afterOther, startsToWarm)
      await registered(service)
      await forgotten
      await untilNoStrays(service, 1)
    })

    test(`${mode}: a process that stood still after it wrote the records makes no key for them`, async (t) => {
      let passed = 0
      const service = await startPooled(t, { env, clock: () => Date.now() + passed })
      await untilReady(service, 1)
      const { store } = service.deps
      const { promise, resolve } = Promise.withResolvers<Set<string>>()
      onNext(service, 'beginPoolKeys', async (...args) => {
        const begun = await store.beginPoolKeys(...args)
        passed = 10 * 60_000
        resolve(begun)
        return begun
      })
      const names = new Set<string>()
      service.gateway.onCall = () => {
        for (const { name } of poolKeysIn(service.gateway)) names.add(name)
      }
      await registered(service)
      const [late = 'none'] = await promise
      await untilNoStrays(service, 1)
      assert.ok(![...names].some((name) => name.startsWith(late)), `${late} was made`)
    })
  }
})
