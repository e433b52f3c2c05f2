import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { type Feature, features } from '../support/gateways/features.ts'
import { startMiniStack } from '../support/gateways/ministack.ts'

const miniStack = await startMiniStack()
after(() => miniStack.stop())

for (const [feature, has] of Object.entries(features)) {
  const expected = !miniStack.lacks.includes(feature as Feature)
  test(`MiniStack ${expected ? 'has' : 'lacks'} the feature: ${feature}`, async () => {
    assert.equal(await has(miniStack), expected)
  })
}
