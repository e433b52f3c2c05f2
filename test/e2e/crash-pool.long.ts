import { describe, test } from 'node:test'
import { crashPool, poolWorld } from '../support/pool-crashes.ts'

/** A failure names its seed, which repeats the choices but not their timing. */
const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
const ROUNDS = 20

describe('500 kills of two servers with a pool: keys are neither shared, nor dead, nor left over', () => {
  for (let round = 0; round < ROUNDS; round++)
    test(`round ${round} of ${ROUNDS}, SEED=${SEED}`, async (t) => {
      await crashPool(t, await poolWorld(t), 500 / ROUNDS, SEED + round)
    })
})
