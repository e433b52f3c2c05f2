import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startFederated } from '../support/identity/federated.ts'

test('a request that finds its name still being registered, and then all places held, replaces that key', async (t) => {
  const service = await startFederated(t, { grant: { max_live: 1, on_repeat: 'rotate' } })
  const { store } = service.deps
  const { completeRegistrations, findLiveByName } = store
  const minted = Promise.withResolvers<void>()
  const looked = Promise.withResolvers<void>()
  store.completeRegistrations = async (...completions) => {
    store.completeRegistrations = completeRegistrations
    minted.resolve()
    await looked.promise
    return completeRegistrations(...completions)
  }
  const first = service.joined()
  await minted.promise
  store.findLiveByName = async (...named) => {
    store.findLiveByName = findLiveByName
    const found = await findLiveByName(...named)
    assert.equal(found?.status, 'pending')
    looked.resolve()
    await first
    return found
  }
  const second = await service.joined()
  assert.equal(second.registration_id, (await first).registration_id)
  assert.notEqual(second.api_key_id, (await first).api_key_id)
})
