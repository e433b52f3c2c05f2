import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findRegistration } from '../../../src/cli/load-registration.ts'
import { deleteStrayKey, findDiscrepancies } from '../../../src/registration/jobs/reconcile.ts'
import { adoptKeys, lookAtUnknown } from '../../../src/registration/jobs/unknown-keys.ts'
import {
  newPoolKeyIds,
  newRegistrationIds,
  poolKeyName,
  registrationIdOfPoolKey,
  rotationIdOfPoolKey,
} from '../../../src/registration/key-names.ts'
import { SERVICE } from '../../../src/store/audit.ts'
import { dataPlane, manage, registered, type Service, startService } from '../../support/service.ts'
import { stockedPool } from '../../support/stocked-pool.ts'

const { signal } = new AbortController()
const timing = { poolRename: 3_600_000 }

/** Makes a key with the name of a pool key, as a process did whose store is lost. */
function makeUnknown({ deps, gateway }: Service) {
  const [id = ''] = newPoolKeyIds(deps.store.id, 1)
  const description = 'given to no caller yet'
  const key = gateway.account.createKey({ name: poolKeyName(id, 'free'), description, enabled: true })
  gateway.account.attach('demofree', key.id)
  return { id, key }
}

test('keys of the pool, and those that were handed out and not renamed, are known', async (t) => {
  const service = await startService(t, { timing })
  const { deps } = service
  const { stock } = stockedPool(service, 'gold')
  const [, rotation] = await stock(3)
  const own = await registered(service, { plans: ['gold'] })
  assert.equal((await manage(service, own, 'POST', '/rotate', { overlap_seconds: 60 })).status, 201)
  const found = await findDiscrepancies(deps, signal)
  assert.deepEqual(
    [found.strayKeys, found.unknownKeys, found.unmarkedKeys, found.deadRecords],
    [[], [], [], []],
  )
  assert.deepEqual([found.disabledKeys, found.detachedKeys, found.youngRecords], [[], [], []])
  assert.equal(found.knownKeys, 3)
  assert.equal((await deps.store.getRegistration(rotationIdOfPoolKey(rotation?.id ?? '')))?.status, 'active')
})

test('a key that was recorded and made during the comparison is known', async (t) => {
  const service = await startService(t, { timing })
  const { deps } = service
  const { stock } = stockedPool(service)
  await stock(1)
  const { listPoolKeys } = deps.store
  let isFirst = true
  const store = {
    ...deps.store,
    async listPoolKeys() {
      const keys = await listPoolKeys()
      if (isFirst) await stock(1)
      isFirst = false
      return keys
    },
  }
  const found = await findDiscrepancies({ ...deps, store }, signal)
  assert.deepEqual(found.unknownKeys, [])
  assert.equal(found.knownKeys, 2)

  // Handed out before the second look at the pool.
  let looks = 0
  store.listPoolKeys = async () => {
    looks += 1
    if (looks === 1) return []
    await registered(service)
    return listPoolKeys()
  }
  assert.deepEqual((await findDiscrepancies({ ...deps, store }, signal)).unknownKeys, [])
  assert.equal(looks, 2)
})

test('a pool key whose registration has ended is stray', async (t) => {
  const service = await startService(t, { timing })
  const { deps, gateway } = service
  const { stock } = stockedPool(service)
  const [key] = await stock(1)
  assert.ok(key)
  const own = await registered(service)
  assert.equal((await manage(service, own, 'DELETE')).status, 204)
  const late = gateway.account.createKey({ name: poolKeyName(key.id, 'free'), enabled: true })
  const { strayKeys, unknownKeys } = await findDiscrepancies(deps, signal)
  assert.deepEqual([strayKeys.map(({ id }) => id), unknownKeys], [[late.id], []])
  for (const stray of strayKeys) await deleteStrayKey(deps, stray, SERVICE, signal)
  assert.equal(gateway.account.keys.size, 0)
  const [entry] = await deps.store.listAudit({ registrationId: own.registration_id, limit: 1 })
  assert.equal(entry?.detail, 'stray')
})

test('a pool key without any record is unknown, and can be adopted as a registration', async (t) => {
  const service = await startService(t, { timing })
  const { deps } = service
  const { id, key } = makeUnknown(service)
  const { unknownKeys } = await findDiscrepancies(deps, signal)
  assert.deepEqual(
    unknownKeys.map((one) => one.id),
    [key.id],
  )
  await adoptKeys(deps, await lookAtUnknown(deps, unknownKeys, signal), SERVICE)
  const adopted = await deps.store.getRegistration(registrationIdOfPoolKey(id))
  assert.equal(adopted?.status, 'active')
  assert.equal(adopted.apiKeyId, key.id)
  assert.equal(adopted.plan, 'free')
  assert.equal(adopted.name, 'pool key (free)')
  assert.equal(adopted.description, '')
  const again = await findDiscrepancies(deps, signal)
  assert.deepEqual([again.unknownKeys, again.strayKeys], [[], []])
  assert.equal(await dataPlane(service, key.value), 200)
})

test('a pool key that a list shows although it is deleted is no unknown key', async (t) => {
  const service = await startService(t, { timing, gateway: { deletedMs: 60_000 } })
  const { deps, gateway } = service
  const { key } = makeUnknown(service)
  gateway.account.deleteKey(key.id)
  assert.deepEqual((await findDiscrepancies(deps, signal)).unknownKeys, [])
})

test('pool keys of another store are left alone', async (t) => {
  const service = await startService(t)
  const [id = ''] = newPoolKeyIds('0123456789', 1)
  service.gateway.account.createKey({ name: poolKeyName(id, 'free'), enabled: true })
  const found = await findDiscrepancies(service.deps, signal)
  assert.deepEqual([...found.otherStores], [['0123456789', 1]])
  assert.deepEqual(found.unknownKeys, [])
})

test('a registration is found by the id and the name of the pool key that it was given', async (t) => {
  const service = await startService(t, { timing })
  const { store } = service.deps
  const { stock } = stockedPool(service, 'gold')
  const [first, second] = await stock(2)
  assert.ok(first && second)
  const own = await registered(service, { plans: ['gold'] })
  assert.equal((await manage(service, own, 'POST', '/rotate', { overlap_seconds: 60 })).status, 201)
  const ids = [own.registration_id, rotationIdOfPoolKey(second.id), own.api_key_id, second.apiKeyId]
  const names = [first, second].flatMap(({ id }) => [id, poolKeyName(id, 'gold')])
  for (const text of [...ids, ...names])
    assert.equal((await findRegistration(store, text))?.id, own.registration_id, text)
  const [other = ''] = newRegistrationIds(store.id, 1)
  for (const text of [other, `${other} acme`, newPoolKeyIds(store.id, 1)[0] ?? '', 'pool_x', ''])
    assert.equal(await findRegistration(store, text), undefined, text)
})
