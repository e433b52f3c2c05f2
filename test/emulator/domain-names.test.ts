import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { test } from 'node:test'
import {
  CreateBasePathMappingCommand,
  CreateDomainNameCommand,
  CreateStageCommand,
  DeleteBasePathMappingCommand,
  DeleteDomainNameCommand,
  DeleteRestApiCommand,
  DeleteStageCommand,
  GetBasePathMappingCommand,
  GetBasePathMappingsCommand,
  GetDomainNameCommand,
  GetDomainNamesCommand,
  type PatchOperation,
  UpdateBasePathMappingCommand,
  UpdateDomainNameCommand,
  UpdateRestApiCommand,
  UpdateStageCommand,
} from '@aws-sdk/client-api-gateway'
import { attachedKey, gatewayClient } from '../support/gateway-client.ts'

const VALUE = 'A'.repeat(39)
const domainName = 'api.example.com'
const regional = {
  domainName,
  regionalCertificateArn: 'arn:aws:acm:eu-west-1:123456789012:certificate/1',
  endpointConfiguration: { types: ['REGIONAL' as const] },
}
const replace = (path: string, value: string): PatchOperation => ({ op: 'replace', path, value })

/** Returns the status for a request to a custom domain. */
async function statusOf(url: string, path: string): Promise<number | undefined> {
  const sent = request(`${url}${path}`, { headers: { host: `${domainName}:443`, 'x-api-key': VALUE } })
  sent.end()
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  response.resume()
  return response.statusCode
}

test('a custom domain leads to the stage that its base path is mapped to, also where the default endpoint is disabled', async (t) => {
  const { sdk, gateway, call } = await gatewayClient(t)
  await attachedKey(sdk, VALUE)
  assert.equal(await statusOf(gateway.url, '/v1/hello'), 404, 'another Host is the gateway itself')
  const made = await sdk.send(new CreateDomainNameCommand(regional))
  assert.deepEqual([made.domainNameStatus, made.endpointConfiguration?.types], ['AVAILABLE', ['REGIONAL']])
  assert.equal(await statusOf(gateway.url, '/v1/hello'), 403)
  const mapping = { domainName, restApiId: 'demo', stage: 'prod' }
  await sdk.send(new CreateBasePathMappingCommand({ ...mapping, basePath: 'v1' }))
  assert.equal(await statusOf(gateway.url, '/v1/hello'), 200)
  assert.equal(await statusOf(gateway.url, '/v1/hello?a=b'), 200)
  assert.equal(await statusOf(gateway.url, '/hello'), 403)
  const whole = await sdk.send(new CreateBasePathMappingCommand({ domainName, restApiId: 'demo' }))
  assert.equal(whole.basePath, '(none)')
  assert.equal(await statusOf(gateway.url, '/prod/hello'), 200, 'the path names the stage')
  const listed = await sdk.send(new GetBasePathMappingsCommand({ domainName }))
  assert.deepEqual(
    listed.items?.map(({ basePath, stage }) => [basePath, stage]),
    [
      ['v1', 'prod'],
      ['(none)', undefined],
    ],
  )

  const off = [replace('/disableExecuteApiEndpoint', 'true')]
  await sdk.send(new UpdateRestApiCommand({ restApiId: 'demo', patchOperations: off }))
  const described = [replace('/description', 'x')]
  await sdk.send(new UpdateStageCommand({ restApiId: 'demo', stageName: 'prod', patchOperations: described }))
  assert.deepEqual([(await call(VALUE)).status, await statusOf(gateway.url, '/v1/hello')], [403, 200])

  const { deploymentId } = gateway.account.restApis.get('demo').stages.get('prod') ?? {}
  await sdk.send(new CreateStageCommand({ restApiId: 'demo', stageName: 'dev', deploymentId }))
  const update = (basePath: string, ...patchOperations: PatchOperation[]) =>
    sdk.send(new UpdateBasePathMappingCommand({ domainName, basePath, patchOperations }))
  assert.deepEqual((await update('(none)', replace('/stage', 'dev'))).stage, 'dev')
  await assert.rejects(update('(none)', replace('/basePath', 'v1')), { name: 'ConflictException' })
  assert.equal(await statusOf(gateway.url, '/hello'), 403, 'the plan does not cover that stage')
  await update('(none)', replace('/stage', 'prod'), replace('/restapiId', 'demo'))
  assert.equal(await statusOf(gateway.url, '/hello'), 200)
})

test('what a base path is mapped to cannot be deleted; bad input gets the errors of AWS', async (t) => {
  const { sdk } = await gatewayClient(t)
  await sdk.send(new CreateDomainNameCommand(regional))
  const mapping = { domainName, restApiId: 'demo', stage: 'prod', basePath: 'v1' }
  await sdk.send(new CreateBasePathMappingCommand(mapping))
  const domain = { domainName: 'other.example.com' }
  const cases: [{ readonly input: object }, string, RegExp][] = [
    [
      new DeleteRestApiCommand({ restApiId: 'demo' }),
      'BadRequestException',
      /^Deleting RestApi demo failed\. .*: api\.example\.com$/,
    ],
    [
      new DeleteStageCommand({ restApiId: 'demo', stageName: 'prod' }),
      'BadRequestException',
      /^Deleting stage prod failed/,
    ],
    [new CreateDomainNameCommand(regional), 'ConflictException', /already exists/],
    [new CreateDomainNameCommand({ domainName: 'x.example.com' }), 'BadRequestException', /certificate/],
    [new CreateDomainNameCommand({ domainName: 'no domain' }), 'BadRequestException', /domainName/],
    [new GetDomainNameCommand(domain), 'NotFoundException', /^Invalid domain name identifier specified$/],
    [
      new GetBasePathMappingsCommand(domain),
      'NotFoundException',
      /^Invalid domain name identifier specified$/,
    ],
    [
      new CreateBasePathMappingCommand(mapping),
      'ConflictException',
      /^Base path already exists for this domain name$/,
    ],
    [
      new CreateBasePathMappingCommand({ ...mapping, basePath: 'a/b' }),
      'BadRequestException',
      /slash character/,
    ],
    [
      new CreateBasePathMappingCommand({ ...mapping, basePath: 'v2', stage: 'no' }),
      'BadRequestException',
      /^Invalid stage/,
    ],
    [
      new CreateBasePathMappingCommand({ ...mapping, basePath: 'v2', restApiId: 'no' }),
      'BadRequestException',
      /^Invalid REST API/,
    ],
    [
      new GetBasePathMappingCommand({ domainName, basePath: 'v2' }),
      'NotFoundException',
      /^Invalid base path mapping identifier/,
    ],
    [
      new UpdateDomainNameCommand({ domainName, patchOperations: [replace('/x', 'y')] }),
      'BadRequestException',
      /^Invalid patch path/,
    ],
  ]
  for (const [command, name, message] of cases)
    await assert.rejects(sdk.send(command as GetDomainNameCommand), { name, message })
  assert.equal((await sdk.send(new GetDomainNamesCommand({}))).items?.length, 1)
  await sdk.send(new DeleteBasePathMappingCommand({ domainName, basePath: 'v1' }))
  await sdk.send(new DeleteRestApiCommand({ restApiId: 'demo' }))
  await sdk.send(new DeleteDomainNameCommand({ domainName }))
})
