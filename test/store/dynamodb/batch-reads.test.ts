import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { batchReads } from '../../../src/store/dynamodb/batch-reads.ts'
import type { Item, Key } from '../../../src/store/dynamodb/expressions.ts'

const keyOf = (n: number): Key => ({ pk: `item ${n}`, sk: '-' })

/** A table with slow reads, which counts them. */
function slowTable(items: Map<string, Item>) {
  const calls = { one: 0, many: 0, keys: 0 }
  // The items are taken when the read is sent, before the delay, as a database may do.
  const read = async (keys: readonly Key[]): Promise<Item[]> => {
    const found = keys.flatMap(({ pk }): Item[] => {
      const item = items.get(pk)
      return item === undefined ? [] : [item]
    })
    await sleep(20)
    return found
  }
  const get = batchReads(
    async (key) => {
      calls.one += 1
      return (await read([key]))[0]
    },
    async (keys) => {
      calls.many += 1
      calls.keys += keys.length
      return read(keys)
    },
    100,
  )
  return { get, calls }
}

test('a thousand requests for the same item need only a few reads', async () => {
  const { get, calls } = slowTable(new Map([['item 1', { ...keyOf(1), n: 7 }]]))
  const found = await Promise.all(Array.from({ length: 1_000 }, () => get(keyOf(1))))
  assert.ok(found.every((item) => item?.['n'] === 7))
  assert.ok(calls.one + calls.many <= 12, JSON.stringify(calls))
})

test('each request gets its own item, or none; many items are read together', async () => {
  const items = new Map(Array.from({ length: 400 }, (_, n) => [keyOf(n).pk, { ...keyOf(n), n }]))
  const { get, calls } = slowTable(items)
  const found = await Promise.all(Array.from({ length: 500 }, (_, n) => get(keyOf(n))))
  for (const [n, item] of found.entries()) assert.equal(item?.['n'], n < 400 ? n : undefined)
  assert.ok(calls.many >= 4 && calls.keys > 400, JSON.stringify(calls))
})

test('no request is served by a read that was sent before it', async () => {
  const items = new Map<string, Item>([['item 1', { ...keyOf(1), n: 'old' }]])
  const { get } = slowTable(items)
  const before = Array.from({ length: 20 }, () => get(keyOf(1)))
  await sleep(5)
  items.set('item 1', { ...keyOf(1), n: 'new' })
  const after = await Promise.all(Array.from({ length: 20 }, () => get(keyOf(1))))
  assert.ok(after.every((item) => item?.['n'] === 'new'))
  await Promise.all(before)
})

test('a failed read rejects only the requests that it serves', async () => {
  let fail = true
  const get = batchReads(
    async () => {
      if (fail) throw new Error('no')
      return { ...keyOf(1), n: 1 }
    },
    async () => [],
    100,
  )
  await assert.rejects(get(keyOf(1)), /no/)
  fail = false
  assert.equal((await get(keyOf(1)))?.['n'], 1)
})
