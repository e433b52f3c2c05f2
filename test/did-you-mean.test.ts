import assert from 'node:assert/strict'
import { test } from 'node:test'
import { didYouMean } from '../src/did-you-mean.ts'

test('the closest known name is proposed, if it is close', () => {
  const plans = ['gold', 'free', 'enterprise']
  for (const [mistyped, name] of [
    ['glod', 'gold'],
    ['Gold', 'gold'],
    ['fre', 'free'],
    ['golds', 'gold'],
    ['enterprize', 'enterprise'],
    ['RATE_LIMIT_PER_IPS', undefined],
    ['silver', undefined],
    ['', undefined],
    ['x'.repeat(10_000), undefined],
  ] as const)
    assert.equal(
      didYouMean(mistyped, plans),
      name === undefined ? '' : ` (did you mean "${name}"?)`,
      mistyped,
    )
  assert.equal(didYouMean('gold', []), '')
})
