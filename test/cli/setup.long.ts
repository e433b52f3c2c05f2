import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { Gateway } from '../../emulator/gateway.ts'
import { defaultGatewayOptions, type GatewayOptions } from '../../emulator/options.ts'
import { runCli, startProgram, startServer } from '../support/server-process.ts'
import { registeredSchema, tempDir, testGateway } from '../support/service.ts'
import { askApi } from '../support/setup-run.ts'

const METHODS = [
  { path: '/hello', httpMethod: 'GET', apiKeyRequired: false },
  { path: '/hello', httpMethod: 'OPTIONS', apiKeyRequired: false },
  { path: '/orders/{id}', httpMethod: 'POST', apiKeyRequired: false },
]
const BARE: Partial<GatewayOptions> = {
  restApis: [{ id: 'bare', name: 'orders', stages: ['prod', 'test'], methods: METHODS }],
  plans: [],
}
const ORDER = ['--api', 'bare', '--stage', 'prod', '--plan', 'gold=rate:100,burst:250,quota:10000/day']

/** The command on a local gateway. */
async function setUp(t: TestContext, options: Partial<GatewayOptions> = BARE) {
  const gateway = await testGateway(t, options)
  const env = {
    AWS_REGION: defaultGatewayOptions.region,
    AWS_ACCESS_KEY_ID: defaultGatewayOptions.accessKeyId,
    AWS_SECRET_ACCESS_KEY: defaultGatewayOptions.secretAccessKey,
    AWS_ENDPOINT_URL_API_GATEWAY: gateway.url,
    AWS_CALLS_PER_SECOND: '0',
  }
  const cli = (args: readonly string[], more: Record<string, string> = {}) =>
    runCli(t, ['setup', ...args], { ...env, ...more })
  return { gateway, env, cli }
}

const writesOf = ({ calls }: Gateway) =>
  calls.filter(({ method }) => method !== 'GET').map((one) => one.operation)

/** Reads the variables of an environment that the command printed. */
function environmentIn(stdout: string): Record<string, string> {
  return Object.fromEntries(
    [...stdout.matchAll(/^([A-Z_]+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]),
  )
}

test('a dry run shows each change, before and after, and changes nothing', async (t) => {
  const { gateway, cli } = await setUp(t)
  const { code, stdout, stderr } = await cli([...ORDER, '--throttle', 'GET /hello=rate:10,burst:20'])
  assert.equal(code, 0, stderr)
  assert.equal(
    stdout,
    `usage plan gold
  rate        (none) → 100 a second
  burst       (none) → 250
  quota       (none) → 10000 a day
  stage       (none) → bare:prod
  GET /hello  (none) → 10 a second, burst 20

method GET /hello
  API key required  no → yes

method POST /orders/{id}
  API key required  no → yes

deployment to the stage prod
  GET /hello         without a key → with a key
  POST /orders/{id}  without a key → with a key
  It publishes every edit of the API since the last deployment, not only these.

`,
  )
  assert.match(
    stderr,
    /^Nothing was changed. To do this, run: firstkey setup --api bare --stage prod --plan gold=rate:100,burst:250,quota:10000\/day --throttle 'GET \/hello=rate:10,burst:20' --yes$/m,
  )
  const json = await cli([...ORDER, '--json'])
  assert.match(json.stderr, /run: firstkey setup .* --json --yes$/m)
  assert.deepEqual(writesOf(gateway), [])
})

test('--yes makes the changes, says each, and ends with the environment and the policy of the service', async (t) => {
  const { gateway, cli } = await setUp(t)
  const { code, stdout, stderr } = await cli([...ORDER, '--yes'])
  assert.equal(code, 0, stderr)
  const id = [...gateway.account.plans.keys()][0] ?? ''
  assert.match(
    stderr,
    /^usage plan gold\nmethod GET \/hello\nmethod POST \/orders\/\{id\}\ndeployment to the stage prod$/m,
  )
  assert.doesNotMatch(stderr, /^ok /m, 'what is well is in the verdict')
  assert.match(stderr, /^bare:prod: healthy \(0 faults, 0 warnings\)$/m)
  for (const line of stdout.trimEnd().split('\n'))
    assert.match(line, /^(#|[A-Z_]+=\S+$)/, 'stdout is an env file')
  assert.deepEqual(environmentIn(stdout), {
    AWS_REGION: 'eu-west-1',
    USAGE_PLANS: `gold=${id}`,
    API_BASE_URL: `${gateway.url}/execute-api/bare/prod`,
    API_PROBE_PATH: '/hello',
  })
  const policy = JSON.parse(stderr.match(/^\{$.*^\}$/ms)?.[0] ?? '')
  assert.match(JSON.stringify(policy), RegExp(`arn:aws:apigateway:eu-west-1::/usageplans/${id}/keys`))
  assert.deepEqual(await askApi(gateway, { api: 'bare' }, 'gold'), { without: 403, with: 200 })

  const writes = writesOf(gateway).length
  const again = await cli([...ORDER, '--yes', '--json'], { USAGE_PLANS: `gold=${id},other=x1` })
  assert.equal(again.code, 0, again.stderr)
  assert.equal(writesOf(gateway).length, writes, 'a second run makes no change')
  const json = JSON.parse(again.stdout)
  assert.deepEqual([json.api, json.stage, json.dry_run, json.changes], ['bare', 'prod', false, []])
  assert.equal(json.environment.USAGE_PLANS, `gold=${id}`)
  assert.equal(json.iam_policy.Version, '2012-10-17')
  assert.equal(json.doctor.healthy, true)
})

test('everything that is wrong is said at once, before anything is changed', async (t) => {
  const { gateway, cli } = await setUp(t)
  const cases: readonly [args: string[], ...faults: RegExp[]][] = [
    [[], /^firstkey: name either an API, --api ID, or a new one, --new NAME$/m],
    [
      [
        ...[
          '--api',
          'bare',
          '--stage',
          'prdo',
          '--plan',
          'gold=rate:0',
          '--plan',
          'gold=quota:10000/fortnight',
        ],
        ...['--methods', 'GET /helo', '--throttle', 'PUT /hello=burst:1'],
      ],
      /--plan gold=rate:0: rate:0 would refuse every request with 429$/m,
      /"fortnight" is not a period/,
      /names the plan "gold" twice$/m,
      /--throttle PUT \/hello=burst:1: has a burst without a rate/,
      /--stage prdo: the API bare has no such stage \(did you mean "prod"\?\): its stages are prod, test$/m,
      /--methods GET \/helo: the API bare has no such method \(did you mean "GET \/hello"\?\)$/m,
    ],
    [
      ['--api', 'a b', '--new', 'c d', '--stage', 's p', '--plan', 'a=rate:-1'],
      /name either an API/,
      /--api "a b" is not the id of an API/,
      /--new "c d" is not a name like hello/,
      /--stage "s p" is not a name/,
      /rate:-1 is negative/,
    ],
    [['--delete'], /--delete needs the name: --new NAME --delete$/m],
    [
      ['--api', 'bare', '--new', 'y', '--delete', 'x', '--plan', 'a='],
      /--delete removes only what --new made/,
      /--delete x and --new y are different APIs/,
      /--delete takes no --plan/,
    ],
  ]
  for (const [args, ...faults] of cases) {
    const { code, stderr, stdout } = await cli([...args, '--yes'])
    assert.equal(code, 1, args.join(' '))
    assert.equal(stdout, '')
    for (const fault of faults) assert.match(stderr, fault, args.join(' '))
  }
  const noRegion = await cli(['--api', 'bare', '--plan', 'a=rate:0'], { AWS_REGION: '' })
  assert.match(noRegion.stderr, /rate:0 would refuse.*AWS_REGION is required/s)
  assert.deepEqual(writesOf(gateway), [])
})

test('what belongs to a CloudFormation stack is changed only with --force', async (t) => {
  const { gateway, cli } = await setUp(t)
  Object.assign(gateway.account.restApis.get('bare').tags, {
    'aws:cloudformation:stack-name': 'orders-stack',
  })
  const dry = await cli(ORDER)
  assert.equal(dry.code, 0)
  assert.match(dry.stdout, /API key required/)
  const owner = /the API bare belongs to the CloudFormation stack orders-stack/
  assert.match(dry.stderr, owner)
  assert.match(dry.stderr, /add --print cloudformation, --print cdk or --print sam/)
  assert.match(dry.stderr, /run: firstkey setup .* --yes --force$/m)
  const refused = await cli([...ORDER, '--yes'])
  assert.equal(refused.code, 1)
  assert.match(refused.stderr, owner)
  assert.match(refused.stderr, /--print cloudformation/)
  assert.match(
    refused.stderr,
    /^firstkey: refused without --force: .*^To change it by hand anyway: firstkey setup /ms,
  )
  assert.deepEqual(writesOf(gateway), [])
  assert.equal((await cli([...ORDER, '--yes', '--force'])).code, 0)
  assert.deepEqual(await askApi(gateway, { api: 'bare' }, 'gold'), { without: 403, with: 200 })
})

test('--print writes what is desired for another tool, and changes nothing', async (t) => {
  const { gateway, cli } = await setUp(t)
  Object.assign(gateway.account.restApis.get('bare').tags, {
    'aws:cloudformation:stack-name': 'orders-stack',
  })
  const { code, stdout, stderr } = await cli([...ORDER, '--print', 'terraform'])
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^resource "aws_api_gateway_usage_plan" "gold" \{$/m)
  assert.match(stdout, /burst_limit = 250/)
  const wrong = await cli(['--new', 'x', '--print', 'sam', '--yes'])
  assert.equal(wrong.code, 1)
  assert.match(wrong.stderr, /--print needs --api ID of an existing API, and excludes --yes and --json/)
  assert.deepEqual(writesOf(gateway), [])
})

test('what doctor finds besides ends the run with 1', async (t) => {
  const { gateway, cli } = await setUp(t)
  for (const { methods } of gateway.account.restApis.get('bare').resources.values())
    for (const one of methods.values()) if (one.httpMethod === 'GET') one.authorizationType = 'AWS_IAM'
  Object.assign(gateway.account.restApis.get('bare'), { disableExecuteApiEndpoint: true })
  const { code, stdout, stderr } = await cli([...ORDER, '--yes'])
  assert.equal(code, 1, stdout)
  assert.match(stderr, /^fault +default-endpoint.*\n +why: .*\n +mend .*:\n +aws apigateway update-rest-api/m)
  assert.doesNotMatch(stdout, /^API_PROBE_PATH/m)
  assert.match(stderr, /No method can be asked with a key alone, so API_PROBE_PATH is not set/)
})

test('a half-done run says what is done and what is left, and after kill -9 the next one goes on', async (t) => {
  const { gateway, env, cli } = await setUp(t)
  gateway.faults.order({ operation: 'UpdateMethod', when: 'before', kind: 'denied', nth: 2 })
  const { code, stdout, stderr } = await cli([...ORDER, '--yes'])
  assert.equal(code, 1)
  assert.equal(stdout, '')
  assert.match(
    stderr,
    /^firstkey: AWS does not allow it: the role lacks apigateway:PATCH on arn:aws:apigateway:eu-west-1::\/restapis\/bare\/resources\/\w+\/methods\/POST\n {2}done: usage plan gold; method GET \/hello\n {2}left: method POST \/orders\/\{id\}; deployment to the stage prod\nRun the same command again: it goes on where this run ended.$/m,
  )
  gateway.faults.order({ operation: 'UpdateMethod', when: 'before', kind: 'denied' })
  const asJson = JSON.parse((await cli([...ORDER, '--yes', '--json'])).stdout)
  assert.match(asJson.error, /the role lacks apigateway:PATCH on arn/)
  const titles = asJson.left.map(({ title }: { title: string }) => title)
  assert.deepEqual(
    [asJson.changes, titles],
    [[], ['method POST /orders/{id}', 'deployment to the stage prod']],
  )
  const program = startProgram(t, 'src/cli/main.ts', ['setup', ...ORDER, '--yes'], env)
  gateway.onCall = (operation, moment) => {
    if (operation === 'UpdateMethod' && moment === 'effective') program.child.kill('SIGKILL')
  }
  assert.equal(await program.ended(), 'SIGKILL')
  gateway.onCall = () => undefined
  assert.equal((await cli([...ORDER, '--yes'])).code, 0)
  const made = writesOf(gateway)
  assert.deepEqual(
    made.filter((one) => one !== 'UpdateMethod'),
    ['CreateUsagePlan', 'CreateDeployment'],
  )
  assert.deepEqual(await askApi(gateway, { api: 'bare' }, 'gold'), { without: 403, with: 200 })
})

test('a run whose check fails after all changes were made names them', async (t) => {
  for (const json of [[], ['--json']])
    await t.test(`setup ${json.join()}`, async (t) => {
      const { gateway, cli } = await setUp(t)
      gateway.onCall = (operation, moment) => {
        if (operation !== 'CreateDeployment' || moment !== 'effective') return
        // The first read finds that nothing is left.
        gateway.faults.order({ operation: 'GetUsagePlans', when: 'before', kind: 'denied', nth: 2 })
      }
      const { code, stdout, stderr } = await cli([...ORDER, '--yes', ...json])
      assert.equal(code, 1)
      assert.match(
        stderr,
        /^firstkey: All changes are made; the check after them failed: .*apigateway:GET.*\n {2}done: usage plan gold; .*deployment to the stage prod\nRun the same/m,
      )
      if (json.length === 0) assert.equal(stdout, '')
      else {
        const printed = JSON.parse(stdout)
        assert.deepEqual([printed.changes.length, printed.left], [4, []])
        assert.match(printed.error, /the check after them failed/)
      }
    })
})

test('the env file can be read by a shell, whatever is in the paths', async (t) => {
  const { gateway, cli } = await setUp(t)
  const path = '/hello?a=$(echo 1)&b=2'.replace(' ', '%20')
  const base = `${gateway.url}/execute-api/bare/prod`
  const { stdout, stderr } = await cli([...ORDER, '--yes'], { API_BASE_URL: base, API_PROBE_PATH: path })
  const read = execFileSync('sh', ['-c', 'set -a; eval "$1"; printf %s "$API_PROBE_PATH"', 'sh', stdout])
  assert.equal(String(read), path)
  assert.match(stderr, /docker --env-file, which takes them literally/)
  const plain = await cli([...ORDER, '--yes'])
  assert.doesNotMatch(plain.stdout, /'/)
  assert.doesNotMatch(plain.stderr, /docker/)
})

test('a greedy method can be probed, as doctor proposes it', async (t) => {
  const methods = [{ path: '/{proxy+}', httpMethod: 'ANY', apiKeyRequired: false }]
  const { cli } = await setUp(t, {
    restApis: [{ id: 'bare', name: 'orders', stages: ['prod'], methods }],
    plans: [],
  })
  const { code, stdout, stderr } = await cli([...ORDER, '--yes'])
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^API_PROBE_PATH=\/status$/m)
  const root = await setUp(t, {
    restApis: [
      {
        id: 'bare',
        name: 'orders',
        stages: ['prod'],
        methods: [{ path: '/', httpMethod: 'GET', apiKeyRequired: false }],
      },
    ],
    plans: [],
  })
  assert.match((await root.cli([...ORDER, '--yes'])).stdout, /^API_PROBE_PATH=\/$/m)
})

test('a wait is said only if it is known, and once', async (t) => {
  const { gateway, cli } = await setUp(t)
  // The SDK tries three times by itself.
  gateway.faults.order({ operation: 'CreateDeployment', when: 'before', kind: 'throttle', times: 3 })
  const { code, stderr } = await cli([...ORDER, '--yes'])
  assert.equal(code, 0, stderr)
  assert.deepEqual(stderr.match(/^.*throttl.*$/gm), ['  waits 1 s: API Gateway is throttling the account'])

  const throttling = createServer((_, response) => response.writeHead(429).end('{}')).listen(0, '127.0.0.1')
  t.after(() => throttling.close())
  await once(throttling, 'listening')
  const { port } = throttling.address() as AddressInfo
  const refused = await cli(ORDER, { AWS_ENDPOINT_URL_API_GATEWAY: `http://127.0.0.1:${port}` })
  assert.equal(refused.code, 1)
  assert.match(refused.stderr, /^ {2}API Gateway throttles GetRestApi$/m)
  assert.doesNotMatch(refused.stderr, /waits/)
})

test('--new leads from nothing to a key of firstkey that opens the API, and --delete takes all of it away', async (t) => {
  const { gateway, env, cli } = await setUp(t, { restApis: [], plans: [] })
  const dry = await cli(['--new', 'hello'])
  assert.equal(dry.code, 0, dry.stderr)
  assert.match(dry.stdout, /^REST API hello$.*^usage plan free$/ms)
  assert.deepEqual(writesOf(gateway), [])
  const made = await cli(['--new', 'hello', '--yes'])
  assert.equal(made.code, 0, made.stderr)
  const printed = environmentIn(made.stdout)

  const store = { STORE: `sqlite:${tempDir(t)}/firstkey.db`, PORT: '0', ...printed }
  const { stdout: token } = await runCli(t, ['tokens', 'create', '--label', 'me'], { ...env, ...store })
  const [secret = ''] = token.match(/fkb_\w+/) ?? []
  const server = await startServer(t, { ...env, ...store })
  const answer = await fetch(`${server.url}/register`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json', prefer: 'wait=10' },
    body: JSON.stringify({ name: 'newcomer' }),
  })
  assert.equal(answer.status, 201)
  const { api_key_value: key } = registeredSchema.parse(await answer.json())
  const url = `${printed['API_BASE_URL']}${printed['API_PROBE_PATH']}`
  assert.equal((await fetch(url)).status, 403)
  assert.equal((await fetch(url, { headers: { 'x-api-key': key } })).status, 200)

  // The service may not do what an operator does.
  gateway.policy = null
  const refused = await cli(['--new', 'hello', '--delete', '--yes'])
  assert.equal(refused.code, 1)
  assert.match(
    refused.stderr,
    /the usage plan free \(\w+\) has 1 key, which would open nothing any more \(revoke it first\): .*newcomer/,
  )
  const writes = writesOf(gateway).length
  const shown = await cli(['--new', 'hello', '--delete', '--force'])
  assert.match(shown.stdout, /^usage plan free.*^REST API hello \(\w+\)$/ms)
  assert.equal(writesOf(gateway).length, writes)
  const deleted = await cli(['--delete', 'hello', '--force', '--yes'])
  assert.equal(deleted.code, 0, deleted.stderr)
  assert.equal(deleted.stderr.match(/^usage plan free/gm)?.length, 1)
  assert.equal(gateway.account.plans.size, 0)
  assert.equal(gateway.account.restApis.all.size, 0)
  const again = await cli(['--new', 'hello', '--delete', '--yes'])
  assert.equal(again.code, 0)
  assert.match(again.stderr, /There is nothing left to remove/)
})

for (const stop of ['SIGINT', 'SIGTERM'] as const)
  test(`${stop} ends a run that says what is done and what is left, and the next one goes on there`, async (t) => {
    const { gateway, env, cli } = await setUp(t)
    gateway.faults.order({ operation: 'UpdateMethod', when: 'after', kind: 'hang' })
    const run = startProgram(t, 'src/cli/main.ts', ['setup', ...ORDER, '--yes'], env)
    await run.seen(/method GET \/hello/)
    run.child.kill(stop)
    assert.equal(await run.ended(), stop)
    assert.match(
      run.output.stderr,
      new RegExp(
        `^firstkey: stopped by ${stop}\\n {2}done: usage plan gold\\n {2}left: method GET /hello; .*deployment to the stage prod\\n`,
        'm',
      ),
    )
    assert.equal((await cli([...ORDER, '--yes'])).code, 0)
    assert.deepEqual(await askApi(gateway, { api: 'bare' }, 'gold'), { without: 403, with: 200 })
  })
