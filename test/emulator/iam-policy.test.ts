import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  CreateApiKeyCommand,
  CreateRestApiCommand,
  GetRestApiCommand,
  GetUsagePlanCommand,
  GetUsagePlansCommand,
  TagResourceCommand,
  UpdateRestApiCommand,
} from '@aws-sdk/client-api-gateway'
import { GetApiCommand } from '@aws-sdk/client-apigatewayv2'
import { createAuthorizer, type PolicyDocument, wildcard } from '../../emulator/iam-policy.ts'
import { gatewayClient, secondApiClient } from '../support/gateway-client.ts'

const ARN = 'arn:aws:apigateway:eu-west-1::'
const allow = (action: string | string[], ...paths: string[]): PolicyDocument => ({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Action: action, Resource: paths.map((path) => `${ARN}${path}`) }],
})

test('a call needs a statement for its HTTP method on its path; the message names both, as AWS has it', async (t) => {
  const { sdk, gateway } = await gatewayClient(t, { policy: allow('apigateway:GET', '/usageplans/*') })
  await sdk.send(new GetUsagePlanCommand({ usagePlanId: 'demofree' }))
  const create = () => sdk.send(new CreateApiKeyCommand({ name: 'a' }))
  await assert.rejects(create(), {
    name: 'AccessDeniedException',
    message: `User: arn:aws:iam::123456789012:user/demo is not authorized to perform: apigateway:POST on resource: ${ARN}/apikeys because no identity-based policy allows the apigateway:POST action`,
  })
  assert.partialDeepStrictEqual(gateway.calls.at(-1), {
    operation: 'CreateApiKey',
    method: 'POST',
    path: '/apikeys',
    status: 403,
  })
  assert.equal(gateway.account.keys.size, 0)
  await assert.rejects(sdk.send(new GetUsagePlansCommand({})), { name: 'AccessDeniedException' })
  gateway.policy = {
    Statement: [
      { Effect: 'Allow', Action: 'apigateway:*', Resource: '*' },
      { Sid: 'no', Effect: 'Deny', Action: ['apigateway:post'], Resource: [`${ARN}/apikey?`] },
    ],
  }
  await assert.rejects(create(), { message: /with an explicit deny in an identity-based policy$/ })
  await sdk.send(new GetUsagePlansCommand({}))
  gateway.policy = null
  await create()
})

test('to tag a resource, as it is created or later, needs PUT below /tags/, as AWS has it', async (t) => {
  const { sdk, gateway } = await gatewayClient(t, { policy: allow('apigateway:POST', '/restapis') })
  await sdk.send(new CreateRestApiCommand({ name: 'plain' }))
  const tagged = () => sdk.send(new CreateRestApiCommand({ name: 'tagged', tags: { a: 'b' } }))
  await assert.rejects(tagged(), {
    name: 'AccessDeniedException',
    message:
      /apigateway:PUT on resource: arn:aws:apigateway:eu-west-1::\/tags\/arn%3Aaws%3Aapigateway%3Aeu-west-1%3A%3A%2Frestapis%2F\* /,
  })
  gateway.policy = allow(['apigateway:POST', 'apigateway:PUT'], '/restapis', '/tags/*')
  await tagged()
  const tag = () =>
    sdk.send(new TagResourceCommand({ resourceArn: `${ARN}/restapis/demo`, tags: { a: 'b' } }))
  await assert.rejects(tag(), {
    message: /apigateway:PATCH on resource: arn:aws:apigateway:eu-west-1::\/restapis\/demo /,
  })
  gateway.policy = allow(['apigateway:PATCH', 'apigateway:PUT'], '/restapis/demo', '/tags/*')
  await tag()
})

test('to set a resource policy needs a permission of its own', async (t) => {
  const { sdk, gateway } = await gatewayClient(t, { policy: allow('apigateway:PATCH', '/restapis/demo') })
  const patch = (path: string, value: string) =>
    sdk.send(
      new UpdateRestApiCommand({ restApiId: 'demo', patchOperations: [{ op: 'replace', path, value }] }),
    )
  await patch('/description', 'x')
  const set = () => patch('/policy', '{"Statement":[]}')
  await assert.rejects(set(), {
    message: /apigateway:UpdateRestApiPolicy on resource: arn:aws:apigateway:eu-west-1::\/restapis\/demo /,
  })
  gateway.policy = allow(['apigateway:PATCH', 'apigateway:UpdateRestApiPolicy'], '/restapis/demo')
  await set()
})

test('IAM knows the second API without its /v2, and an HTTP API is known there only', async (t) => {
  const { sdk, gateway, call } = await gatewayClient(t, {
    httpApis: [{ apiId: 'a1b2c3', name: 'web' }],
    policy: allow('apigateway:GET', '/apis/*', '/restapis/*'),
  })
  const other = secondApiClient(t, gateway)
  const { ProtocolType, CreatedDate } = await other.send(new GetApiCommand({ ApiId: 'a1b2c3' }))
  assert.deepEqual([ProtocolType, CreatedDate instanceof Date], ['HTTP', true])
  const unknown = { name: 'NotFoundException', message: /^Invalid API identifier specified/ }
  await assert.rejects(other.send(new GetApiCommand({ ApiId: 'demo' })), unknown)
  await assert.rejects(sdk.send(new GetRestApiCommand({ restApiId: 'a1b2c3' })), unknown)
  assert.equal((await call(undefined, 'a1b2c3/prod/hello')).status, 200, 'an HTTP API has no keys')
})

test('a policy that the emulator cannot evaluate is refused', () => {
  const [statement] = [{ Effect: 'Allow' as const, Action: '*', Resource: '*' }]
  for (const bad of [
    {},
    { Statement: [{ ...statement, Condition: {} }] },
    { Statement: [{ ...statement, Effect: 'Maybe' }] },
    { Statement: { Effect: 'Allow', Action: '*' } },
  ])
    assert.throws(() => createAuthorizer(bad as PolicyDocument), { name: 'ZodError' })
  createAuthorizer({ Statement: statement })
})

test('wildcards match any text or one character, in linear time', () => {
  for (const [pattern, text, matches] of [
    ['*', '', true],
    ['a*', 'abc', true],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['*/keys', 'x/keys', true],
    ['*/keys', 'x/keys/y', false],
    ['a*b*c', 'aXbYbZc', true],
    ['a.c', 'abc', false],
    ['', 'a', false],
    [`${'*a'.repeat(1_000)}b`, 'a'.repeat(10_000), false],
  ] as const)
    assert.equal(wildcard(pattern, text), matches, pattern.slice(0, 20))
})
