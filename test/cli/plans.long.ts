import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runCli, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

test('a token for a plan that the service does not have is refused, and one whose plan is gone is shown and logged', async (t) => {
  const env = serverEnv(await testGateway(t), tempDir(t))
  const cli = (args: readonly string[], others: Record<string, string> = {}) =>
    runCli(t, ['tokens', ...args], { ...env, ...others })
  const create = (plan: string, ...more: string[]) => [
    'create',
    '--label',
    plan,
    '--plan',
    plan,
    '--json',
    ...more,
  ]

  const refused = await cli(create('free', '--plan', 'glod'))
  assert.equal(refused.code, 1)
  assert.equal(refused.stdout, '')
  assert.match(
    refused.stderr,
    /^firstkey: there is no plan glod \(did you mean "gold"\?\); the plans are free, gold$/m,
  )
  const only = { USAGE_PLANS: '', USAGE_PLAN_ID: 'demofree' }
  assert.match((await cli(create('gold'), only)).stderr, /no plan gold; the plans are default$/m)

  const made = await cli(create('gold'))
  assert.equal(made.code, 0, made.stderr)
  assert.doesNotMatch(made.stderr, /plan/i)
  const { id, unknown_plans } = JSON.parse(made.stdout)
  assert.deepEqual(unknown_plans, [])
  const unset = { USAGE_PLANS: '', AWS_ACCESS_KEY_ID: '', AWS_ENDPOINT_URL_API_GATEWAY: '' }
  const unchecked = await cli(create('silver'), unset)
  assert.equal(unchecked.code, 0, unchecked.stderr)
  assert.match(unchecked.stderr, /^USAGE_PLANS is not set here, so it was not checked .*: silver$/m)
  const silver = JSON.parse(unchecked.stdout)
  assert.equal(silver.unknown_plans, null)
  const revoked = JSON.parse((await cli(create('bronze'), unset)).stdout)
  assert.equal((await cli(['revoke', revoked.id])).code, 0)

  const withoutGold = { USAGE_PLANS: 'free=demofree' }
  const listed = await cli(['list'], withoutGold)
  assert.match(listed.stdout, RegExp(`^${id} .* gold \\(unknown\\) +gold$`, 'm'))
  assert.match(listed.stderr, RegExp(`^${id} is usable, but USAGE_PLANS has no gold`, 'm'))
  assert.ok(!listed.stderr.includes(revoked.id))
  assert.match((await cli(['show', id], withoutGold)).stdout, /^plans +gold \(unknown\)$/m)

  const server = await startServer(t, { ...env, ...withoutGold })
  const [line] = await server.seen(/.*usable tokens allow plans that this service does not have.*/)
  const { level, count, tokens, plans } = JSON.parse(line)
  assert.equal(level, 'warn')
  assert.equal(count, 2)
  assert.deepEqual(tokens, [
    { id: silver.id, plans: ['silver'] },
    { id, plans: ['gold'] },
  ])
  assert.deepEqual(plans, ['free'])
})
