import assert from 'node:assert/strict'
import { test } from 'node:test'
import { iamPolicy } from '../../src/setup/iam-policy.ts'
import { testGateway } from '../support/service.ts'
import { askApi, openSetup } from '../support/setup-run.ts'

/** The generated policy of setup, as the gateway takes it: with lists that can be changed. */
function setupPolicy() {
  const { Statement } = iamPolicy('setup', 'eu-west-1', {})
  return {
    Statement: Statement.map(({ Effect, Action, Resource }) => ({
      Effect,
      Action: [...Action],
      Resource: [...Resource],
    })),
  }
}

test('the generated policy of setup allows a new API, changes of another, and the removal', async (t) => {
  const gateway = await testGateway(t, { policy: setupPolicy() })
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
