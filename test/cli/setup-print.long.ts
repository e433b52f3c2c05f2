import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { parse } from 'yaml'
import type { Gateway } from '../../emulator/gateway.ts'
import { defaultGatewayOptions } from '../../emulator/options.ts'
import { patchTools } from '../../src/setup/patches/print-patch.ts'
import { runCli } from '../support/server-process.ts'
import { testGateway } from '../support/service.ts'

const NAME = `Orders "x": \${y}\n# z`

/** Starts a gateway with an API of a hard name, whose methods are open. */
async function start(t: TestContext) {
  const gateway = await testGateway(t, {
    restApis: [
      {
        id: 'a1b2c3',
        name: NAME,
        stages: ['prod'],
        methods: [
          { path: '/hello', httpMethod: 'GET', apiKeyRequired: false },
          { path: '/hello', httpMethod: 'OPTIONS', apiKeyRequired: false },
        ],
      },
    ],
    httpApis: [{ apiId: 'h1t2t3', name: 'http' }],
    plans: [{ id: 'abcgold', name: 'gold', apiStages: [], quota: { limit: 7, period: 'MONTH' } }],
  })
  return { gateway, print: (...args: string[]) => printed(t, gateway, args) }
}

function printed(t: TestContext, gateway: Gateway, args: readonly string[]) {
  return runCli(t, ['setup', ...args], {
    AWS_REGION: defaultGatewayOptions.region,
    AWS_ACCESS_KEY_ID: defaultGatewayOptions.accessKeyId,
    AWS_SECRET_ACCESS_KEY: defaultGatewayOptions.secretAccessKey,
    AWS_ENDPOINT_URL_API_GATEWAY: gateway.url,
    AWS_CALLS_PER_SECOND: '0',
  })
}

test('--print prints one document and nothing else, and only reads', async (t) => {
  const { gateway, print } = await start(t)
  const before = JSON.stringify([...gateway.account.plans.values()])
  const options = [
    '--api',
    'a1b2c3',
    '--plan',
    'gold=rate:100,burst:250',
    '--plan',
    'free=',
    '--methods',
    'all',
  ]
  for (const tool of patchTools) {
    const { code, stdout, stderr } = await print(
      ...options,
      '--throttle',
      'GET /hello=rate:10',
      '--print',
      tool,
    )
    assert.deepEqual([code, stderr], [0, ''], tool)
    assert.doesNotMatch(stdout, /^# z/m, tool)
    if (tool === 'cloudformation') {
      const plans = Object.values<{ Type: string; Properties: object }>(parse(stdout).Resources).filter(
        ({ Type }) => Type === 'AWS::ApiGateway::UsagePlan',
      )
      const stages = [
        {
          ApiId: 'a1b2c3',
          Stage: { Ref: 'ProdStage' },
          Throttle: { '/hello/GET': { RateLimit: 10, BurstLimit: 10 } },
        },
      ]
      assert.deepEqual(
        plans.map(({ Properties }) => Properties),
        [
          {
            UsagePlanName: 'gold',
            ApiStages: stages,
            Throttle: { RateLimit: 100, BurstLimit: 250 },
            Quota: { Limit: 7, Period: 'MONTH' },
          },
          { UsagePlanName: 'free', ApiStages: stages },
        ],
      )
    }
    if (tool === 'sam') assert.equal(parse(stdout).Resources.Api.Properties.Auth.ApiKeyRequired, true)
    if (tool === 'openapi') {
      const { info, paths } = parse(stdout)
      assert.equal(info.title, NAME)
      assert.deepEqual(Object.keys(paths['/hello']), ['get'])
    }
    if (tool === 'terraform') assert.match(stdout, /^ {2}id = "abcgold"$/m)
    if (tool === 'cdk') assert.match(stdout, /^export function requireKeys/m)
  }
  assert.ok(gateway.calls.length > 0)
  assert.deepEqual(new Set(gateway.calls.map(({ method }) => method)), new Set(['GET']))
  assert.equal(JSON.stringify([...gateway.account.plans.values()]), before)
})

test('--print says what is wrong before it prints anything', async (t) => {
  const { print } = await start(t)
  for (const [args, message] of [
    [
      ['--api', 'a1b2c3', '--print', 'pulumi'],
      /'pulumi' is invalid\. Allowed choices are cloudformation, terraform/,
    ],
    [['--new', 'x', '--print', 'cdk'], /--print needs --api ID of an existing API/],
    [['--api', 'a1b2c3', '--plan', 'gold=', '--print', 'cdk', '--yes'], /excludes --yes and --json/],
    [['--api', 'h1t2t3', '--plan', 'gold=', '--print', 'cdk'], /this is an HTTP API/],
    [
      ['--api', 'a1b2c3', '--plan', 'gold=rate:0', '--methods', 'GET /helo', '--print', 'sam'],
      /rate:0(.|\n)*\/helo/,
    ],
  ] as const) {
    const { code, stdout, stderr } = await print(...args)
    assert.deepEqual([code, stdout], [1, ''], stderr)
    assert.match(stderr, message)
  }
})
