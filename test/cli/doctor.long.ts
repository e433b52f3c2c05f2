import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { runCli } from '../support/server-process.ts'
import { serverEnv, testGateway } from '../support/service.ts'

/** Runs doctor with a text on stdin. */
async function withStdin(env: Record<string, string>, input: string, args: readonly string[] = []) {
  const child = spawn(process.execPath, ['src/cli/main.ts', 'doctor', '--key-stdin', ...args], {
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...env },
  })
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  const ended = once(child, 'close')
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  const [code] = await ended
  return { code, stdout, stderr }
}

async function createEnv(t: TestContext) {
  const gateway = await testGateway(t)
  const { STORE: _, PORT: __, ...env } = serverEnv(gateway, '/nonexistent')
  return { gateway, env }
}

test('doctor prints a line a check, and its exit code is 0 for a healthy API, 1 with faults, 2 if it could not look', async (t) => {
  const { gateway, env } = await createEnv(t)
  const doctor = (args: readonly string[] = [], others: Record<string, string> = {}) =>
    runCli(t, ['doctor', ...args], { ...env, ...others })

  const healthy = await doctor()
  assert.equal(healthy.code, 0, healthy.stderr)
  assert.match(
    healthy.stdout,
    /^ok {11}plan-stage +API demo, stage prod: every plan covers demo:prod: free, gold$/m,
  )
  assert.doesNotMatch(healthy.stdout, /^(?!ok )./m)
  assert.equal(healthy.stderr, 'demo:prod: healthy (0 faults, 0 warnings)\n')

  gateway.faults.order({ operation: 'GetAccount', when: 'before', kind: 'denied' })
  const partly = await doctor()
  assert.equal(partly.code, 0)
  assert.equal(
    partly.stderr,
    'demo:prod: healthy as far as it could be checked (0 faults, 0 warnings, 1 not checked)\n',
  )

  gateway.faults.order({ operation: 'GetAccount', when: 'before', kind: 'denied' })
  const part = JSON.parse((await doctor(['--json'])).stdout)
  assert.deepEqual([part.healthy, part.complete], [true, false])

  gateway.account.plan('demogold').apiStages = []
  gateway.account.restApis.get('demo').name = 'a\u202e\nb'
  const faulty = await doctor()
  assert.equal(faulty.code, 1)
  const stage = faulty.stdout.split('\n').findIndex((line) => /^fault {8}plan-stage/.test(line))
  assert.deepEqual(faulty.stdout.split('\n').slice(stage, stage + 4), [
    'fault        plan-stage         plan gold (demogold), API demo, stage prod: The usage plan of the plan "gold" has no API stage, so that its keys open nothing.',
    '             why: callers get 403 Forbidden with every key of this plan. A stage that is made anew is on no plan',
    '             mend:',
    '               aws apigateway update-usage-plan --usage-plan-id demogold --patch-operations op=add,path=/apiStages,value=demo:prod --region eu-west-1',
  ])
  assert.match(faulty.stdout, /^ok +rest-api .*"a\\u\{202e\}\\nb"$/m)
  assert.match(faulty.stderr, /^demo:prod: not healthy \(1 fault, 0 warnings\)$/m)

  const json = JSON.parse((await doctor(['--json'])).stdout)
  assert.deepEqual([json.api, json.stage, json.healthy, json.complete], ['demo', 'prod', false, true])
  assert.deepEqual([json.targets, json.others], [[{ api: 'demo', stage: 'prod' }], []])
  const [fault] = json.findings.filter(({ status }: { status: string }) => status !== 'ok')
  assert.deepEqual([fault.check, fault.where.usage_plan_id, fault.mend.by], ['plan-stage', 'demogold', 'aws'])

  const blind: [args: string[], others: Record<string, string>, message: RegExp][] = [
    [[], { AWS_REGION: '' }, /^ {2}AWS_REGION is required/m],
    [
      [],
      { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' },
      /^firstkey: API Gateway in eu-west-1 cannot be looked at: .*credentials/m,
    ],
    [[], { AWS_SECRET_ACCESS_KEY: 'wrong' }, /cannot be looked at: .*[Ss]ignature/],
    [[], { AWS_ENDPOINT_URL_API_GATEWAY: 'http://127.0.0.1:1' }, /cannot be looked at: .*ECONNREFUSED/],
    [['--api', 'gone1', '--stage', 'prod'], {}, /^firstkey: there is no REST API gone1 in eu-west-1/m],
    [['--api', 'S3cretS3cretS3cretS3cret'], {}, /^firstkey: --api must be the id of a REST API/m],
    [['--stage', 'a b'], {}, /^firstkey: --stage must be the name of a stage/m],
    [['--nonsense'], {}, /unknown option '--nonsense'/],
  ]
  for (const [args, others, message] of blind) {
    const { code, stdout, stderr } = await doctor(args, others)
    assert.match(stderr, message)
    assert.deepEqual([code, stdout], [2, ''], args.join(' '))
    assert.doesNotMatch(stderr, /S3cret/)
  }
})

test('a key comes on stdin, and is never printed', async (t) => {
  const { gateway, env } = await createEnv(t)
  const { id, value } = gateway.account.createKey({ name: 'acme', enabled: true })
  const off = await withStdin(env, `${value}\r\n`)
  assert.equal(off.code, 1)
  assert.match(
    off.stdout,
    RegExp(
      `^fault +key-plan +plan free \\(demofree\\), key ${id}, .*: the key ${id} is on no usage plan$`,
      'm',
    ),
  )
  assert.match(
    off.stdout,
    RegExp(`create-usage-plan-key --usage-plan-id demofree --key-id ${id} --key-type API_KEY`),
  )
  gateway.account.attach('demogold', id)
  const right = await withStdin({ ...env, API_PROBE_PATH: '/status' }, value)
  assert.equal(right.code, 0, right.stdout + right.stderr)
  assert.match(
    right.stdout,
    /^ok +data-plane .*GET \/execute-api\/demo\/prod\/hello\/status: the API accepts the key: 200$/m,
  )

  const mistyped = `${value.slice(0, -1)}${value.endsWith('x') ? 'y' : 'x'}`
  const cases: [input: string, code: number, message: RegExp][] = [
    [mistyped, 1, /^fault +key +no key of the account has this value in eu-west-1$/m],
    ['', 2, /^firstkey: there is no key on stdin$/m],
    [`${value} ${value}`, 2, /has white space in it$/m],
    [`fkb_${value}`, 2, /is a bootstrap token of firstkey, not an API key$/m],
    [value.repeat(100), 2, /too long for a key$/m],
  ]
  for (const [input, code, message] of cases) {
    const found = await withStdin(env, input, input === mistyped ? [] : ['--json'])
    assert.match(found.stdout + found.stderr, message)
    assert.equal(found.code, code)
    for (const secret of [value, mistyped]) assert.ok(!(found.stdout + found.stderr).includes(secret))
  }
  for (const { stdout, stderr } of [off, right]) assert.ok(!(stdout + stderr).includes(value))
})
