import assert from 'node:assert/strict'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { poolKeysIn, startPooled, until, untilReady, untilRecords } from '../../support/pool-states.ts'
import { dataPlane, manage, registered, registeredSchema } from '../../support/service.ts'

test('a store file that was copied by other means than a backup deletes no key that was handed out since', async (t) => {
  const env = { USAGE_PLANS: 'gold=demogold', POOL: 'gold:4' }
  const first = await startPooled(t, { env })
  const { gateway } = first
  const before = await untilReady(first, 4)
  const ids = before.map(({ id }) => id)
  const copy = join(first.dataDir, 'copy.db')
  const db = new DatabaseSync(join(first.dataDir, 'firstkey.db'))
  db.exec(`VACUUM INTO '${copy}'`)
  db.close()
  const own = await registered(first)
  const rotation = await manage(first, own, 'POST', '/rotate', { overlap_seconds: 600 })
  const handedOut = [own, registeredSchema.omit({ management: true }).parse(await rotation.json())]
  const isPoolKey = (id: string) => poolKeysIn(gateway).some((key) => key.id === id)
  await until(first, () => !handedOut.some(({ api_key_id }) => isPoolKey(api_key_id)), 'both are renamed')
  await first.deps.pool?.start().stop()

  const second = await startPooled(t, { beside: first, env: { ...env, STORE: `sqlite:${copy}` } })
  await untilRecords(
    second,
    (keys) =>
      keys.length === 4 &&
      keys.every(({ state }) => state === 'ready') &&
      keys.filter(({ id }) => ids.includes(id)).length === 2,
    'those that were handed out are replaced',
  )
  for (const { api_key_value } of handedOut) assert.equal(await dataPlane(second, api_key_value), 200)
})
