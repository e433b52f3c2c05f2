import assert from 'node:assert/strict'
import { test } from 'node:test'
import { features } from '../support/gateways/features.ts'
import { startEmptyGateway } from '../support/gateways/local.ts'

test('the emulator has every feature that another emulator is known to lack', async (t) => {
  const gateway = await startEmptyGateway(t)
  for (const [feature, has] of Object.entries(features)) assert.ok(await has(gateway), feature)
})
