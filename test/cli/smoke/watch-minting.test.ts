import assert from 'node:assert/strict'
import { test } from 'node:test'
import { orderOf, type WatchedImport, type WatchedKey } from '../../../src/cli/smoke/watch-minting.ts'

const watched = (id: string | null): WatchedKey => ({
  ...{ name: `reg ${id}`, id, enabled: true, attached: true },
  ...{ inApiKeys: { seenAt: 1, notYetAt: null }, inPlanKeys: { seenAt: 1, notYetAt: null } },
})

const imported = (rows: readonly (string | null)[], ids: readonly string[]): WatchedImport => ({
  ...{ outcome: 'imported', keys: rows.map(watched), ids, attempts: [], endedAt: 0 },
})

test('the order of an import names how its ids relate to its rows', () => {
  const rows = ['m', 'a', 'z', 'k']
  for (const [ids, order] of [
    ['mazk', 'rows'],
    ['kzam', 'reversed'],
    ['akmz', 'sorted'],
    ['zmka', 'other'],
    ['maz', 'other'],
    ['', null],
  ] as const)
    assert.equal(orderOf(imported(rows, [...ids])), order, ids)
  assert.equal(orderOf(imported(['m', 'a'], ['m', 'a'])), null)
  assert.equal(orderOf(imported(['m', 'a', null], ['m', 'a', 'z'])), null)
})
