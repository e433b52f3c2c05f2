import { iamPolicy } from '../../../src/setup/iam-policy.ts'
import { withSection } from './generated-section.ts'

/** docs/for-operators.md with the policy that the calls of the service need. */
export function withPolicySection(document: string): string {
  const policy = iamPolicy('service', 'REGION', { usagePlanId: ['PLAN'] })
  return withSection(document, 'policy', ['```json', JSON.stringify(policy, null, 2), '```'])
}
