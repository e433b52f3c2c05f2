import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import * as first from '@aws-sdk/client-api-gateway'
import * as second from '@aws-sdk/client-apigatewayv2'
import { z } from 'zod'
import { calls, permissionOf, resourceArn } from '../../src/aws/calls.ts'

/** API Gateway's two APIs. Where both have an operation, the first is meant. */
const sdk = { ...second, ...first }
const folder = join(import.meta.dirname, '../../src/aws')

/** The operations whose command or paginator a file names. */
function operationsIn(code: string): string[] {
  const names = code.matchAll(/\b(?:([A-Z]\w+)Command|paginate([A-Z]\w+))\b/g)
  return [...names]
    .map(([, command, paginated]) => command ?? paginated ?? '')
    .filter((operation) => `${operation}Command` in sdk)
}

test('the table has exactly the operations that the code calls', () => {
  const files = globSync('*.ts', { cwd: folder })
  const found = files.flatMap((file) => operationsIn(readFileSync(join(folder, file), 'utf8')))
  assert.deepEqual([...new Set(found)].sort(), Object.keys(calls).sort())
  assert.deepEqual(operationsIn('new GetStageCommand({}); for await (const p of paginateGetResources(a))'), [
    'GetStage',
    'GetResources',
  ])
})

const schemaOf = z.tuple([z.literal(9), z.string(), z.string(), z.object({ http: z.array(z.unknown()) })])

test('verbs and paths are those that the SDK sends', () => {
  const exported = new Map<string, unknown>(Object.entries(sdk))
  for (const [operation, { verb, path }] of Object.entries(calls)) {
    const [, , , { http }] = schemaOf.rest(z.unknown()).parse(exported.get(`${operation}$`))
    const [method, url] = http
    assert.deepEqual([verb, path], [method, String(url).split('?')[0]?.replace(/^\/v2/, '')], operation)
  }
})

test('the permission of a call names its resource, in the partition of the Region', () => {
  assert.equal(
    permissionOf('GetApiKey', 'eu-west-1', { apiKey: 'k1', includeValue: true }),
    'apigateway:GET on arn:aws:apigateway:eu-west-1::/apikeys/k1',
  )
  assert.equal(
    permissionOf('UpdateUsage', 'us-gov-west-1', { usagePlanId: 'p1' }),
    'apigateway:PATCH on arn:aws-us-gov:apigateway:us-gov-west-1::/usageplans/p1/keys/*/usage',
  )
  for (const [region, partition] of [
    ['cn-north-1', 'aws-cn'],
    ['us-isob-east-1', 'aws-iso-b'],
    ['us-iso-east-1', 'aws-iso'],
    ['us-isof-south-1', 'aws-iso-f'],
    ['eu-isoe-west-1', 'aws-iso-e'],
    ['eusc-de-east-1', 'aws-eusc'],
    ['us-east-1', 'aws'],
  ] as const)
    assert.equal(resourceArn(region, '/account'), `arn:${partition}:apigateway:${region}::/account`)
})
