import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { iamPolicy } from '../../src/setup/iam-policy.ts'
import { withPolicySection } from '../support/docs/policy-section.ts'

test('docs/for-operators.md has the policy of the calls of the service: npm run docs writes it', () => {
  const document = readFileSync(join(import.meta.dirname, '../../docs/for-operators.md'), 'utf8')
  assert.equal(document, withPolicySection(document))
  const [, policy = ''] = document.match(/<!-- policy:begin -->\n```json\n([^`]+)```/) ?? []
  assert.deepEqual(JSON.parse(policy), iamPolicy('service', 'REGION', { usagePlanId: ['PLAN'] }))
})
