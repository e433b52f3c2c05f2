import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import {
  CreateApiKeyCommand,
  CreateBasePathMappingCommand,
  CreateDeploymentCommand,
  CreateDomainNameCommand,
  CreateUsagePlanCommand,
  CreateUsagePlanKeyCommand,
  DeleteMethodCommand,
  DeleteStageCommand,
  DeleteUsagePlanKeyCommand,
  GetRestApiCommand,
  GetUsagePlansCommand,
} from '@aws-sdk/client-api-gateway'
import type { Finding } from '../../src/setup/finding.ts'
import { askDoctor } from '../support/ask-doctor.ts'
import type { Feature } from '../support/gateways/features.ts'
import { statusOf, type TestedGateway } from '../support/gateways/tested-gateway.ts'
import { CERTIFICATE, createTestApi, putTestMethod, type TestApi } from '../support/rest-api.ts'
import { openSetup } from '../support/setup-run.ts'

interface Case {
  /** The features without which the case says nothing. */
  readonly needs?: readonly Feature[]
  run(gateway: TestedGateway, t: TestContext): Promise<void>
}

/** The behaviour of `setup` and `doctor` on any gateway. Other cases may have left APIs and plans there. */
const cases: Record<string, Case> = {
  'setup --new leads to an API that a key opens, and a second run changes nothing': {
    async run(gateway, t) {
      const name = 'from-nothing'
      const order = { name, plan: ['free=rate:100,burst:100,quota:1000/day'] }
      const setUp = () => openSetup(t, urlOf(gateway), order)
      assert.notEqual((await setUp().apply()).length, 0)
      assert.deepEqual(await setUp().apply(), [])
      const { state } = await setUp().look()
      const api = state?.api?.id ?? ''
      const { tags } = await gateway.sdk.send(new GetRestApiCommand({ restApiId: api }))
      assert.deepEqual(tags, { 'firstkey:setup': name })
      const { items = [] } = await gateway.sdk.send(new GetUsagePlansCommand({ limit: 500 }))
      const plan = items.find(({ apiStages }) => apiStages?.some(({ apiId }) => apiId === api))?.id ?? ''
      const key = await createKey(gateway, plan)
      const target = { api, stage: 'prod' }
      assert.equal(await statusOf(gateway, target, '/hello'), 403)
      assert.equal(await statusOf(gateway, target, '/hello', key.value), 200)
      assert.deepEqual(await notOk(gateway, { ...target, key: key.value, plans: `free=${plan}` }), [])
      await gateway.sdk.send(new DeleteUsagePlanKeyCommand({ usagePlanId: plan, keyId: key.id }))
    },
  },
  'setup --delete takes all of it away': {
    async run(gateway, t) {
      const name = 'soon-gone'
      await openSetup(t, urlOf(gateway), { name, plan: ['free='] }).apply()
      const { state } = await openSetup(t, urlOf(gateway), { name, plan: ['free='] }).look()
      await openSetup(t, urlOf(gateway), { name, delete: true }).apply()
      const missing = { name: 'NotFoundException' }
      await assert.rejects(gateway.sdk.send(new GetRestApiCommand({ restApiId: state?.api?.id })), missing)
    },
  },
  'setup gives an API, whose methods require keys, a plan': {
    async run(gateway, t) {
      const api = await createTestApi(gateway.sdk, { 'GET /hello': { apiKeyRequired: true } })
      const plan = ['gold-of-setup=rate:100,burst:100']
      const setUp = () => openSetup(t, urlOf(gateway), { api: api.id, stage: 'prod', plan })
      assert.deepEqual(
        (await setUp().apply()).map(({ write }) => write?.operation),
        ['CreateUsagePlan'],
      )
      assert.deepEqual(await setUp().apply(), [])
    },
  },
  'setup lets the methods of an open API require keys': {
    needs: ['UpdateMethod changes apiKeyRequired', 'the data plane obeys the deployed methods'],
    async run(gateway, t) {
      const api = await createTestApi(gateway.sdk, { 'GET /hello': { apiKeyRequired: false } })
      const plan = ['gold-of-open=rate:100,burst:100']
      const setUp = () => openSetup(t, urlOf(gateway), { api: api.id, stage: 'prod', plan })
      await setUp().apply()
      assert.deepEqual(await setUp().apply(), [])
      assert.equal(await statusOf(gateway, { api: api.id, stage: 'prod' }, '/hello'), 403)
    },
  },
  'setup puts the stage on a plan that exists': {
    needs: ['UpdateUsagePlan adds a stage', 'UpdateUsagePlan changes a rate'],
    async run(gateway, t) {
      const api = await createTestApi(gateway.sdk, { 'GET /hello': { apiKeyRequired: true } })
      await gateway.sdk.send(new CreateUsagePlanCommand({ name: 'there-before' }))
      const plan = ['there-before=rate:100,burst:100']
      const setUp = () => openSetup(t, urlOf(gateway), { api: api.id, stage: 'prod', plan })
      await setUp().apply()
      assert.deepEqual(await setUp().apply(), [])
    },
  },
  'doctor: the plan lacks the stage': {
    async run(gateway) {
      const { api, target } = await healthyApi(gateway)
      const { id = '' } = await gateway.sdk.send(new CreateUsagePlanCommand({ name: 'bare' }))
      const found = await only(gateway, { ...target, plans: `bare=${id}` })
      assert.deepEqual([found.check, found.where.usagePlanId], ['plan-stage', id])
      assert.match(found.mend?.command ?? '', RegExp(`value=${api.id}:prod`))
    },
  },
  'doctor: the plan lost the stage as it was deleted': {
    needs: ['a plan loses a stage that is deleted'],
    async run(gateway) {
      const { api, target, plan } = await healthyApi(gateway)
      await gateway.sdk.send(new DeleteStageCommand({ restApiId: api.id, stageName: 'prod' }))
      await gateway.sdk.send(new CreateDeploymentCommand({ restApiId: api.id, stageName: 'prod' }))
      assert.equal((await only(gateway, { ...target, plans: `gold=${plan}` })).check, 'plan-stage')
    },
  },
  'doctor: a method requires a key and was not deployed since; the mend deploys it': {
    async run(gateway) {
      const { api, target, plan } = await healthyApi(gateway, false)
      const resourceId = api.resources.get('/orders')
      const method = { restApiId: api.id, resourceId, httpMethod: 'GET' }
      await gateway.sdk.send(new DeleteMethodCommand(method))
      await putTestMethod(gateway.sdk, api, 'GET /orders', { apiKeyRequired: true })
      const found = await only(gateway, { ...target, plans: `gold=${plan}` })
      assert.deepEqual(
        [found.check, found.where.path, found.where.method],
        ['not-deployed', '/orders', 'GET'],
      )
      assert.match(found.mend?.command ?? '', /^aws apigateway create-deployment /)
      await gateway.sdk.send(new CreateDeploymentCommand({ restApiId: api.id, stageName: 'prod' }))
      assert.deepEqual(await notOk(gateway, { ...target, plans: `gold=${plan}` }), [])
    },
  },
  'doctor: OPTIONS requires a key, and a method requires none': {
    async run(gateway) {
      const { api, target, plan } = await healthyApi(gateway, false)
      await putTestMethod(gateway.sdk, api, 'OPTIONS /orders', { apiKeyRequired: true })
      await gateway.sdk.send(new CreateDeploymentCommand({ restApiId: api.id, stageName: 'prod' }))
      const found = await notOk(gateway, { ...target, plans: `gold=${plan}` })
      assert.deepEqual(
        found.map(({ check, where }) => [check, where.method, where.path]),
        [
          ['key-required', 'GET', '/orders'],
          ['options-open', 'OPTIONS', '/orders'],
        ],
      )
    },
  },
  'doctor: the key does not exist': {
    async run(gateway) {
      const { target, plan } = await healthyApi(gateway)
      const unknown = await only(gateway, { ...target, plans: `gold=${plan}`, key: 'x'.repeat(40) })
      assert.equal(unknown.check, 'key')
    },
  },
  'doctor: the key is on no plan': {
    needs: ['GetUsagePlans lists the plans of a key alone'],
    async run(gateway) {
      const { target, plan } = await healthyApi(gateway)
      const { id, value } = await createKey(gateway)
      const found = await only(gateway, { ...target, plans: `gold=${plan}`, key: value })
      assert.deepEqual([found.check, found.where.keyId], ['key-plan', id])
    },
  },
  'doctor: the key is disabled': {
    async run(gateway) {
      const { target, plan } = await healthyApi(gateway)
      const { id, value } = await createKey(gateway, plan, false)
      assert.equal(await statusOf(gateway, target, '/hello', value), 403)
      const found = await only(gateway, { ...target, plans: `gold=${plan}`, key: value })
      assert.deepEqual([found.check, found.where.keyId], ['key', id])
    },
  },
  'doctor: the rate of the plan is 0': {
    async run(gateway) {
      const { api, target } = await healthyApi(gateway)
      const apiStages = [{ apiId: api.id, stage: 'prod' }]
      const closed = { name: 'closed', apiStages, throttle: { rateLimit: 0, burstLimit: 0 } }
      const { id = '' } = await gateway.sdk.send(new CreateUsagePlanCommand(closed))
      const found = await only(gateway, { ...target, plans: `closed=${id}` })
      assert.deepEqual([found.check, found.where.usagePlanId], ['plan-limits', id])
    },
  },
  'doctor: an authorizer authorizes a method as well': {
    needs: ['the summary of a deployment has the authorizationType'],
    async run(gateway) {
      const { api, target, plan } = await healthyApi(gateway)
      const iam = { apiKeyRequired: true, authorizationType: 'AWS_IAM' }
      await putTestMethod(gateway.sdk, api, 'PUT /orders', iam)
      await gateway.sdk.send(new CreateDeploymentCommand({ restApiId: api.id, stageName: 'prod' }))
      assert.equal((await only(gateway, { ...target, plans: `gold=${plan}` })).check, 'authorization')
    },
  },
  'doctor: the authorizer is the source of keys': {
    needs: ['GetExport shows the deployed apiKeySource', 'the data plane wants the key from the authorizer'],
    async run(gateway) {
      const { target, plan } = await healthyApi(gateway, true, { apiKeySource: 'AUTHORIZER' })
      assert.equal((await only(gateway, { ...target, plans: `gold=${plan}` })).check, 'key-source')
    },
  },
  'doctor: the custom domain leads to another stage': {
    async run(gateway) {
      const { api, target, plan } = await healthyApi(gateway, true, { stages: ['prod', 'other'] })
      const domainName = `${api.id}.example.com`
      const certificate = {
        regionalCertificateArn: CERTIFICATE,
        endpointConfiguration: { types: ['REGIONAL' as const] },
      }
      await gateway.sdk.send(new CreateDomainNameCommand({ domainName, ...certificate }))
      const mapping = { domainName, basePath: 'v1', restApiId: api.id, stage: 'other' }
      await gateway.sdk.send(new CreateBasePathMappingCommand(mapping))
      const url = `https://${domainName}/v1`
      const found = await only(gateway, { ...target, plans: `gold=${plan}`, url })
      assert.equal(found.check, 'domain-mapping')
    },
  },
}

/** Runs what holds on any gateway. */
export function gatewayContract(name: string, open: (t: TestContext) => Promise<TestedGateway>): void {
  for (const [title, { needs = [], run }] of Object.entries(cases))
    test(`${name}: ${title}`, async (t) => {
      const gateway = await open(t)
      const lacking = needs.filter((feature) => gateway.lacks.includes(feature))
      if (lacking.length > 0) return t.skip(`${name} lacks: ${lacking.join('; ')}`)
      await run(gateway, t)
    })
}

const urlOf = ({ env }: TestedGateway) => ({ url: env['AWS_ENDPOINT_URL_API_GATEWAY'] ?? '' })

/** An API with two methods that require a key, or one, and a plan that covers it. */
async function healthyApi(
  { sdk }: TestedGateway,
  apiKeyRequired = true,
  settings: Parameters<typeof createTestApi>[2] = {},
): Promise<{ api: TestApi; target: { api: string; stage: string }; plan: string }> {
  const methods = { 'GET /hello': { apiKeyRequired: true }, 'GET /orders': { apiKeyRequired } }
  const api = await createTestApi(sdk, methods, settings)
  const apiStages = [{ apiId: api.id, stage: 'prod' }]
  const { id: plan = '' } = await sdk.send(new CreateUsagePlanCommand({ name: 'gold', apiStages }))
  return { api, target: { api: api.id, stage: 'prod' }, plan }
}

/** @param plan if left out, it is on none */
async function createKey({ sdk }: TestedGateway, plan?: string, enabled = true) {
  const { id = '', value = '' } = await sdk.send(new CreateApiKeyCommand({ name: 'k', enabled }))
  const attachment = { usagePlanId: plan, keyId: id, keyType: 'API_KEY' }
  if (plan !== undefined) await sdk.send(new CreateUsagePlanKeyCommand(attachment))
  return { id, value }
}

interface Asked {
  readonly api: string
  readonly stage: string
  readonly plans: string
  readonly key?: string
  readonly url?: string
}

/** Returns what doctor finds that is not ok, without the usage of a key where the gateway has none. */
async function notOk(gateway: TestedGateway, { plans, key, url, ...target }: Asked): Promise<Finding[]> {
  const API_BASE_URL = url ?? gateway.stageUrl(target.api, target.stage)
  const env = { ...gateway.env, USAGE_PLANS: plans, API_BASE_URL }
  const { findings } = await askDoctor(env, { ...target, key: key ?? null })
  const isUnasked = ({ check }: Finding) => check === 'key-quota' && gateway.lacks.includes('GetUsage')
  return findings.filter((one) => one.status !== 'ok' && !(one.status === 'not_checked' && isUnasked(one)))
}

async function only(gateway: TestedGateway, asked: Asked): Promise<Finding> {
  const [first, ...others] = await notOk(gateway, asked)
  assert.deepEqual(others, [])
  assert.ok(first)
  return first
}
