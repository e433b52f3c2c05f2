import { test } from 'node:test'
import { crashPool, poolWorld } from '../support/pool-crashes.ts'

test('10 kills of two servers with a pool: keys are neither shared, nor dead, nor left over', async (t) => {
  await crashPool(t, await poolWorld(t), 10, 20_261_128)
})
