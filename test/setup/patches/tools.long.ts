import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { parse } from 'yaml'
import { z } from 'zod'
import { type PatchTool, printPatch } from '../../../src/setup/patches/print-patch.ts'
import { cfnLint, lint, parseWithPython } from '../../support/cfn-lint/cfn-lint.ts'
import { samples } from '../../support/patches.ts'
import { which } from '../../support/recipes.ts'
import { tempDir } from '../../support/service.ts'

const root = join(import.meta.dirname, '../../..')
const names = Object.keys(samples)

/** Returns the document of a tool for a sample. */
function print(tool: PatchTool, name: string): string {
  const sample = samples[name]
  assert.ok(sample !== undefined, name)
  return printPatch(tool, sample)
}

/** Writes the documents of all samples into a folder. Returns their files. */
function written(t: TestContext, tool: PatchTool, ending: string): string[] {
  const folder = tempDir(t)
  return names.map((name) => {
    const file = join(folder, `${name.replaceAll(' ', '-')}.${ending}`)
    writeFileSync(file, print(tool, name))
    return file
  })
}

const templateSchema = z.object({
  Resources: z.record(
    z.string(),
    z.looseObject({ Type: z.string(), Properties: z.record(z.string(), z.unknown()).default({}) }),
  ),
})
type Template = z.infer<typeof templateSchema>

/** The properties of the resources of one type: of `UsagePlan` those of `AWS::ApiGateway::UsagePlan`. */
function propertiesOf({ Resources }: Template, type: string): Record<string, unknown>[] {
  return Object.values(Resources).flatMap(({ Type, Properties }) =>
    Type === `AWS::ApiGateway::${type}` ? [Properties] : [],
  )
}

const template = (name: string) => templateSchema.parse(parse(print('cloudformation', name)))

test('cfn-lint finds nothing in any template for CloudFormation or SAM', cfnLint, (t) => {
  const files = [...written(t, 'cloudformation', 'yaml'), ...written(t, 'sam', 'yaml')]
  assert.equal(lint(files), '')
})

test('CloudFormation: the plan with its limits, the methods with a key, and a deployment of them', () => {
  const one = template('one method')
  assert.deepEqual(propertiesOf(one, 'UsagePlan'), [
    {
      UsagePlanName: 'free',
      ApiStages: [
        {
          ApiId: 'a1b2c3',
          Stage: { Ref: 'ProdStage' },
          Throttle: { '/hello/GET': { RateLimit: 10, BurstLimit: 20 } },
        },
      ],
      Throttle: { RateLimit: 100, BurstLimit: 250 },
      Quota: { Limit: 10_000, Period: 'DAY' },
    },
  ])
  assert.deepEqual(propertiesOf(one, 'Method'), [
    {
      ...{ RestApiId: 'a1b2c3', ResourceId: 'r2f68656c6c6f', HttpMethod: 'GET' },
      ...{ AuthorizationType: 'NONE', ApiKeyRequired: true },
    },
  ])
  const [deployment = ''] = Object.keys(one.Resources).filter((id) => id.startsWith('Deployment'))
  assert.deepEqual(propertiesOf(one, 'Stage'), [
    { RestApiId: 'a1b2c3', StageName: 'prod', DeploymentId: { Ref: deployment } },
  ])
  assert.deepEqual(propertiesOf(one, 'RestApi'), [])
})

test('CloudFormation: the deployment has another name when something else is deployed', () => {
  const idOf = (name: string) =>
    Object.keys(template(name).Resources).filter((id) => id.startsWith('Deployment'))
  assert.deepEqual(idOf('one method'), idOf('a stack that owns it'))
  const different = ['one method', 'all methods', 'another source of the key'].flatMap(idOf)
  assert.equal(new Set(different).size, 3)
  assert.deepEqual(idOf('only plans'), [])
})

test('CloudFormation: an authorizer is left to the resource that names it, and the source of the key is set', () => {
  const all = propertiesOf(template('all methods'), 'Method')
  assert.deepEqual(
    all.map(({ HttpMethod, AuthorizationType }) => [HttpMethod, AuthorizationType]),
    [
      ['GET', 'NONE'],
      ['ANY', undefined],
      ['POST', 'AWS_IAM'],
    ],
  )
  const [api] = propertiesOf(template('another source of the key'), 'RestApi')
  assert.deepEqual(api, { Name: 'Orders', ApiKeySourceType: 'HEADER' })
})

test('CloudFormation: a plan that exists keeps its name in the stack, its stages and its tags', () => {
  const { Resources } = template('a plan that exists')
  const plan = Resources['GoldUsagePlan']
  assert.ok(plan !== undefined)
  assert.deepEqual([plan['DeletionPolicy'], plan['UpdateReplacePolicy']], ['Retain', 'Retain'])
  assert.deepEqual(plan.Properties['Tags'], [{ Key: 'team', Value: 'a b' }])
  assert.equal(z.array(z.unknown()).parse(plan.Properties['ApiStages']).length, 3)
})

test('names that become the same name in a document stay apart', () => {
  const { Resources } = template('names that collide')
  assert.equal(propertiesOf({ Resources }, 'Method').length, 3)
  assert.equal(propertiesOf({ Resources }, 'UsagePlan').length, 3)
  const terraform = print('terraform', 'names that collide')
  const resources = [...terraform.matchAll(/^resource "(\w+)" "(\w+)"/gm)].map(
    ([, type, name]) => `${type}.${name}`,
  )
  assert.equal(new Set(resources).size, resources.length)
  assert.equal(resources.filter((one) => one.startsWith('aws_api_gateway_method.')).length, 3)
})

const bodySchema = z.object({
  paths: z.record(z.string(), z.record(z.string(), z.looseObject({ security: z.unknown().optional() }))),
})

test(
  'SAM translates it to an API whose methods require the key, and whose preflight does not',
  cfnLint,
  () => {
    const withCors = (name: string) =>
      print('sam', name).replace('      StageName: prod\n', `      StageName: prod\n      Cors: "'*'"\n`)
    // The API of the whole document has no methods of its own: those of functions come from their events.
    const withEvent = `${withCors('all methods')}  Other:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: "exports.handler = async () => ({})"
      Handler: index.handler
      Runtime: nodejs22.x
      Events:
        Post:
          Type: Api
          Properties:
            RestApiId: { Ref: Api }
            Path: /other
            Method: post
`
    const [one, whole] = parseWithPython(
      [withCors('one method'), withEvent].map((text) => ({ kind: 'sam' as const, text })),
    ).map((translated) => templateSchema.parse(translated))
    const securityOf = (document: Template | undefined) => {
      assert.ok(document !== undefined)
      const [api] = propertiesOf(document, 'RestApi')
      assert.equal(api?.['ApiKeySourceType'], 'HEADER')
      return Object.entries(bodySchema.parse(api?.['Body']).paths).flatMap(([path, operations]) =>
        Object.entries(operations).map(([verb, { security }]) => [
          `${verb} ${path}`,
          JSON.stringify(security),
        ]),
      )
    }
    const key = '[{"api_key":[]}]'
    assert.deepEqual(Object.fromEntries(securityOf(one)), { 'get /hello': key, 'options /hello': undefined })
    assert.deepEqual(Object.fromEntries(securityOf(whole)), {
      'post /other': key,
      'options /other': undefined,
    })
    assert.deepEqual(
      propertiesOf(whole ?? { Resources: {} }, 'UsagePlan').map(({ ApiStages }) => ApiStages),
      [
        [
          {
            ApiId: { Ref: 'Api' },
            Stage: { Ref: 'ApiprodStage' },
            Throttle: { '/hello/GET': { RateLimit: 10, BurstLimit: 20 } },
          },
        ],
      ],
    )
  },
)

test('Terraform: its formatter changes nothing', {
  skip: which('terraform') === undefined && 'there is no terraform',
}, (t) => {
  const files = written(t, 'terraform', 'tf')
  const { status, stdout, stderr } = spawnSync(
    'terraform',
    ['fmt', '-check', '-diff', '-no-color', ...files],
    {
      encoding: 'utf8',
    },
  )
  assert.deepEqual({ status, stdout }, { status: 0, stdout: '' }, stderr)
})

test('Terraform: a parser of HCL reads the configurations', cfnLint, () => {
  const kinds = ['many plans', 'a plan that exists', 'names that collide']
  const parsed = parseWithPython(kinds.map((name) => ({ kind: 'hcl', text: print('terraform', name) })))
  assert.equal(parsed.length, kinds.length)
})

test('Terraform: the deployment follows every method, and the plan the stage', () => {
  const all = print('terraform', 'all methods')
  for (const name of ['get_hello', 'any_hello_proxy', 'post_root']) {
    assert.match(all, new RegExp(`resource "aws_api_gateway_method" "${name}" {`))
    assert.match(
      all,
      new RegExp(`redeployment = sha1[^)]+aws_api_gateway_method\\.${name}\\.api_key_required,`),
    )
  }
  assert.match(all, /create_before_destroy = true/)
  assert.match(
    all,
    /api_stages {\n {4}api_id = "a1b2c3"\n {4}stage {2}= aws_api_gateway_stage\.prod\.stage_name\n/,
  )
  assert.match(print('terraform', 'only plans'), /stage {2}= "prod"/)
  const header = print('terraform', 'another source of the key')
  assert.match(header, /api_key_source = "HEADER"/)
  assert.match(header, /redeployment = sha1[^)]+aws_api_gateway_rest_api\.api\.api_key_source,/)
})

test('Terraform: a plan that exists is imported, and not made a second time', () => {
  const imported = /import {\n {2}to = aws_api_gateway_usage_plan\.gold_plan\n {2}id = "abcgold"\n}/
  assert.match(print('terraform', 'a plan that exists'), imported)
  assert.doesNotMatch(print('terraform', 'one method'), /^import/m)
})

test('OpenAPI: the documents are valid, and each operation has the security', (t) => {
  const { status, stdout, stderr } = spawnSync(
    join(root, 'node_modules/.bin/redocly'),
    ['lint', '--extends=spec', ...written(t, 'openapi', 'yaml')],
    {
      cwd: tempDir(t),
      encoding: 'utf8',
      env: { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_NOTIFICATIONS: 'true' },
    },
  )
  assert.equal(status, 0, `${stdout}${stderr}`)
  const document = parse(print('openapi', 'all methods'))
  assert.equal(document['x-amazon-apigateway-api-key-source'], 'HEADER')
  assert.equal(document.security, undefined)
  assert.deepEqual(document.components.securitySchemes, {
    api_key: { type: 'apiKey', name: 'x-api-key', in: 'header' },
  })
  const security = [{ api_key: [] }]
  assert.deepEqual(document.paths['/hello'].get.security, security)
  assert.deepEqual(document.paths['/'].post.security, security)
  const any = document.paths['/hello/{proxy+}']['x-amazon-apigateway-any-method']
  assert.deepEqual(any.security, security)
  assert.deepEqual(any.parameters, [
    { name: 'proxy', in: 'path', required: true, schema: { type: 'string' } },
  ])
  assert.equal(document.paths['/hello'].options, undefined)
})

const cdk = join(root, '.cache/cdk/node_modules')
const hasCdk = { skip: !existsSync(cdk) && 'AWS CDK is not installed (.ci/cdk does this)' }

test(
  'CDK: its types take the modules, and its templates have keys, an open preflight and a new deployment',
  hasCdk,
  (t) => {
    const folder = tempDir(t)
    symlinkSync(cdk, join(folder, 'node_modules'))
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
    names.forEach((name, i) => {
      writeFileSync(join(folder, `patch${i}.ts`), print('cdk', name))
    })
    const tsc = ['--noEmit', '--strict', '--noUncheckedIndexedAccess', '--skipLibCheck']
    const modules = names.map((_, i) => `patch${i}.ts`)
    const checked = spawnSync(
      join(root, 'node_modules/.bin/tsc'),
      [...tsc, '--module', 'nodenext', '--target', 'es2024', '--types', '', ...modules],
      { cwd: folder, encoding: 'utf8' },
    )
    assert.equal(checked.stdout, '')
    copyFileSync(join(root, 'test/support/cdk/synth.mjs'), join(folder, 'synth.mjs'))
    const { stdout, stderr } = spawnSync(process.execPath, ['synth.mjs', 'patch0.ts'], {
      cwd: folder,
      encoding: 'utf8',
    })
    assert.notEqual(stdout, '', stderr)
    const [before, after] = z.array(templateSchema).parse(JSON.parse(stdout))
    assert.ok(before !== undefined && after !== undefined)
    const deploymentsOf = ({ Resources }: Template) =>
      Object.keys(Resources).filter((id) => id.startsWith('ApiDeployment'))
    assert.notDeepEqual(deploymentsOf(before), deploymentsOf(after))
    const keysOf = propertiesOf(after, 'Method').map(({ HttpMethod, ApiKeyRequired }) => [
      HttpMethod,
      ApiKeyRequired,
    ])
    assert.deepEqual(keysOf.toSorted(), [
      ['GET', true],
      ['OPTIONS', false],
      ['OPTIONS', false],
      ['POST', undefined],
    ])
    const [api] = propertiesOf(after, 'RestApi')
    assert.equal(api?.['ApiKeySourceType'], 'HEADER')
    const [plan] = propertiesOf(after, 'UsagePlan')
    assert.equal(plan?.['UsagePlanName'], 'free')
  },
)
