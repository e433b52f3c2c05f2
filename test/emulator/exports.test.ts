import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CreateDeploymentCommand, GetExportCommand, UpdateRestApiCommand } from '@aws-sdk/client-api-gateway'
import { parse } from 'yaml'
import { createMockApi, gatewayClient, putMockMethod } from '../support/gateway-client.ts'

test('an export shows what is deployed: the keys of each method, and with the extensions the source of the key', async (t) => {
  const { sdk } = await gatewayClient(t)
  const { restApiId, resourceId } = await createMockApi(sdk)
  const exported = async (exportType: string, parameters = {}, accepts = 'application/json') => {
    const query = { restApiId, stageName: 'prod', exportType, parameters, accepts }
    const { body, contentType } = await sdk.send(new GetExportCommand(query))
    assert.equal(contentType, 'application/octet-stream')
    return parse(new TextDecoder().decode(body)) // JSON is YAML.
  }
  const extensions = { extensions: 'apigateway' }
  const source = async () => (await exported('oas30', extensions))['x-amazon-apigateway-api-key-source']
  assert.equal(await source(), undefined, 'AWS leaves the default out')
  const patchOperations = [{ op: 'replace' as const, path: '/apiKeySource', value: 'AUTHORIZER' }]
  await sdk.send(new UpdateRestApiCommand({ restApiId, patchOperations }))
  await putMockMethod(sdk, restApiId, resourceId, 'OPTIONS', false)
  assert.equal(await source(), undefined, 'a change that is not deployed does not show')
  await sdk.send(new CreateDeploymentCommand({ restApiId, stageName: 'prod' }))
  assert.equal(await source(), 'AUTHORIZER')

  const plain = await exported('oas30')
  assert.deepEqual(plain.paths['/hello'], {
    get: { responses: { 200: { description: '200 response' } }, security: [{ api_key: [] }] },
    options: { responses: { 200: { description: '200 response' } } },
  })
  assert.deepEqual(plain.components.securitySchemes, {
    api_key: { type: 'apiKey', name: 'x-api-key', in: 'header' },
  })
  assert.equal(plain['x-amazon-apigateway-api-key-source'], undefined)
  const swagger = await exported('swagger', { extensions: 'integrations' }, 'application/yaml')
  assert.deepEqual([swagger.swagger, swagger.basePath], ['2.0', '/prod'])
  assert.equal(swagger.paths['/hello'].get['x-amazon-apigateway-integration'].type, 'mock')
})

test('an export of what is not there, or in a form that is none, is refused', async (t) => {
  const { sdk } = await gatewayClient(t)
  const demo = { restApiId: 'demo', stageName: 'prod', exportType: 'oas30' }
  await sdk.send(new GetExportCommand(demo))
  for (const [change, name] of [
    [{ stageName: 'dev' }, 'NotFoundException'],
    [{ restApiId: 'none' }, 'NotFoundException'],
    [{ exportType: 'raml' }, 'BadRequestException'],
  ] as const)
    await assert.rejects(sdk.send(new GetExportCommand({ ...demo, ...change })), { name })
})
