import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Caller, callsOf } from '../../src/aws/calls.ts'
import { iamPolicy, type PolicyDocument } from '../../src/setup/iam-policy.ts'

/** Every pair of an action and a resource that a policy allows. */
function pairs({ Statement }: PolicyDocument): string[] {
  return Statement.flatMap(({ Action, Resource }) =>
    Action.flatMap((action) => Resource.map((resource) => `${action} ${resource.split('::')[1]}`)),
  )
}

test('the policy of the service names its plans, and nothing that it does not call', () => {
  const policy = iamPolicy('service', 'eu-west-1', { usagePlanId: ['abc123', 'def456'] })
  const ofPlan = (id: string) => [
    `apigateway:GET /usageplans/${id}`,
    `apigateway:GET /usageplans/${id}/keys`,
    `apigateway:GET /usageplans/${id}/usage`,
    `apigateway:PATCH /usageplans/${id}/keys/*/usage`,
    `apigateway:POST /usageplans/${id}/keys`,
  ]
  assert.deepEqual(
    pairs(policy).sort(),
    [
      'apigateway:DELETE /apikeys/*',
      'apigateway:GET /apikeys',
      'apigateway:GET /apikeys/*',
      'apigateway:GET /usageplans',
      'apigateway:PATCH /apikeys/*',
      'apigateway:POST /apikeys',
      ...ofPlan('abc123'),
      ...ofPlan('def456'),
    ].sort(),
  )
  for (const { Resource } of policy.Statement)
    for (const resource of Resource) assert.match(resource, /^arn:aws:apigateway:eu-west-1::\//)
})

test('resources with the same actions share a statement, and none is listed under a wider one', () => {
  for (const caller of ['service', 'doctor', 'setup', 'smoke'] satisfies Caller[]) {
    const policy = iamPolicy(caller, 'eu-west-1', {})
    const actions = policy.Statement.map(({ Action }) => Action.join())
    assert.equal(new Set(actions).size, actions.length, caller)
    const allowed = pairs(policy)
    const isAllowed = (action: string, path: string) =>
      allowed.filter((pair) => {
        const [verb = '', pattern = ''] = pair.split(' ')
        return verb === action && RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(path)
      }).length
    for (const { verb, path } of callsOf(caller))
      assert.ok(isAllowed(`apigateway:${verb}`, path) >= 1, `${caller}: ${verb} ${path}`)
    for (const pair of allowed) {
      const [action = '', path = ''] = pair.split(' ')
      assert.equal(isAllowed(action, path), 1, `${caller}: ${pair}`)
    }
  }
})

test('a Region outside the partition aws has ARNs of its own', () => {
  const { Statement } = iamPolicy('service', 'cn-north-1', { usagePlanId: ['abc123'] })
  for (const resource of Statement.flatMap(({ Resource }) => Resource))
    assert.match(resource, /^arn:aws-cn:apigateway:cn-north-1::\//)
})
