import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Account, ApiKey } from './account.ts'
import { mapRequest } from './domain-name.ts'
import type { GatewayOptions, UsagePlan } from './options.ts'
import { refusalOf } from './resource-policy.ts'
import type { Integration, Snapshot, Stage } from './rest-api.ts'
import { findRoute, type Route } from './routing.ts'
import type { Usage } from './usage.ts'

export interface DataPlane {
  readonly options: GatewayOptions
  readonly account: Account
  readonly usage: Usage
}

/** A response of API Gateway itself. */
const responses = {
  forbidden: [403, 'ForbiddenException', 'Forbidden'],
  noMethod: [403, 'MissingAuthenticationTokenException', 'Missing Authentication Token'],
  unauthorized: [401, 'UnauthorizedException', 'Unauthorized'],
  denied: [403, 'AccessDeniedException', 'User is not authorized to access this resource'],
  throttled: [429, 'TooManyRequestsException', 'Too Many Requests'],
  overQuota: [429, 'LimitExceededException', 'Limit Exceeded'],
  broken: [500, 'InternalServerErrorException', 'Internal server error'],
} as const

interface Request {
  readonly apiId: string
  readonly stage: string
  /** The path within the stage, with a leading slash. */
  readonly path: string
  /** By a custom domain, and not by the default endpoint. */
  readonly byDomain: boolean
}

/** The paths that stand for custom domains within the emulator. */
const DOMAINS = '/_local/domains'

/** Returns what is put before the path of a request whose `Host` is a custom domain: nothing for another. */
export function customDomainUrl({ domains }: Account, host: string | undefined): string {
  const name = host?.replace(/:\d+$/, '').toLowerCase() ?? ''
  return domains.all.has(name) ? `${DOMAINS}/${name}` : ''
}

/**
 * Adds the APIs under `/execute-api/{apiId}/{stage}/…`. What counts is the deployment of the stage, not the API as it was
 * edited since. A method with `apiKeyRequired` returns 403 without a key whose plan covers the stage, and 429 above its limits.
 */
export async function dataPlane(app: FastifyInstance, plane: DataPlane): Promise<void> {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  app.all<{ Params: { apiId: string; stage: string; '*': string } }>(
    '/execute-api/:apiId/:stage/*',
    async (request, reply) => {
      const { apiId, stage, '*': rest } = request.params
      return serve(plane, { apiId, stage, path: `/${rest}`, byDomain: false }, request, reply)
    },
  )
  app.all<{ Params: { domain: string; '*': string } }>(`${DOMAINS}/:domain/*`, async (request, reply) => {
    const { domain: name, '*': rest } = request.params
    const domain = plane.account.domains.all.get(name)
    const to = domain && mapRequest(domain, `/${rest}`)
    return to === undefined
      ? refuse(reply, 'forbidden')
      : serve(plane, { ...to, byDomain: true }, request, reply)
  })
}

function serve(plane: DataPlane, to: Request, request: FastifyRequest, reply: FastifyReply): unknown {
  // An HTTP API has no keys.
  if (plane.options.httpApis.some(({ apiId }) => apiId === to.apiId)) return greeting(to)
  const api = plane.account.restApis.all.get(to.apiId)
  const stage = api?.stages.get(to.stage)
  if (api === undefined || stage === undefined) return refuse(reply, 'forbidden')
  // A private API is reached from its VPC only.
  const isClosed = api.defaultEndpointIsOff || api.endpointConfiguration.types.includes('PRIVATE')
  if (isClosed && !to.byDomain) return refuse(reply, 'forbidden')
  const snapshot = api.deployments.get(deploymentOf(stage))?.snapshot
  const route = snapshot && findRoute(snapshot, request.method, to.path)
  if (snapshot === undefined || route === undefined) return refuse(reply, 'noMethod')
  const { region } = plane.options
  const invocation = { ...to, region, verb: request.method, address: request.ip }
  const refusal = snapshot.policy === undefined ? undefined : refusalOf(snapshot.policy, invocation)
  if (refusal !== undefined)
    return reply.code(403).header('x-amzn-errortype', 'AccessDeniedException').send({ Message: refusal })
  const unauthorized = authorize(route, request)
  if (unauthorized !== undefined) return refuse(reply, unauthorized)
  const called = { ...to, method: `${route.path}/${route.method.httpMethod}` }
  if (!plane.usage.passesStage(called, stage.methodSettings)) return refuse(reply, 'throttled')
  if (!route.method.apiKeyRequired) return integrate(route, to, reply)

  const key = keyOf(plane.account, snapshot, request)
  const plan = key && usablePlan(plane, key, to)
  if (key === undefined || plan === undefined) return refuse(reply, 'forbidden')
  const verdict = plane.usage.count(plan, key, called)
  if (verdict === 'throttled') return refuse(reply, 'throttled')
  if (verdict === 'over quota') return refuse(reply, 'overQuota')
  return integrate(route, to, reply, { key: key.name, plan: plan.name })
}

function refuse(reply: FastifyReply, reason: keyof typeof responses): FastifyReply {
  const [status, type, message] = responses[reason]
  return reply.code(status).header('x-amzn-errortype', type).send({ message })
}

/** Returns the id of the deployment that serves a request: with a canary, for a share of them that of the canary. */
function deploymentOf({ deploymentId, canarySettings: canary }: Stage): string {
  if (canary?.deploymentId === undefined) return deploymentId
  return Math.random() * 100 < canary.percentTraffic ? canary.deploymentId : deploymentId
}

/** The emulator has no authorizers and knows no callers: it refuses what a method with authorization is sent. */
function authorize({ method }: Route, { headers }: FastifyRequest): keyof typeof responses | undefined {
  if (method.authorizationType === 'NONE') return undefined
  if (headers.authorization !== undefined) return 'denied'
  return method.authorizationType === 'AWS_IAM' ? 'noMethod' : 'unauthorized'
}

/** With the source AUTHORIZER, the key would come from an authorizer, and the header is not looked at. */
function keyOf(
  account: Account,
  { apiKeySource }: Snapshot,
  { headers }: FastifyRequest,
): ApiKey | undefined {
  if (apiKeySource !== 'HEADER') return undefined
  const sent = String(headers['x-api-key'] ?? '')
  return account.keyByValue(sent) ?? account.deletedKeys().find(({ value }) => value === sent)
}

function usablePlan({ account, options }: DataPlane, key: ApiKey, to: Request): UsagePlan | undefined {
  if (!key.enabled || !isKnown(key, options)) return undefined
  if (!account.settings.features.includes('UsagePlans')) return undefined
  return [...key.planIds]
    .map((id) => account.plan(id))
    .find((plan) => plan.apiStages.some((own) => own.apiId === to.apiId && own.stage === to.stage))
}

/** Reports whether the host that serves a request knows a key: a random one of the many that a data plane has. */
function isKnown({ createdAt }: ApiKey, { propagationMs, flickerMs }: GatewayOptions): boolean {
  const knownForMs = Date.now() - createdAt - propagationMs
  return knownForMs >= Math.random() * flickerMs
}

/** Answers a request: from the template of a mock integration, and in place of the backend of any other. */
function integrate(
  { method }: Route,
  to: Request,
  reply: FastifyReply,
  caller: { key?: string; plan?: string } = {},
): unknown {
  const integration = method.methodIntegration
  if (integration?.type === 'MOCK') return mock(integration, reply)
  return greeting(to, caller)
}

function greeting({ path }: Request, caller: { key?: string; plan?: string } = {}) {
  return { message: 'Hello from the demo API', path, ...caller }
}

/** The request template of a mock integration names the status, and the integration response of that status has the body. */
function mock({ requestTemplates, integrationResponses = {} }: Integration, reply: FastifyReply): unknown {
  const [, wanted] = requestTemplates?.['application/json']?.match(/"?statusCode"?\s*:\s*"?(\d{3})/) ?? []
  const all = Object.values(integrationResponses)
  const response =
    all.find((one) => wanted !== undefined && new RegExp(`^(?:${one.selectionPattern})$`).test(wanted)) ??
    all.find(({ selectionPattern }) => selectionPattern === undefined || selectionPattern === '')
  if (wanted === undefined || response === undefined) return refuse(reply, 'broken')
  for (const [name, value] of Object.entries(response.responseParameters ?? {})) {
    const header = name.replace(/^method\.response\.header\./, '')
    const [, text] = value.match(/^'(.*)'$/) ?? []
    if (header !== name && text !== undefined) reply.header(header, text)
  }
  const [type = 'application/json', body = ''] = Object.entries(response.responseTemplates ?? {})[0] ?? []
  return reply.code(Number(response.statusCode)).type(type).send(body)
}
