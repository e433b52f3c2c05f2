import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { openStore } from '../../src/store/open.ts'
import { fillPool } from '../store/pool-keys.ts'
import { runCli } from '../support/server-process.ts'
import { tempDir } from '../support/service.ts'

test('pool shows how many keys are ready, who holds them, and which plan has none', async (t) => {
  const path = join(tempDir(t), 'firstkey.db')
  const store = await openStore({ kind: 'sqlite', path }, { log: console })
  const cli = (...args: string[]) => runCli(t, args, { STORE: `sqlite:${path}` })

  const none = await cli('pool')
  assert.equal(none.code, 0, none.stderr)
  assert.equal(none.stdout, '')
  assert.match(none.stderr, /^No running server has POOL set\.$/m)

  await fillPool(store, 3, { plan: 'gold', owner: 'annannannann', until: Date.now() - 1 })
  const owner = 'benbenbenben'
  await fillPool(store, 2, { plan: 'free', owner, until: Date.now() })
  const trouble = 'imports do not work: keys are made one at a time'
  const sizes = { free: 5, gold: 3, team: 2 }
  await store.renewPoolHolder({ owner, until: Date.now() + 60_000, sizes, trouble })
  const shown = await cli('pool')
  assert.equal(shown.code, 0, shown.stderr)
  assert.match(shown.stdout, /^PLAN +SIZE +READY +WARMING +MAKING +DISCARDING +UNHELD +OLDEST +NEWEST$/m)
  assert.match(shown.stdout, /^gold +3 +3 +0 +0 +0 +3 +\d+d +\d+d$/m)
  assert.match(shown.stdout, /^free +5 +2 +0 +0 +0 +0 +\d+d +\d+d$/m)
  assert.match(shown.stdout, /^HOLDER +KEYS +UNTIL +POOL +TROUBLE$/m)
  assert.match(shown.stdout, /^annann +3 +\S+Z \(expired\) +gold:3$/m)
  assert.match(
    shown.stdout,
    /^benben +2 +\S+Z +free:5,gold:3,team:2 +imports do not work: keys are made one at a time$/m,
  )
  assert.match(shown.stderr, /^No key of the pool of plan team is ready: /m)
  assert.doesNotMatch(shown.stderr, /plan (gold|free)|No running server/)

  const json = JSON.parse((await cli('pool', '--json')).stdout)
  const { oldest_seconds, newest_seconds, ...gold } = json.plans[1]
  assert.ok(oldest_seconds > 0 && newest_seconds > 0)
  assert.deepEqual(gold, {
    ...{ plan: 'gold', size: 3, ready: 3, warming: 0, making: 0, discarding: 0, unheld: 3 },
  })
  const [ann, ben] = json.holders
  assert.deepEqual([ann.holder, ann.live, ann.keys, ann.sizes], ['annann', false, 3, { gold: 3 }])
  assert.deepEqual([ben.holder, ben.live, ben.keys], ['benben', true, 2])
  assert.deepEqual([ann.trouble, ben.trouble], [null, trouble])

  await fillPool(store, 2, { plan: 'old' })
  await store.renewPoolHolder({ owner, until: Date.now() + 60_000, sizes: { ...sizes, trial: 0 }, trouble })
  const stats = await cli('registrations', 'stats')
  assert.match(stats.stderr, /^Pool of plan gold: 3 of 3 keys are ready\.$/m)
  assert.match(stats.stderr, /^Pool of plan team: empty, of 2 keys\.$/m)
  assert.match(stats.stderr, /^Pool of plan old: none, so its keys are deleted: 2 left\.$/m)
  assert.match(stats.stderr, /^Pool of plan trial: none, because a server does not have the plan in POOL\.$/m)
  await store.close()
})
