import assert from 'node:assert/strict'
import { test } from 'node:test'
import { joinReads } from '../../../src/store/sqlite/join-reads.ts'

test('readers that ask in one turn share a read, which sees what was written until its end', async () => {
  const values = new Map([['a', 1]])
  const reads: string[] = []
  const read = joinReads(async (key) => {
    const name = Buffer.from(key).toString()
    reads.push(name)
    return values.get(name)
  })
  const asked = ['a', 'a', 'b', 'a'].map((name) => read(Buffer.from(name)))
  values.set('a', 2)
  const later = read(Buffer.from('a'))
  assert.deepEqual(await Promise.all([...asked, later]), [2, 2, undefined, 2, 2])
  assert.deepEqual(reads, ['a', 'b'])
  // The next turn reads anew.
  values.set('a', 3)
  assert.equal(await read(Buffer.from('a')), 3)
})

test('readers that share a read that fails all get its error, and the next ones read again', async () => {
  let fails = true
  const read = joinReads(async () => {
    if (fails) throw new Error('locked')
    return 'found'
  })
  const key = Buffer.from('a')
  const results = await Promise.allSettled([read(key), read(key)])
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  fails = false
  assert.equal(await read(key), 'found')
})

test('in a turn that does not end, readers are served all the same', async () => {
  const reads: string[] = []
  const read = joinReads(async (key) => reads.push(Buffer.from(key).toString()))
  const key = Buffer.from('a')
  const first = read(key)
  for (const startedAt = performance.now(); performance.now() - startedAt < 50; );
  const second = read(key)
  assert.deepEqual(reads, ['a'], 'it waits for the end of the turn')
  assert.deepEqual(await Promise.all([first, second, read(key)]), [1, 1, 2])
})
