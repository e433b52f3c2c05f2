// One of two processes that race on a store. Arguments: its file, the name of this holder, the id of a token, and the size of the
// pool of the plan gold. When both are there, it adds keys to that plan and hands out every ready key of the other to the token.
// Prints the ids of the keys that it got.
import { setTimeout as sleep } from 'node:timers/promises'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { LEASE_MS, newHandOut, newPoolKeys, T } from '../store/pool-keys.ts'
import { newRegistration } from '../store/store-contract.ts'

const [, , path = '', owner = '', tokenId = '', most = ''] = process.argv
const store = openSqliteStore(path)
const ready = (await store.listPoolKeys()).filter(({ state }) => state === 'ready')
await store.renewPoolHolder({ owner, until: T + LEASE_MS, sizes: {}, trouble: null })
while ((await store.listPoolHolders()).length < 3) await sleep(1)

const begun: string[] = []
const handedOut: string[] = []
for (const key of ready) {
  const added = newPoolKeys(1, { plan: 'gold' })
  const [ids, [outcome]] = await Promise.all([
    store.beginPoolKeys(added, owner, Number(most)),
    store.handOutPoolKeys([newHandOut(key, newRegistration(tokenId, T))], T),
  ])
  begun.push(...ids)
  if (outcome?.outcome === 'handed_out') handedOut.push(key.id)
}
await store.close()
process.stdout.write(JSON.stringify({ begun, handedOut }))
