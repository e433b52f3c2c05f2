import assert from 'node:assert/strict'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { defaultGatewayOptions } from '../../emulator/options.ts'
import { runIn, which } from '../support/recipes.ts'
import { tempDir, testGateway } from '../support/service.ts'

const aws = which('aws')
const needed = aws === undefined ? { skip: 'aws is not installed (.ci/aws-cli does this)' } : {}
/** The Python beside the AWS CLI has botocore, on which boto3 and the CLI are built. */
const python = join(dirname(aws ?? ''), 'python')

/** The SDK for Python makes an API, and reads every shape of it; errors are of its own classes. */
const SCRIPT = `
import botocore.session, datetime
api = botocore.session.get_session().create_client('apigateway')
rest = api.create_rest_api(name='py', endpointConfiguration={'types': ['REGIONAL']}, tags={'team': 'a'})
assert isinstance(rest['createdDate'], datetime.datetime), rest
rid, root = rest['id'], rest['rootResourceId']
res = api.create_resource(restApiId=rid, parentId=root, pathPart='hello')
method = dict(restApiId=rid, resourceId=res['id'], httpMethod='GET')
api.put_method(**method, authorizationType='NONE', apiKeyRequired=True)
api.put_method_response(**method, statusCode='200')
api.put_integration(**method, type='MOCK', requestTemplates={'application/json': '{"statusCode": 200}'})
api.put_integration_response(**method, statusCode='200', responseTemplates={'application/json': '{}'})
dep = api.create_deployment(restApiId=rid, stageName='prod', description='first')
summary = api.get_deployment(restApiId=rid, deploymentId=dep['id'], embed=['apisummary'])['apiSummary']
assert summary == {'/hello': {'GET': {'authorizationType': 'NONE', 'apiKeyRequired': True}}}, summary
paths = [r['path'] for page in api.get_paginator('get_resources').paginate(restApiId=rid, embed=['methods']) for r in page['items']]
assert paths == ['/', '/hello'], paths
assert api.get_stages(restApiId=rid)['item'][0]['deploymentId'] == dep['id']
plan = api.create_usage_plan(name='py', apiStages=[{'apiId': rid, 'stage': 'prod', 'throttle': {'/hello/GET': {'rateLimit': 1.5, 'burstLimit': 3}}}])
assert api.get_usage_plan(usagePlanId=plan['id'])['apiStages'] == plan['apiStages'], plan
arn = 'arn:aws:apigateway:eu-west-1::/restapis/' + rid
api.tag_resource(resourceArn=arn, tags={'b': '1', 'c': '2'})
api.untag_resource(resourceArn=arn, tagKeys=['b', 'team'])
assert api.get_tags(resourceArn=arn)['tags'] == {'c': '2'}
export = api.get_export(restApiId=rid, stageName='prod', exportType='oas30', parameters={'extensions': 'apigateway'})
assert b'"security": [' in export['body'].read()
api.create_domain_name(domainName='api.example.com', certificateArn='arn:aws:acm:us-east-1:123456789012:certificate/1')
api.create_base_path_mapping(domainName='api.example.com', restApiId=rid, stage='prod')
assert api.get_base_path_mapping(domainName='api.example.com', basePath='(none)')['restApiId'] == rid
assert api.get_account()['features'] == ['UsagePlans']
for call, error in [
    (lambda: api.get_rest_api(restApiId='none'), api.exceptions.NotFoundException),
    (lambda: api.put_method(**method, authorizationType='NONE'), api.exceptions.ConflictException),
    (lambda: api.delete_rest_api(restApiId=rid), api.exceptions.BadRequestException),
]:
    try:
        call()
        raise AssertionError(error)
    except error:
        pass
print(rid)
`

test('the SDK for Python and the AWS CLI work unmodified', needed, async (t) => {
  const gateway = await testGateway(t, { httpApis: [{ apiId: 'a1b2c3', name: 'web' }] })
  const dir = tempDir(t)
  const { accessKeyId, secretAccessKey, region } = defaultGatewayOptions
  const env = {
    AWS_ENDPOINT_URL: gateway.url,
    AWS_DEFAULT_REGION: region,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    HOME: dir,
  }
  const made = await runIn(dir, [python, '-c', SCRIPT], env)
  assert.deepEqual([made.exitCode, made.stderr], [0, ''])
  const api = ['--rest-api-id', made.stdout.trim()]

  const run = (...args: string[]) => runIn(dir, ['aws', ...args], env)
  const patches = (...all: string[]) => ['--patch-operations', ...all]
  const [resource] = [...gateway.account.restApis.get(made.stdout.trim()).resources.values()].slice(-1)
  const ran = await Promise.all([
    run(
      'apigateway',
      'update-method',
      ...api,
      '--resource-id',
      resource?.id ?? '',
      '--http-method',
      'GET',
      ...patches('op=replace,path=/apiKeyRequired,value=false'),
    ),
    run(
      'apigateway',
      'update-usage-plan',
      '--usage-plan-id',
      'demofree',
      ...patches(
        'op=replace,path=/apiStages/demo:prod/throttle/~1hello/ANY/rateLimit,value=5',
        'op=replace,path=/throttle/burstLimit,value=7',
      ),
    ),
    run('apigatewayv2', 'get-api', '--api-id', 'a1b2c3', '--query', 'ProtocolType', '--output', 'text'),
    run('apigateway', 'get-rest-api', '--rest-api-id', 'none'),
  ])
  assert.deepEqual(
    ran.map(({ exitCode }) => exitCode),
    [0, 0, 0, 255],
    ran.map(({ stderr }) => stderr).join(''),
  )
  assert.equal(resource?.methods.get('GET')?.apiKeyRequired, false)
  const { throttle, apiStages } = gateway.account.plan('demofree')
  assert.deepEqual(
    [throttle, apiStages],
    [
      { rateLimit: 5, burstLimit: 7 },
      [{ apiId: 'demo', stage: 'prod', throttle: { '/hello/ANY': { rateLimit: 5 } } }],
    ],
  )
  assert.equal(ran[2]?.stdout, 'HTTP\n')
  assert.match(
    ran[3]?.stderr ?? '',
    /\(NotFoundException\) when calling the GetRestApi operation: Invalid API id/,
  )
})
