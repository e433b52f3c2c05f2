import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newPoolKeyIds, poolKeyName } from '../../../src/registration/key-names.ts'
import { SERVICE } from '../../../src/store/audit.ts'
import { startPooled, until, untilReady } from '../../support/pool-states.ts'
import { registered } from '../../support/service.ts'

test('what a dead process handed out is renamed or deleted, and a key without any record left alone', async (t) => {
  // No key is renamed after its response, as if the process had died.
  const service = await startPooled(t, { env: { POOL: 'gold:2' }, timing: { poolRename: 600_000 } })
  const { deps, gateway } = service
  const { account } = gateway
  await untilReady(service, 2)
  const live = await registered(service, { plans: ['gold'] })
  const ended = await registered(service, { plans: ['gold'] })
  for (const { api_key_id } of [live, ended]) assert.match(account.key(api_key_id).name, /^pool_/)
  const [unknownId = ''] = newPoolKeyIds(deps.store.id, 1)
  const unknown = account.createKey({ name: poolKeyName(unknownId, 'gold'), enabled: true })
  // Its key was not deleted, as in a store whose latest writes were lost.
  await deps.store.endKeys([ended.registration_id], SERVICE, deps.clock())
  await deps.store.finishEndings([ended.registration_id], deps.clock())

  // One that cannot be renamed now is left to a later round, which does not end for it.
  gateway.faults.order({ operation: 'UpdateApiKey', when: 'before', kind: 'refused' })
  await until(service, () => !account.keys.has(ended.api_key_id), 'the stray key is deleted')
  await until(
    service,
    () => account.key(live.api_key_id).name === `${live.registration_id} acme-agent`,
    'the key is renamed',
  )
  await untilReady(service, 2)
  assert.equal(account.key(unknown.id).name, unknown.name)
  assert.equal(account.keys.size, 4)
  assert.ok(service.logLines.some((line) => line.includes('could not tend a key of the pool')))
  assert.ok(!service.logLines.some((line) => line.includes('the upkeep of the pool failed')))
})
