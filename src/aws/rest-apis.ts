import {
  GetAccountCommand,
  GetDeploymentCommand,
  GetDomainNameCommand,
  GetExportCommand,
  GetMethodCommand,
  GetRestApiCommand,
  GetStagesCommand,
  GetUsagePlanCommand,
  paginateGetApiKeys,
  paginateGetBasePathMappings,
  paginateGetResources,
  paginateGetRestApis,
  paginateGetUsagePlanKeys,
  paginateGetUsagePlans,
  type RestApi as SdkRestApi,
} from '@aws-sdk/client-api-gateway'
import { z } from 'zod'
import { deniedPermission, type Operation, permissionOf } from './calls.ts'
import { type ClientOptions, createClient } from './client.ts'
import { credentialFault, renewCredentials } from './credentials.ts'
import { answeredError, describeError, isUnsupported, kindOf } from './errors.ts'
import { createHttpHandler } from './http-handler.ts'
import { createPace } from './pace.ts'
import { readUsage, type UsageDay, type UsageQuery } from './usage.ts'
import { toUsagePlan, type UsagePlan } from './usage-plans.ts'

/**
 * The result of one read: its value, or why it is not known. `action` is the IAM permission that is missing, as in
 * `apigateway:GET on arn:aws:apigateway:eu-west-1::/restapis/abc`; `null`: it failed for another reason.
 */
export type Read<T> =
  | { readonly known: true; readonly value: T }
  | { readonly known: false; readonly why: string; readonly action: string | null }

/** `why` of a read that the endpoint, an emulator, does not have. */
export const NO_SUCH_OPERATION = 'API Gateway here has no such operation'

/** Reports that nothing can be read: there are no usable credentials, or API Gateway cannot be reached. */
export class CannotLookError extends Error {
  override readonly name = 'CannotLookError'
}

export type KeySource = 'HEADER' | 'AUTHORIZER'

/** The account's settings of API Gateway in one Region. */
export interface Account {
  readonly features: readonly string[]
}

/** A REST API as it is edited, which its stages may not have yet. */
export interface RestApi {
  readonly id: string
  readonly name: string
  readonly keySource: KeySource
  /** The resource policy, JSON; `null`: none. */
  readonly policy: string | null
  readonly isPrivate: boolean
  readonly isDefaultEndpointDisabled: boolean
  readonly tags: Readonly<Record<string, string>>
}

/** Limits of requests; `null`: no limit. */
export interface Throttle {
  readonly ratePerSecond: number | null
  readonly burst: number | null
}

export interface Stage {
  readonly name: string
  readonly deploymentId: string | null
  readonly webAclArn: string | null
  /** The deployment that gets a part of the requests; `null`: none. */
  readonly canary: { readonly percent: number; readonly deploymentId: string | null } | null
  /** The stage's own limits by method, as in `hello/GET`, or `*`/`*` for all: keys of `methodSettings`. */
  readonly throttles: readonly (Throttle & { readonly setting: string })[]
  readonly tags: Readonly<Record<string, string>>
}

/** A method of an API. `ANY` stands for every HTTP method that its resource does not have itself. */
export interface Method {
  readonly path: string
  readonly httpMethod: string
  readonly apiKeyRequired: boolean
  /** `NONE`, or who else has to let a request pass: `AWS_IAM`, `CUSTOM`, `COGNITO_USER_POOLS`. */
  readonly authorizationType: string
}

/** A method as it is edited. */
export interface EditedMethod extends Method {
  readonly resourceId: string
}

/** The part of a custom domain below one path. */
export interface Mapping {
  /** Without slashes at its ends; '': the whole domain. */
  readonly basePath: string
  readonly api: string
  /** `null`: the first segment of the path names the stage. */
  readonly stage: string | null
}

export interface Domain {
  readonly name: string
  readonly mappings: readonly Mapping[]
  readonly tags: Readonly<Record<string, string>>
}

export interface Key {
  readonly id: string
  readonly name: string
  readonly enabled: boolean
  readonly customerId: string | null
  readonly tags: Readonly<Record<string, string>>
}

/**
 * The reads by which an API, its stages and its usage plans are looked at. Each ends in time and reads a bounded number of
 * pages. `null` in place of a value: there is no such thing.
 * @throws CannotLookError every one of them
 */
export interface RestApiReads {
  account(): Promise<Read<Account>>
  /** `'http-api'`: it is one, and those have no API keys. */
  restApi(id: string): Promise<Read<RestApi | 'http-api' | null>>
  stages(api: string): Promise<Read<readonly Stage[] | null>>
  /** The methods as they are edited. */
  methods(api: string): Promise<Read<readonly EditedMethod[] | null>>
  /** The methods as they were deployed. */
  deployed(api: string, deploymentId: string): Promise<Read<readonly Method[] | null>>
  /** The place in which the deployed API looks for a key. */
  deployedKeySource(api: string, stage: string): Promise<Read<KeySource | null>>
  /** All usage plans of the account and Region. */
  plans(): Promise<Read<readonly UsagePlan[]>>
  plan(usagePlanId: string): Promise<Read<UsagePlan | null>>
  domain(name: string): Promise<Read<Domain | null>>
  /** The key with this value. */
  keyByValue(value: string): Promise<Read<Key | null>>
  plansOf(keyId: string): Promise<Read<readonly UsagePlan[]>>
  usage(query: UsageQuery): Promise<Read<readonly UsageDay[]>>
  /** The APIs with this tag, the one that was created first at the beginning. */
  taggedApis(tag: string, value: string): Promise<Read<readonly RestApi[]>>
  /** The ids of the resources by their paths. */
  resources(api: string): Promise<Read<ReadonlyMap<string, string> | null>>
  /** The parts of a method that its integration needs. */
  methodParts(api: string, resourceId: string, httpMethod: string): Promise<Read<MethodParts | null>>
  /** The names of the keys on a usage plan. */
  keysOn(usagePlanId: string): Promise<Read<readonly string[]>>
  close(): void
}

/** The parts of a method that are there, besides itself. */
export interface MethodParts {
  readonly integration: boolean
  /** The response 200, of the method and of its integration. */
  readonly response: boolean
  readonly integrationResponse: boolean
}

export interface RestApiReadsOptions extends ClientOptions {
  /** The calls a second; 0: no limit. */
  readonly callsPerSecond: number
  /** Ends every read. */
  readonly signal: AbortSignal
}

/** The items of a page, and the most pages of one list: 10,000 keys, the most that an account has, are 20 of them. */
const PAGE_SIZE = 500
const MOST_PAGES = 40
/** The times that a read is tried while API Gateway throttles; the SDK tries each three times. */
const TRIES = 4
const CONNECT_MS = 2_000

/** Faults of the connection or the credentials, which every other read would have as well. */
const HOPELESS = new Set(['credentials', 'unsent', 'proxy', 'insecure'])
const UNREACHABLE = /^(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|EHOSTUNREACH|ENETUNREACH)$/

/** Creates the reads. Their client is their own. @param pace that of all calls of this process; left out: one of their own */
export function createRestApiReads(
  options: RestApiReadsOptions,
  pace = createPace(options.callsPerSecond),
): RestApiReads {
  const { region, signal } = options
  const client = createClient(options, pace, 'low')
  const config = { client, pageSize: PAGE_SIZE }
  const sent = { abortSignal: signal }

  /** @param input the members of the command that its permission names */
  async function read<T>(operation: Operation, input: object, call: () => Promise<T>): Promise<Read<T>> {
    for (let tries = 1; ; tries++) {
      try {
        return { known: true, value: await call() }
      } catch (error) {
        if (kindOf(error) === 'throttled' && tries < TRIES && !signal.aborted) continue
        return unknownBecause(error, permissionOf(operation, region, input))
      }
    }
  }

  function unknownBecause(error: unknown, permission: string): Read<never> {
    if (signal.aborted) return { known: false, why: 'it took too long', action: null }
    const kind = kindOf(error)
    const { name, code, message } = describeError(error)
    const isHopeless = HOPELESS.has(kind) || UNREACHABLE.test(code)
    if (isHopeless || (error instanceof Error && credentialFault(error) !== undefined))
      throw new CannotLookError(`API Gateway in ${region} cannot be looked at: ${name}: ${message}`, {
        cause: error,
      })
    if (kind === 'denied')
      return { known: false, why: 'it is not allowed', action: deniedPermission(message) ?? permission }
    if (isUnsupported(error)) return { known: false, why: NO_SUCH_OPERATION, action: null }
    const why = kind === 'throttled' ? 'API Gateway is throttling requests' : `${name}: ${message}`
    return { known: false, why, action: null }
  }

  /** `null` instead of an error for what does not exist. */
  async function unlessMissing<T>(call: Promise<T>): Promise<T | null> {
    return call.catch((error: unknown) => {
      if (answeredError(error)?.name === 'NotFoundException') return null
      throw error
    })
  }

  async function isHttpApi(id: string): Promise<boolean> {
    // Loaded only here: its client would cost every start time and memory.
    const { ApiGatewayV2Client, GetApiCommand } = await import('@aws-sdk/client-apigatewayv2')
    const { endpoint, callTimeoutMs, observeDate, proxies } = options
    const http = createHttpHandler({ connectMs: CONNECT_MS, attemptMs: callTimeoutMs, observeDate, proxies })
    const other = new ApiGatewayV2Client({
      ...{ region, requestHandler: http, maxAttempts: 3 },
      // Both have the same host.
      ...(endpoint === undefined ? {} : { endpoint }),
    })
    renewCredentials(other)
    try {
      await pace.turn('GetApi', 'low', signal)
      await other.send(new GetApiCommand({ ApiId: id }), sent)
      return true
    } catch {
      // Whatever failed: it is no REST API. What says so also says that a role may be unable to see an HTTP API.
      return false
    } finally {
      other.destroy()
    }
  }

  return {
    account: () =>
      read('GetAccount', {}, async () => {
        const { features = [] } = await client.send(new GetAccountCommand({}), sent)
        return { features }
      }),
    restApi: (id) =>
      read('GetRestApi', { restApiId: id }, async () => {
        const api = await unlessMissing(client.send(new GetRestApiCommand({ restApiId: id }), sent))
        if (api === null) return (await isHttpApi(id)) ? ('http-api' as const) : null
        return toRestApi(id, api)
      }),
    stages: (api) =>
      read('GetStages', { restApiId: api }, async () => {
        const found = await unlessMissing(client.send(new GetStagesCommand({ restApiId: api }), sent))
        return found?.item?.map(toStage) ?? (found === null ? null : [])
      }),
    methods: (api) =>
      read('GetResources', { restApiId: api }, () =>
        unlessMissing(
          listed(paginateGetResources(config, { restApiId: api, embed: ['methods'] }, sent), ({ items }) =>
            items?.flatMap(({ id: resourceId = '', path = '', resourceMethods = {} }) =>
              Object.entries(resourceMethods).map(([httpMethod, method]) => ({
                ...toMethod(path, httpMethod, method),
                resourceId,
              })),
            ),
          ),
        ),
      ),
    deployed: (api, deploymentId) =>
      read('GetDeployment', { restApiId: api, deploymentId }, async () => {
        const query = { restApiId: api, deploymentId, embed: ['apisummary'] }
        const deployment = await unlessMissing(client.send(new GetDeploymentCommand(query), sent))
        if (deployment === null) return null
        return Object.entries(deployment.apiSummary ?? {}).flatMap(([path, methods]) =>
          Object.entries(methods).map(([httpMethod, method]) => toMethod(path, httpMethod, method)),
        )
      }),
    deployedKeySource: (api, stage) =>
      read('GetExport', { restApiId: api, stageName: stage, exportType: 'oas30' }, async () => {
        const query = { restApiId: api, stageName: stage, exportType: 'oas30', accepts: 'application/json' }
        const command = new GetExportCommand({ ...query, parameters: { extensions: 'apigateway' } })
        const answer = await unlessMissing(client.send(command, sent))
        if (answer === null) return null
        const text = new TextDecoder().decode(answer.body)
        return exportSchema.parse(JSON.parse(text))['x-amazon-apigateway-api-key-source']
      }),
    plans: () => read('GetUsagePlans', {}, () => listPlans({})),
    plan: (usagePlanId) =>
      read('GetUsagePlan', { usagePlanId }, async () => {
        const plan = await unlessMissing(client.send(new GetUsagePlanCommand({ usagePlanId }), sent))
        return plan === null ? null : toUsagePlan(usagePlanId, plan)
      }),
    domain: (name) =>
      read('GetBasePathMappings', { domainName: name }, async () => {
        const mappings = await unlessMissing(
          listed(paginateGetBasePathMappings(config, { domainName: name }, sent), ({ items }) =>
            items?.map(({ basePath = '(none)', restApiId = '', stage }) => ({
              basePath: basePath === '(none)' ? '' : basePath,
              api: restApiId,
              stage: stage === undefined || stage === '' || stage === '(none)' ? null : stage,
            })),
          ),
        )
        if (mappings === null) return null
        // Only for the tags, which say who owns it.
        const { tags = {} } = await client
          .send(new GetDomainNameCommand({ domainName: name }), sent)
          .catch(() => ({}) as { tags?: Record<string, string> })
        return { name, mappings, tags }
      }),
    keyByValue: (value) =>
      read('GetApiKeys', {}, async () => {
        const [found] = await listed(paginateGetApiKeys(config, { includeValues: true }, sent), ({ items }) =>
          items
            ?.filter((key) => key.value === value)
            .map((key) => ({
              id: key.id ?? '',
              name: key.name ?? '',
              enabled: key.enabled === true,
              customerId: key.customerId ?? null,
              tags: key.tags ?? {},
            })),
        )
        return found ?? null
      }),
    plansOf: (keyId) => read('GetUsagePlans', {}, () => listPlans({ keyId })),
    usage: (query) => read('GetUsage', query, () => readUsage(client, query, signal).catch(causeOf)),
    taggedApis: (tag, value) =>
      read('GetRestApis', {}, async () => {
        const all = await listed(paginateGetRestApis(config, {}, sent), ({ items }) => items)
        return all
          .filter(({ tags }) => tags?.[tag] === value)
          .sort(
            (a, b) => Number(a.createdDate) - Number(b.createdDate) || ((a.id ?? '') < (b.id ?? '') ? -1 : 1),
          )
          .flatMap((api) => (api.id === undefined ? [] : toRestApi(api.id, api)))
      }),
    resources: (api) =>
      read('GetResources', { restApiId: api }, async () => {
        const all = await unlessMissing(
          listed(paginateGetResources(config, { restApiId: api }, sent), ({ items }) => items),
        )
        return all === null ? null : new Map(all.map(({ path = '', id = '' }) => [path, id]))
      }),
    methodParts: (api, resourceId, httpMethod) => {
      const input = { restApiId: api, resourceId, httpMethod }
      return read('GetMethod', input, async () => {
        const method = await unlessMissing(client.send(new GetMethodCommand(input), sent))
        return method === null
          ? null
          : {
              integration: method.methodIntegration?.type !== undefined,
              response: method.methodResponses?.['200'] !== undefined,
              integrationResponse: method.methodIntegration?.integrationResponses?.['200'] !== undefined,
            }
      })
    },
    keysOn: (usagePlanId) =>
      read('GetUsagePlanKeys', { usagePlanId }, () =>
        listed(paginateGetUsagePlanKeys(config, { usagePlanId }, sent), ({ items }) =>
          items?.map(({ name = '' }) => name),
        ),
      ),
    close: () => client.destroy(),
  }

  function listPlans(query: { keyId?: string }): Promise<UsagePlan[]> {
    return listed(paginateGetUsagePlans(config, query, sent), ({ items }) =>
      items?.flatMap((plan) => (plan.id === undefined ? [] : [toUsagePlan(plan.id, plan)])),
    )
  }
}

const exportSchema = z.looseObject({
  'x-amazon-apigateway-api-key-source': z
    .string()
    .toUpperCase()
    .pipe(z.enum(['HEADER', 'AUTHORIZER']))
    .default('HEADER'),
})

/** Collects the items of all pages. @throws Error if there are too many pages */
async function listed<Page, T>(
  pages: AsyncIterable<Page>,
  itemsOf: (page: Page) => readonly T[] | undefined,
): Promise<T[]> {
  const items: T[] = []
  let count = 0
  for await (const page of pages) {
    if (count === MOST_PAGES) throw new Error(`there are more than ${MOST_PAGES} pages of them`)
    items.push(...(itemsOf(page) ?? []))
    count += 1
  }
  return items
}

function toRestApi(id: string, api: SdkRestApi): RestApi {
  return {
    id,
    name: api.name ?? '',
    keySource: api.apiKeySource ?? 'HEADER',
    policy: unescapePolicy(api.policy),
    isPrivate: api.endpointConfiguration?.types?.includes('PRIVATE') ?? false,
    isDefaultEndpointDisabled: api.disableExecuteApiEndpoint ?? false,
    tags: api.tags ?? {},
  }
}

interface SdkMethod {
  readonly apiKeyRequired?: boolean | undefined
  readonly authorizationType?: string | undefined
}

function toMethod(path: string, httpMethod: string, method: SdkMethod): Method {
  const { apiKeyRequired = false, authorizationType = 'NONE' } = method
  return { path, httpMethod, apiKeyRequired, authorizationType }
}

function toStage(stage: {
  stageName?: string | undefined
  deploymentId?: string | undefined
  webAclArn?: string | undefined
  canarySettings?: { percentTraffic?: number | undefined; deploymentId?: string | undefined } | undefined
  methodSettings?:
    | Record<string, { throttlingRateLimit?: number | undefined; throttlingBurstLimit?: number | undefined }>
    | undefined
  tags?: Record<string, string> | undefined
}): Stage {
  const { canarySettings: canary } = stage
  return {
    name: stage.stageName ?? '',
    deploymentId: stage.deploymentId || null,
    webAclArn: stage.webAclArn || null,
    canary:
      canary === undefined
        ? null
        : { percent: canary.percentTraffic ?? 0, deploymentId: canary.deploymentId ?? null },
    throttles: Object.entries(stage.methodSettings ?? {}).map(([setting, one]) => ({
      setting,
      ratePerSecond: one.throttlingRateLimit ?? null,
      burst: one.throttlingBurstLimit ?? null,
    })),
    tags: stage.tags ?? {},
  }
}

/** GetRestApi escapes the quotes of the policy once more than JSON does. */
function unescapePolicy(policy: string | undefined): string | null {
  if (policy === undefined || policy === '') return null
  return policy.startsWith('{\\"') ? policy.replaceAll('\\"', '"').replaceAll('\\\\', '\\') : policy
}

/** Throws the SDK's error in place of the service's. */
function causeOf(error: unknown): never {
  throw error instanceof Error && error.cause !== undefined ? error.cause : error
}
