import { z } from 'zod'
import { DAY_MS } from './clock.ts'
import { credentialFaults } from './credential-variables.ts'
import { type ProxyVariables, proxyFaults, readProxies } from './egress-proxy.ts'
import { type AddressRange, parseRange } from './ip-address.ts'
import { type LogLevel, logLevels } from './log.ts'
import { durationVariable, poolVariable } from './pool-variables.ts'
import { escapeInvisible, showValue } from './show-value.ts'
import { type NamedStore, storeVariable } from './store-variable.ts'
import type { VariableName } from './variables.ts'

/** A plan that this deployment offers: its name here, and the id of its usage plan in API Gateway. */
export interface Plan {
  readonly name: string
  readonly usagePlanId: string
}

/** The location of the store, from `STORE`. `path` is a file, or `:memory:`. */
export type StoreLocation =
  | { readonly kind: 'sqlite'; readonly path: string }
  | {
      readonly kind: 'dynamodb'
      readonly table: string
      readonly region: string
      /** A custom endpoint for DynamoDB; `undefined`: the endpoint of the Region. */
      readonly endpoint: string | undefined
      readonly proxies: ProxyVariables
    }

export interface Config {
  readonly host: string
  readonly port: number
  /** The address at which metrics are served; `null`: none, and nothing is measured. */
  readonly metrics: { readonly host: string; readonly port: number } | null
  readonly logLevel: LogLevel
  /** The base of every URL in a response, without a trailing slash. */
  readonly publicUrl: string
  /** The stage that the gateway puts before the path of a request though `publicUrl` does not end in it; `null`: none. */
  readonly gatewayStage: string | null
  /** `false`, the number of trusted proxies that report in one header, or their addresses and CIDR ranges. */
  readonly trustProxy: false | number | string[]
  /** The header in which the trusted proxies report the client; `undefined`: the one of the two that is present. */
  readonly trustProxyHeader: (typeof forwardingHeaders)[number] | undefined
  /** The origins of web pages that may call this service. */
  readonly corsOrigins: readonly string[]
  readonly region: string
  /** A custom endpoint for API Gateway; `undefined`: the endpoint of the Region. */
  readonly apiGatewayEndpoint: string | undefined
  /** The proxies for calls to AWS and probes of keys. */
  readonly proxies: ProxyVariables
  /** The plans on offer, at least one. The first is the default. */
  readonly plans: readonly [Plan, ...Plan[]]
  /** The number of keys that are made beforehand, by the name of their plan. Empty: there is no pool. */
  readonly pool: ReadonlyMap<string, number>
  /** The age at which a key of the pool counts as working where keys cannot be probed, in milliseconds. */
  readonly poolSettleMs: number
  /** The age at which a key of the pool is replaced, in milliseconds. */
  readonly poolMaxAgeMs: number
  readonly store: StoreLocation
  /** The URL of the API that the minted keys give access to. */
  readonly apiBaseUrl: string
  /** The URL of a method of that API that requires a key, for probes; `null`: keys are not probed. */
  readonly apiProbeUrl: string | null
  /** The file that says which identities of other issuers may register; `null`: none. */
  readonly trustFile: string | null
  /** The variables that are set besides those of the configuration: that file names some of them, for secrets. */
  readonly environment: Readonly<Record<string, string>>
  /** The maximum number of requests a minute from one address; 0: no limit. */
  readonly rateLimitPerIp: number
  /** The time limit of a registration or rotation, in milliseconds. */
  readonly registerTimeoutMs: number
  /** `single`: one key at a time; `bulk`: always by bulk import; `auto`: by bulk import if several registrations wait. */
  readonly mintMode: MintMode
  /** The maximum number of keys in one bulk import. */
  readonly mintBatchMax: number
  /** The maximum number of registrations that wait to be minted. */
  readonly queueMax: number
  /** The maximum number of calls to API Gateway a second; 0: no limit. */
  readonly callsPerSecond: number
  /** The time after which a registration that is in doubt is undone, in milliseconds. */
  readonly inDoubtMs: number
  /** The retention time of audit entries, in milliseconds. */
  readonly auditRetentionMs: number
}

/** Reports an invalid configuration. The message lists every fault, one per line. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

const mintModes = ['auto', 'single', 'bulk'] as const
export type MintMode = (typeof mintModes)[number]

/** The syntax of a plan name. */
export const PLAN_NAME = /^[a-z0-9][a-z0-9_-]{0,49}$/
/** The name of the plan of `USAGE_PLAN_ID`. */
const ONLY_PLAN = 'default'
const HOUR_MS = 3_600_000
/** The syntax of the id of a usage plan. */
export const PLAN_ID = /^[A-Za-z0-9]{1,64}$/

function wholeNumber(min: number, max: number, example: number) {
  const text = `must be a whole number from ${min} to ${max}, for example ${example}`
  const number = z.number().min(min, text).max(max, text)
  return z.string().regex(/^\d+$/, text).transform(Number).pipe(number)
}

const integer = (min: number, max: number, byDefault: number) =>
  wholeNumber(min, max, byDefault).default(byDefault)

/** An http(s) URL in its normal form (WHATWG URL): its host in ASCII, without a default port and dot segments. */
function httpUrl(example: string) {
  const rule = `must be an absolute http:// or https:// URL, for example ${example}`
  return z
    .url({
      protocol: /^https?$/,
      error: ({ input }) => `${input === undefined ? 'is required: it ' : ''}${rule}`,
    })
    .refine((text) => !/[?#]/.test(text), `must have no query (?) or fragment (#), for example ${example}`)
    .transform((text, context) => {
      const url = URL.parse(text)
      if (url === null || !/^https?:\/\//i.test(text)) context.addIssue({ code: 'custom', message: rule })
      else if (url.username + url.password !== '')
        context.addIssue({
          code: 'custom',
          message: `must have no user name and password, for example ${example}`,
        })
      // A URL without a path ends in a slash now.
      return url === null || text.endsWith('/') ? (url?.href ?? '') : url.href.replace(/\/$/, '')
    })
}

/** The first segments of this service's own paths. */
export const ownPaths: readonly string[] = [
  ...['register', 'connect', 'docs', 'problems', 'assets', 'openapi.json', 'llms.txt', 'register.mjs'],
  ...['.well-known', 'livez', 'readyz'],
]

/** Refuses a base URL that ends in a path of this service, as in `https://keys.example.com/register`. */
function refuseOwnPath(text: string, context: z.RefinementCtx): void {
  const url = URL.parse(text)
  if (url === null) return
  const segments = url.pathname.split('/').filter((segment) => segment !== '')
  const { length } = segments
  while (ownPaths.includes(segments.at(-1) ?? '')) segments.pop()
  if (segments.length < length)
    context.addIssue({
      code: 'custom',
      message:
        'must be the base of all paths, without a path of firstkey at its end: ' +
        `${[url.origin, ...segments].join('/')} is probably meant`,
    })
}

const usagePlans = z.string().transform((text, context): Plan[] => {
  const plans: Plan[] = []
  for (const entry of text.split(',')) {
    const [name = '', usagePlanId = '', ...rest] = entry.trim().split('=')
    if (!PLAN_NAME.test(name) || !PLAN_ID.test(usagePlanId) || rest.length > 0) {
      context.addIssue({
        code: 'custom',
        message: `contains ${showValue('USAGE_PLANS', entry.trim())}, which must be name=usagePlanId, for example gold=abc123,free=def456`,
      })
    } else if (plans.some((plan) => plan.name === name)) {
      context.addIssue({ code: 'custom', message: `names the plan "${name}" twice: use unique names` })
    } else {
      plans.push({ name, usagePlanId })
    }
  }
  return plans
})

const region = z
  .string('is required: it must be an AWS Region, for example eu-west-1')
  .regex(/^[a-z]{2,}(-[a-z]+)+-\d+$/, 'must be an AWS Region, for example eu-west-1')

const TRUSTED_PROXIES =
  'must be the number of proxies from 1 to 99, for example 1, or their addresses, for example 10.0.0.0/8,127.0.0.1, or ' +
  '0 to trust none'

/** The widest ranges of proxies, in bits: no network of one operator has more public addresses. */
const LEAST_BITS = { ipv4: 8, ipv6: 16 }

/** Reports whether a range has addresses of so many networks that callers could be in it. */
function isTooWide({ address, bits, family }: AddressRange): boolean {
  // Private networks of IPv6 (RFC 4193) and link-local addresses (RFC 4291) may be trusted as a whole.
  const isPrivate = (bits >= 7 && /^f[cd]/.test(address)) || (bits >= 10 && /^fe[89ab]/.test(address))
  return bits < LEAST_BITS[family] && !isPrivate
}

/** The headers in which proxies report the address of a client. */
export const forwardingHeaders = ['x-forwarded-for', 'forwarded'] as const

const trustProxy = z.string().transform((text, context): false | number | string[] => {
  if (text === '' || text === 'false' || text === '0') return false
  if (/^[1-9]\d?$/.test(text)) return Number(text)
  const addresses = text.split(',').map((address) => address.trim())
  for (const address of addresses) {
    const range = parseRange(address)
    if (range === undefined) {
      context.addIssue({
        code: 'custom',
        message: `contains ${showValue('TRUST_PROXY', address)}: it ${TRUSTED_PROXIES}`,
      })
    } else if (isTooWide(range)) {
      context.addIssue({
        code: 'custom',
        message:
          `contains ${address}, so that callers could choose their addresses (the widest range is /${LEAST_BITS.ipv4}, of ` +
          `IPv6 /${LEAST_BITS.ipv6}): it ${TRUSTED_PROXIES}`,
      })
    }
  }
  return addresses
})

/** An origin as browsers send it (RFC 6454), in any case and also with the default port of its scheme. */
const ORIGIN = /^https?:\/\/[^/?#\\@*\s]+$/i

const corsOrigins = z.string().transform((text, context): string[] =>
  text.split(',').flatMap((part) => {
    const entry = part.trim()
    const url = ORIGIN.test(entry) ? URL.parse(entry) : null
    if (url !== null) return [url.origin]
    context.addIssue({
      code: 'custom',
      message:
        `contains ${showValue('CORS_ORIGINS', entry)}, which must be the exact origin of a web page, without a wildcard or a path: ` +
        'for example https://app.example.com,http://localhost:5173',
    })
    return []
  }),
)

const variableRules = {
  HOST: z.string().default('127.0.0.1'),
  PORT: integer(0, 65_535, 3000),
  METRICS_PORT: wholeNumber(0, 65_535, 9464).optional(),
  METRICS_HOST: z.string().optional(),
  LOG_LEVEL: z.enum(logLevels, `must be one of ${logLevels.join(', ')}`).default('info'),
  PUBLIC_URL: httpUrl('https://keys.example.com').superRefine(refuseOwnPath).optional(),
  GATEWAY_STAGE: z
    .string()
    .regex(/^[\w-]{1,128}$/, 'must be the name of a stage, for example prod; leave it out for $default')
    .refine(
      (stage) => !ownPaths.includes(stage),
      'must not be a path of firstkey: call the stage prod, for example',
    )
    .optional(),
  TRUST_PROXY: trustProxy.default(false),
  TRUST_PROXY_HEADER: z
    .string()
    .toLowerCase()
    .pipe(
      z.enum(forwardingHeaders, 'must be X-Forwarded-For or Forwarded, whichever the trusted proxies write'),
    )
    .optional(),
  CORS_ORIGINS: corsOrigins.default([]),
  AWS_REGION: region,
  AWS_ENDPOINT_URL: httpUrl('http://localhost:4000').optional(),
  AWS_ENDPOINT_URL_API_GATEWAY: httpUrl('http://localhost:4000').optional(),
  AWS_ENDPOINT_URL_DYNAMODB: httpUrl('http://localhost:8000').optional(),
  USAGE_PLAN_ID: z.string().regex(PLAN_ID, 'must be a usage plan id, for example abc123').optional(),
  USAGE_PLANS: usagePlans.optional(),
  POOL: poolVariable.optional(),
  POOL_SETTLE: durationVariable('s', '0s', '1h', '120s'),
  POOL_MAX_AGE: durationVariable('h', '1s', '1y', '24h'),
  STORE: storeVariable.prefault('sqlite:./data/firstkey.db'),
  API_BASE_URL: httpUrl('https://api.example.com/v1'),
  API_PROBE_PATH: z
    .string()
    .regex(/^\/[^\s#\\]*$/, 'must be a path below API_BASE_URL that starts with a slash, for example /status')
    .optional(),
  TRUST_FILE: z.string().optional(),
  RATE_LIMIT_PER_IP: integer(0, 1_000_000, 300),
  REGISTER_TIMEOUT_MS: integer(1_000, 29_000, 25_000),
  MINT_MODE: z.enum(mintModes, `must be one of ${mintModes.join(', ')}`).default('auto'),
  MINT_BATCH_MAX: integer(2, 10_000, 2_500),
  QUEUE_MAX: integer(1, 100_000, 15_000),
  AWS_CALLS_PER_SECOND: integer(0, 1_000, 10),
  // API Gateway returns the usage of 90 days.
  IN_DOUBT_HOURS: integer(1, 89 * 24, 24),
  AUDIT_RETENTION_DAYS: integer(1, 36_500, 400),
} satisfies Record<VariableName, z.ZodType>
const variables = z.object(variableRules)

interface PlanVariables {
  readonly POOL?: unknown
  readonly USAGE_PLAN_ID?: unknown
  readonly USAGE_PLANS?: unknown
}

const hasOnePlanVariable = (env: PlanVariables) =>
  env.USAGE_PLAN_ID === undefined || env.USAGE_PLANS === undefined

const BOTH_PLAN_VARIABLES = {
  when: () => true,
  path: ['USAGE_PLAN_ID'],
  error: 'must not be set together with USAGE_PLANS: unset one of the two',
}

/** Returns the plans that the variables name, the default first. */
function plansOf(env: { USAGE_PLANS?: Plan[] | undefined; USAGE_PLAN_ID?: string | undefined }): Plan[] {
  const { USAGE_PLANS, USAGE_PLAN_ID } = env
  return USAGE_PLANS ?? (USAGE_PLAN_ID === undefined ? [] : [{ name: ONLY_PLAN, usagePlanId: USAGE_PLAN_ID }])
}

const environment = variables
  // `when`: reports this fault together with those of single variables, instead of only once they are corrected.
  .refine((env) => env.USAGE_PLAN_ID !== undefined || env.USAGE_PLANS !== undefined, {
    when: () => true,
    path: ['USAGE_PLAN_ID'],
    error: 'is required: it must be a usage plan id, for example abc123, or set USAGE_PLANS for several',
  })
  .refine(hasOnePlanVariable, BOTH_PLAN_VARIABLES)
  .refine((env) => !isReserved(env.API_PROBE_PATH, env.API_BASE_URL), {
    when: () => true,
    path: ['API_PROBE_PATH'],
    error:
      'must not be /ping or /sping, which API Gateway answers itself: use another path, for example /status',
  })
  .superRefine((env, context) => {
    const plans = plansOf(env).map(({ name }) => name)
    for (const plan of [...(env.POOL?.keys() ?? [])].filter((name) => !plans.includes(name)))
      context.addIssue({
        code: 'custom',
        path: ['POOL'],
        message: `names the plan ${showValue('POOL', plan)}, which is not on offer: the plans are ${plans.join(', ')}`,
      })
  })
  .refine((env) => env.API_PROBE_PATH !== undefined || env.POOL_MAX_AGE > env.POOL_SETTLE, {
    path: ['POOL_MAX_AGE'],
    error: 'must be longer than POOL_SETTLE, or no key of the pool would ever be ready: for example 24h',
  })
  .refine((env) => env.TRUST_PROXY_HEADER === undefined || env.TRUST_PROXY !== false, {
    when: () => true,
    path: ['TRUST_PROXY_HEADER'],
    error: 'has no effect without TRUST_PROXY: set that, or unset this',
  })
  .refine((env) => env.METRICS_HOST === undefined || env.METRICS_PORT !== undefined, {
    when: () => true,
    path: ['METRICS_HOST'],
    error: 'has no effect without METRICS_PORT: set that, or unset this',
  })
  .refine(
    (env) => env.METRICS_PORT === undefined || env.METRICS_PORT === 0 || env.METRICS_PORT !== env.PORT,
    {
      when: () => true,
      path: ['METRICS_PORT'],
      error: 'must be another port than PORT: metrics are not for callers',
    },
  )
  .transform((env): Omit<Config, 'proxies' | 'environment' | 'store'> & { store: LocatedStore } => {
    const [first, ...others] = plansOf(env)
    return {
      host: env.HOST,
      port: env.PORT,
      metrics:
        env.METRICS_PORT === undefined
          ? null
          : { host: env.METRICS_HOST ?? '127.0.0.1', port: env.METRICS_PORT },
      logLevel: env.LOG_LEVEL,
      publicUrl: publicUrlOf(env.PUBLIC_URL, env.PORT),
      gatewayStage: env.GATEWAY_STAGE ?? null,
      trustProxy: env.TRUST_PROXY,
      trustProxyHeader: env.TRUST_PROXY_HEADER,
      corsOrigins: env.CORS_ORIGINS,
      region: env.AWS_REGION,
      apiGatewayEndpoint: env.AWS_ENDPOINT_URL_API_GATEWAY ?? env.AWS_ENDPOINT_URL,
      plans: [first ?? { name: ONLY_PLAN, usagePlanId: '' }, ...others],
      // Without the plans of 0 keys: `POOL=gold:0` is no pool.
      pool: new Map([...(env.POOL ?? [])].filter(([, size]) => size > 0)),
      poolSettleMs: env.POOL_SETTLE,
      poolMaxAgeMs: env.POOL_MAX_AGE,
      store: locate(env.STORE, env.AWS_REGION, env.AWS_ENDPOINT_URL_DYNAMODB ?? env.AWS_ENDPOINT_URL),
      apiBaseUrl: env.API_BASE_URL,
      apiProbeUrl:
        env.API_PROBE_PATH === undefined ? null : env.API_BASE_URL.replace(/\/+$/, '') + env.API_PROBE_PATH,
      trustFile: env.TRUST_FILE ?? null,
      rateLimitPerIp: env.RATE_LIMIT_PER_IP,
      registerTimeoutMs: env.REGISTER_TIMEOUT_MS,
      mintMode: env.MINT_MODE,
      mintBatchMax: env.MINT_BATCH_MAX,
      queueMax: env.QUEUE_MAX,
      callsPerSecond: env.AWS_CALLS_PER_SECOND,
      inDoubtMs: env.IN_DOUBT_HOURS * HOUR_MS,
      auditRetentionMs: env.AUDIT_RETENTION_DAYS * DAY_MS,
    }
  })

const gatewayEnvironment = variables
  .pick({
    ...{ AWS_REGION: true, AWS_ENDPOINT_URL: true, AWS_ENDPOINT_URL_API_GATEWAY: true },
    ...{ USAGE_PLAN_ID: true, USAGE_PLANS: true, API_PROBE_PATH: true, AWS_CALLS_PER_SECOND: true },
  })
  .extend({ API_BASE_URL: variableRules.API_BASE_URL.optional() })
  .refine(hasOnePlanVariable, BOTH_PLAN_VARIABLES)

/** Without repeated slashes, which requests lose, too, and none at its end. */
function publicUrlOf(url: string | undefined, port: number): string {
  return (url ?? `http://localhost:${port}`).replace(/(?<!:)\/+(?=\/|$)/g, '')
}

/** The paths at the root of an API with a custom domain that never reach it. */
export const RESERVED_PATHS = ['/ping', '/sping']

function isReserved(path: string | undefined, baseUrl: string | undefined): boolean {
  if (path === undefined) return false
  const paths = [`http://api${path}`, `${(baseUrl ?? '').replace(/\/+$/, '')}${path}`]
  return paths.some((url) =>
    RESERVED_PATHS.includes(URL.parse(url)?.pathname.replaceAll(/\/+/g, '/').replace(/\/$/, '') ?? ''),
  )
}

/** The only part of the configuration that many of the operator's commands need: the location of the store. */
const storeEnvironment = variables
  .pick({ STORE: true, AWS_ENDPOINT_URL: true, AWS_ENDPOINT_URL_DYNAMODB: true })
  .extend({ AWS_REGION: region.optional() })
  .refine((env) => env.STORE.kind === 'sqlite' || env.AWS_REGION !== undefined, {
    path: ['AWS_REGION'],
    error: 'is required: it must be an AWS Region, for example eu-west-1',
  })
  .transform((env) =>
    locate(env.STORE, env.AWS_REGION ?? '', env.AWS_ENDPOINT_URL_DYNAMODB ?? env.AWS_ENDPOINT_URL),
  )

type LocatedStore = ReturnType<typeof locate>

function locate(named: NamedStore, region: string, endpoint: string | undefined) {
  return named.kind === 'sqlite' ? named : { ...named, region, endpoint }
}

function withProxies(store: LocatedStore, proxies: ProxyVariables): StoreLocation {
  return store.kind === 'sqlite' ? store : { ...store, proxies }
}

/**
 * Reads the configuration from environment variables. An empty variable counts as not set, and white space at the ends of
 * a value as absent.
 * @throws ConfigError that lists every fault
 */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  const { store, ...config } = parse(environment, env, faultsOfAws)
  const proxies = readProxies(env)
  const others = Object.entries(trimmed(env)).filter(([name]) => !Object.hasOwn(variableRules, name))
  const found = { proxies, environment: Object.fromEntries(others) }
  return Object.freeze({ ...config, ...found, store: withProxies(store, proxies) })
}

/** The faults of the variables for calls to AWS that the SDK and the HTTP client read themselves. */
const faultsOfAws = (env: NodeJS.ProcessEnv) => [...credentialFaults(env), ...proxyFaults(env)]

/** Reads only `STORE` and its related variables, for commands that need nothing else. @throws ConfigError */
export function readStoreLocation(env: NodeJS.ProcessEnv): StoreLocation {
  const onDynamoDb = env['STORE']?.trim().startsWith('dynamodb:') ?? false
  const store = parse(storeEnvironment, env, onDynamoDb ? faultsOfAws : undefined)
  return withProxies(store, readProxies(env))
}

/**
 * Reads only the names of the plans, the default first, for commands that need no more of the configuration.
 * @returns `undefined`: neither `USAGE_PLANS` nor `USAGE_PLAN_ID` is set
 * @throws ConfigError
 */
export function readPlanNames(env: NodeJS.ProcessEnv): string[] | undefined {
  const { USAGE_PLANS, USAGE_PLAN_ID } = parse(
    variables.pick({ USAGE_PLANS: true, USAGE_PLAN_ID: true }),
    env,
  )
  const plans = plansOf({ USAGE_PLANS, USAGE_PLAN_ID }).map(({ name }) => name)
  return plans.length === 0 ? undefined : plans
}

/** The part of the configuration that says which API the keys open, for commands that look at it or change it. */
export interface GatewayConfig
  extends Pick<Config, 'region' | 'apiGatewayEndpoint' | 'proxies' | 'callsPerSecond'> {
  /** Empty: neither `USAGE_PLANS` nor `USAGE_PLAN_ID` is set. */
  readonly plans: readonly Plan[]
  readonly apiBaseUrl: string | null
  /** As it stands, also one that the server refuses. */
  readonly apiProbePath: string | null
}

/** Reads only what concerns API Gateway, for commands that need no store. @throws ConfigError that lists every fault */
export function readGatewayConfig(env: NodeJS.ProcessEnv): GatewayConfig {
  const found = parse(gatewayEnvironment, env, faultsOfAws)
  return {
    region: found.AWS_REGION,
    apiGatewayEndpoint: found.AWS_ENDPOINT_URL_API_GATEWAY ?? found.AWS_ENDPOINT_URL,
    proxies: readProxies(env),
    callsPerSecond: found.AWS_CALLS_PER_SECOND,
    plans: plansOf(found),
    apiBaseUrl: found.API_BASE_URL ?? null,
    apiProbePath: found.API_PROBE_PATH ?? null,
  }
}

/** The part of the configuration that the trust file depends on. */
export interface TrustSettings {
  readonly trustFile: string | null
  readonly publicUrl: string
  readonly isPublicUrlSet: boolean
  /** The names of the plans; `null`: neither `USAGE_PLANS` nor `USAGE_PLAN_ID` is set. */
  readonly plans: readonly string[] | null
  readonly proxies: ProxyVariables
  readonly variable: (name: string) => string | undefined
}

/** Reads only what the trust file depends on, for commands that need no more of the configuration. @throws ConfigError */
export function readTrustSettings(env: NodeJS.ProcessEnv): TrustSettings {
  const { TRUST_FILE, PUBLIC_URL, PORT } = parse(
    variables.pick({ TRUST_FILE: true, PUBLIC_URL: true, PORT: true }),
    env,
    proxyFaults,
  )
  return {
    trustFile: TRUST_FILE ?? null,
    publicUrl: publicUrlOf(PUBLIC_URL, PORT),
    isPublicUrlSet: PUBLIC_URL !== undefined,
    plans: readPlanNames(env) ?? null,
    proxies: readProxies(env),
    variable: (name) => env[name],
  }
}

/** Reads only `IN_DOUBT_HOURS`, for commands that need no more of the configuration. @returns milliseconds @throws ConfigError */
export function readInDoubtMs(env: NodeJS.ProcessEnv): number {
  return parse(variables.pick({ IN_DOUBT_HOURS: true }), env).IN_DOUBT_HOURS * HOUR_MS
}

/** @param moreFaults lists further faults of variables, as they stand, each with the name of its variable */
function parse<T>(
  schema: z.ZodType<T>,
  env: NodeJS.ProcessEnv,
  moreFaults: (env: NodeJS.ProcessEnv) => string[] = () => [],
): T {
  const { data, error } = schema.safeParse(trimmed(env))
  const issues = error?.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`) ?? []
  const faults = [...new Set([...issues, ...moreFaults(env)])]
  if (data !== undefined && faults.length === 0) return data
  const lines = faults.map((fault) => `  ${escapeInvisible(fault)}${shownValue(fault, env)}`)
  throw new ConfigError(`the configuration is not valid:\n${lines.join('\n')}`)
}

/** Returns the variables that are set. Files of variables leave spaces, and those of Windows a carriage return, at the end of values. */
function trimmed(env: NodeJS.ProcessEnv): Record<string, string> {
  const all = Object.entries(env).map(([name, value = '']) => [name, value.trim()] as const)
  return Object.fromEntries(all.filter(([, value]) => value !== ''))
}

/** Returns the value of the variable whose name is the first word of a fault, as it stands; '' if it is not set. */
function shownValue(fault: string, env: NodeJS.ProcessEnv): string {
  const [name = ''] = fault.split(' ', 1)
  return env[name] ? ` (the value is ${showValue(name, env[name])})` : ''
}
