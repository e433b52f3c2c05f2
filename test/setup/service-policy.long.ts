import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { type Caller, calls } from '../../src/aws/calls.ts'
import { suspend } from '../../src/registration/suspend.ts'
import { registrationSchema } from '../../src/routes/registration-schema.ts'
import { iamPolicy, type PolicyDocument } from '../../src/setup/iam-policy.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { fastTiming } from '../support/invariants.ts'
import { dataPlane, manage, registered, type Service, startService } from '../support/service.ts'

/** A plan with a quota, which a rotation carries to the next key. */
const plan = {
  id: 'small',
  name: 'small',
  apiStages: [{ apiId: 'demo', stage: 'prod' }],
  quota: { limit: 9, period: 'DAY' as const },
}
const policy = iamPolicy('service', 'eu-west-1', { usagePlanId: [plan.id] })

const operationsOf = (caller: Caller) =>
  Object.entries(calls).flatMap(([operation, { callers }]) =>
    (callers as readonly Caller[]).includes(caller) ? [operation] : [],
  )

/** Uses everything that calls API Gateway. Returns what came of each. */
async function useAll(service: Service): Promise<Record<string, unknown>> {
  const results: Record<string, unknown> = {}
  const attempt = async (name: string, run: () => Promise<unknown>) => {
    results[name] = await run().catch((error: unknown) => `failed: ${error}`)
  }
  const { secret } = await service.token()
  await attempt('ready', async () => (await fetch(`${service.url}/readyz`)).status)
  const own = await registered(service, {}, {}, secret).catch(() => undefined)
  results['registers'] = own !== undefined
  await attempt('registers several', async () => {
    const answers = await Promise.all(Array.from({ length: 4 }, () => service.register(secret)))
    return answers.map(({ status }) => status)
  })
  results['imports'] = service.gateway.answers['ImportApiKeys']?.[201] !== undefined
  if (own === undefined) return results
  await dataPlane(service, own.api_key_value)
  await attempt(
    'status',
    async () => registrationSchema.parse(await (await manage(service, own, 'GET')).json()).live,
  )
  await attempt('usage', async () => (await manage(service, own, 'GET', '/usage')).status)
  await attempt('rotates', async () => (await manage(service, own, 'POST', '/rotate')).status)
  await attempt('suspends', async () => {
    await suspend(service.deps, own.registration_id, SERVICE)
    return service.gateway.account.keys.get(own.api_key_id)?.enabled
  })
  await attempt('deletes', async () => {
    const { status } = await manage(service, own, 'DELETE')
    return [status, service.gateway.account.keys.has(own.api_key_id)]
  })
  return results
}

/** Starts a service that may do what `allowed` says, and uses everything. */
async function useUnder(t: TestContext, allowed: PolicyDocument) {
  const service = await startService(t, {
    env: { USAGE_PLANS: `team=${plan.id}` },
    // Registrations that arrive meanwhile wait for each other, and are imported.
    gateway: { plans: [plan], policy: allowed, latency: { CreateApiKey: 30 } },
    timing: fastTiming,
  })
  return { results: await useAll(service), calls: service.gateway.calls }
}

/** The policies from which one action on one resource is missing. */
const reduced = policy.Statement.flatMap((statement, i) =>
  statement.Action.flatMap((action) =>
    statement.Resource.map((resource) => ({
      missing: `${action} on ${resource}`,
      policy: {
        ...policy,
        Statement: policy.Statement.toSpliced(
          i,
          1,
          { ...statement, Action: statement.Action.filter((one) => one !== action) },
          { ...statement, Action: [action], Resource: statement.Resource.filter((one) => one !== resource) },
        ).filter(({ Action, Resource }) => Action.length > 0 && Resource.length > 0),
      },
    })),
  ),
)

test('the generated policy is enough for the service, and every action on every resource of it is needed', {
  concurrency: 4,
}, async (t) => {
  const all = await useUnder(t, policy)
  assert.deepEqual(
    all.calls.filter(({ status }) => status === 403),
    [],
  )
  const called = new Set(all.calls.map(({ operation }) => operation))
  assert.deepEqual([...called].sort(), operationsOf('service').sort())
  assert.ok(reduced.length > 10)
  await Promise.all(
    reduced.map(({ missing, policy: less }) =>
      t.test(`without ${missing}`, async (inner) => {
        const { results, calls: tried } = await useUnder(inner, less)
        assert.ok(
          tried.some(({ status }) => status === 403),
          'a call is refused',
        )
        assert.notDeepEqual(results, all.results)
      }),
    ),
  )
})
