import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createFilling } from '../../../src/registration/pool/fill-up.ts'

const orders = ['a', 'b', 'c'].map((name) => ({ plan: { name, usagePlanId: name }, count: 1, most: 1 }))

/** The plans that three calls fill, if each plan takes `ms`, and what the calls return. */
async function filled(ms: number, poolRound: number) {
  const plans: string[] = []
  const fill = async ({ plan }: (typeof orders)[number]) => {
    plans.push(plan.name)
    await sleep(ms)
    return false
  }
  const fillUp = createFilling({ fill }, { poolRound })
  const results: boolean[] = []
  for (let i = 0; i < 3; i++) results.push(await fillUp(orders, new AbortController().signal))
  return { plans: plans.join(''), results }
}

test('a plan that takes long delays each other one by no more than its own turn', async () => {
  assert.deepEqual(await filled(50, 20), { plans: 'abc', results: [true, true, true] })
})

test('plans that take no time are filled together', async () => {
  assert.deepEqual(await filled(0, 60_000), { plans: 'abcabcabc', results: [false, false, false] })
})
