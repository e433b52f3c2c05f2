import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Caller } from '../../src/aws/calls.ts'
import { iamPolicy } from '../../src/setup/iam-policy.ts'
import { startProgram } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'
import { askApi, openSetup } from '../support/setup-run.ts'

/** The generated policy of a part of firstkey, as the gateway takes it: with lists that can be changed. */
function policyOf(caller: Caller) {
  const { Statement } = iamPolicy(caller, 'eu-west-1', {})
  return {
    Statement: Statement.map(({ Effect, Action, Resource }) => ({
      Effect,
      Action: [...Action],
      Resource: [...Resource],
    })),
  }
}

test('the generated policy of setup allows a new API, changes of another, and the removal', async (t) => {
  const gateway = await testGateway(t, { policy: policyOf('setup') })
  await openSetup(t, gateway, { name: 'first', plan: ['new=rate:10,burst:20'] }).apply()
  const [api = ''] = [...gateway.account.restApis.all.keys()].filter((id) => id !== 'demo')
  assert.deepEqual(await askApi(gateway, { api }, 'new'), { without: 403, with: 200 })
  const changes = {
    api: 'demo',
    stage: 'prod',
    plan: ['other=quota:5/day'],
    throttle: ['ANY /hello=rate:1,burst:1'],
  }
  await openSetup(t, gateway, changes).apply()
  await openSetup(t, gateway, { name: 'first', delete: true }).apply()
  assert.deepEqual([...gateway.account.restApis.all.keys()], ['demo'])
  assert.deepEqual(
    gateway.calls.filter(({ status }) => status === 403),
    [],
  )
})

test('the generated policy of doctor allows all that it reads', async (t) => {
  const gateway = await testGateway(t, { policy: policyOf('doctor') })
  const env = serverEnv(gateway, tempDir(t))
  const doctor = startProgram(t, 'src/cli/main.ts', ['doctor', '--json'], env)
  await doctor.ended()
  const { findings } = JSON.parse(doctor.output.stdout) as { findings: { status: string; action?: string }[] }
  assert.ok(findings.length > 5)
  assert.deepEqual(
    findings.filter(({ action }) => action !== undefined),
    [],
  )
  assert.deepEqual(
    gateway.calls.filter(({ status, method }) => status === 403 || method !== 'GET'),
    [],
  )
})
