import { isIP } from 'node:net'
import { z } from 'zod'

/** One usage plan as this deployment offers it: the name callers use, the id API Gateway knows. */
export interface Plan {
  readonly name: string
  readonly usagePlanId: string
}

/** Where the store is, as `STORE` names it. `path` is a file or `:memory:`. */
export type StoreLocation =
  | { readonly kind: 'sqlite'; readonly path: string }
  | {
      readonly kind: 'dynamodb'
      readonly table: string
      readonly region: string
      /** Another endpoint for DynamoDB; `undefined`: the Region's own. */
      readonly endpoint: string | undefined
    }

export interface Config {
  readonly host: string
  readonly port: number
  readonly logLevel: LogLevel
  /** The base of every URL in an answer; no slash at the end. */
  readonly publicUrl: string
  /** `false`, a number of hops, or the addresses and CIDRs of trusted proxies. */
  readonly trustProxy: false | number | string[]
  readonly region: string
  /** Another endpoint for API Gateway; `undefined`: the Region's own. */
  readonly apiGatewayEndpoint: string | undefined
  /** At least one; the first is the default. */
  readonly plans: readonly [Plan, ...Plan[]]
  readonly store: StoreLocation
  /** The API that the minted keys open. */
  readonly apiBaseUrl: string
  /** A method of that API which tells whether a key works; `null`: there is none to ask. */
  readonly apiProbeUrl: string | null
  /** Requests a minute from one address; 0: no limit. */
  readonly rateLimitPerIp: number
  readonly registerTimeoutMs: number
  /** How keys are minted: one at a time, by imports, or whichever fits. */
  readonly mintMode: MintMode
  /** The most keys of one import. */
  readonly mintBatchMax: number
  /** How many registrations may wait. */
  readonly queueMax: number
  /** Calls to API Gateway a second; 0: any number. */
  readonly callsPerSecond: number
  /** How long the audit trail is kept, in milliseconds. */
  readonly auditRetentionMs: number
}

/** Thrown when the environment is not a configuration. The message lists every fault, a line each. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

const mintModes = ['auto', 'single', 'bulk'] as const
export type MintMode = (typeof mintModes)[number]

/** What a plan may be called. */
export const PLAN_NAME = /^[a-z0-9][a-z0-9_-]{0,49}$/
const DAY_MS = 86_400_000
const PLAN_ID = /^[A-Za-z0-9]{1,64}$/

function integer(min: number, max: number) {
  const text = `must be a whole number from ${min} to ${max}`
  return z.string().regex(/^\d+$/, text).transform(Number).pipe(z.number().min(min, text).max(max, text))
}

const httpUrl = z
  .url({
    protocol: /^https?$/,
    error: ({ input }) =>
      `${input === undefined ? 'is required: it ' : ''}must be an absolute http:// or https:// URL`,
  })
  .refine((text) => !/[?#]/.test(text), 'must have no query and no fragment')

const usagePlans = z.string().transform((text, context): Plan[] => {
  const plans: Plan[] = []
  for (const entry of text.split(',')) {
    const [name = '', usagePlanId = '', ...rest] = entry.trim().split('=')
    if (!PLAN_NAME.test(name) || !PLAN_ID.test(usagePlanId) || rest.length > 0) {
      context.addIssue({
        code: 'custom',
        message: `"${entry.trim()}" must be name=usagePlanId, as in gold=abc123,free=def456`,
      })
    } else if (plans.some((plan) => plan.name === name)) {
      context.addIssue({ code: 'custom', message: `names the plan "${name}" twice` })
    } else {
      plans.push({ name, usagePlanId })
    }
  }
  return plans
})

/** What a table of DynamoDB may be called. */
const TABLE_NAME = /^[A-Za-z0-9_.-]{3,255}$/

type NamedStore =
  | { readonly kind: 'sqlite'; readonly path: string }
  | { readonly kind: 'dynamodb'; readonly table: string }

const store = z.string().transform((text, context): NamedStore => {
  const [, kind, name = ''] = text.match(/^(sqlite|dynamodb):(.+)$/s) ?? []
  if (kind === 'sqlite') return { kind, path: name }
  if (kind === 'dynamodb' && TABLE_NAME.test(name)) return { kind, table: name }
  context.addIssue({
    code: 'custom',
    message:
      'must be sqlite:PATH, as in sqlite:./data/firstkey.db, or dynamodb:TABLE, as in dynamodb:firstkey',
  })
  return z.NEVER
})

const region = z
  .string('is required: an AWS Region, as in eu-west-1')
  .regex(/^[a-z]{2,}(-[a-z]+)+-\d+$/, 'must be an AWS Region, as in eu-west-1')

const trustProxy = z.string().transform((text, context): false | number | string[] => {
  if (text === '' || text === 'false' || text === '0') return false
  if (/^[1-9]\d?$/.test(text)) return Number(text)
  const addresses = text.split(',').map((address) => address.trim())
  if (!addresses.every(isAddressOrCidr)) {
    context.addIssue({
      code: 'custom',
      message: 'must be a number of proxies, as in 1, or their addresses, as in 10.0.0.0/8,127.0.0.1',
    })
  }
  return addresses
})

function isAddressOrCidr(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const version = isIP(address)
  if (version === 0 || rest.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128))
}

const variables = z.object({
  HOST: z.string().default('127.0.0.1'),
  PORT: integer(0, 65_535).default(3000),
  LOG_LEVEL: z.enum(logLevels, `must be one of ${logLevels.join(', ')}`).default('info'),
  PUBLIC_URL: httpUrl.optional(),
  TRUST_PROXY: trustProxy.default(false),
  AWS_REGION: region,
  AWS_ENDPOINT_URL: httpUrl.optional(),
  AWS_ENDPOINT_URL_API_GATEWAY: httpUrl.optional(),
  AWS_ENDPOINT_URL_DYNAMODB: httpUrl.optional(),
  USAGE_PLAN_ID: z.string().regex(PLAN_ID, 'must be the id of a usage plan: letters and digits').optional(),
  USAGE_PLANS: usagePlans.optional(),
  STORE: store.default({ kind: 'sqlite', path: './data/firstkey.db' }),
  API_BASE_URL: httpUrl,
  API_PROBE_PATH: z
    .string()
    .regex(/^\/[^\s#\\]*$/, 'must be a path below API_BASE_URL, as in /ping')
    .optional(),
  RATE_LIMIT_PER_IP: integer(0, 1_000_000).default(300),
  REGISTER_TIMEOUT_MS: integer(1_000, 29_000).default(25_000),
  MINT_MODE: z.enum(mintModes, `must be one of ${mintModes.join(', ')}`).default('auto'),
  MINT_BATCH_MAX: integer(2, 10_000).default(2_500),
  QUEUE_MAX: integer(1, 100_000).default(15_000),
  AWS_CALLS_PER_SECOND: integer(0, 1_000).default(10),
  AUDIT_RETENTION_DAYS: integer(1, 36_500).default(400),
})

const environment = variables
  // `when`: said together with the faults of single variables, not after they are mended.
  .refine((env) => env.USAGE_PLAN_ID !== undefined || env.USAGE_PLANS !== undefined, {
    when: () => true,
    path: ['USAGE_PLAN_ID'],
    error: 'is required: the id of the usage plan, as in abc123; or USAGE_PLANS for several',
  })
  .refine((env) => env.USAGE_PLAN_ID === undefined || env.USAGE_PLANS === undefined, {
    when: () => true,
    path: ['USAGE_PLAN_ID'],
    error: 'must not be set beside USAGE_PLANS: choose one of the two',
  })
  .transform((env): Config => {
    const [first, ...others] = env.USAGE_PLANS ?? []
    return {
      host: env.HOST,
      port: env.PORT,
      logLevel: env.LOG_LEVEL,
      publicUrl: (env.PUBLIC_URL ?? `http://localhost:${env.PORT}`).replace(/\/+$/, ''),
      trustProxy: env.TRUST_PROXY,
      region: env.AWS_REGION,
      apiGatewayEndpoint: env.AWS_ENDPOINT_URL_API_GATEWAY ?? env.AWS_ENDPOINT_URL,
      plans: [first ?? { name: 'default', usagePlanId: env.USAGE_PLAN_ID ?? '' }, ...others],
      store: locate(env.STORE, env.AWS_REGION, env.AWS_ENDPOINT_URL_DYNAMODB ?? env.AWS_ENDPOINT_URL),
      apiBaseUrl: env.API_BASE_URL,
      apiProbeUrl:
        env.API_PROBE_PATH === undefined ? null : env.API_BASE_URL.replace(/\/+$/, '') + env.API_PROBE_PATH,
      rateLimitPerIp: env.RATE_LIMIT_PER_IP,
      registerTimeoutMs: env.REGISTER_TIMEOUT_MS,
      mintMode: env.MINT_MODE,
      mintBatchMax: env.MINT_BATCH_MAX,
      queueMax: env.QUEUE_MAX,
      callsPerSecond: env.AWS_CALLS_PER_SECOND,
      auditRetentionMs: env.AUDIT_RETENTION_DAYS * DAY_MS,
    }
  })

/** The part of the configuration that many of the operator's commands need: where the store is. */
const storeEnvironment = variables
  .pick({ STORE: true, AWS_ENDPOINT_URL: true, AWS_ENDPOINT_URL_DYNAMODB: true })
  .extend({ AWS_REGION: region.optional() })
  .refine((env) => env.STORE.kind === 'sqlite' || env.AWS_REGION !== undefined, {
    path: ['AWS_REGION'],
    error: 'is required: an AWS Region, as in eu-west-1',
  })
  .transform((env) =>
    locate(env.STORE, env.AWS_REGION ?? '', env.AWS_ENDPOINT_URL_DYNAMODB ?? env.AWS_ENDPOINT_URL),
  )

function locate(named: NamedStore, region: string, endpoint: string | undefined): StoreLocation {
  return named.kind === 'sqlite' ? named : { ...named, region, endpoint }
}

/**
 * Reads the configuration from environment variables. An empty variable counts as not set.
 * @throws ConfigError listing every fault at once
 */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  return Object.freeze(parse(environment, env))
}

/** Reads `STORE`, and what belongs to it, alone: for commands that touch nothing else. @throws ConfigError */
export function readStoreLocation(env: NodeJS.ProcessEnv): StoreLocation {
  return parse(storeEnvironment, env)
}

function parse<T>(schema: z.ZodType<T>, env: NodeJS.ProcessEnv): T {
  const set = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  const result = schema.safeParse(set)
  if (result.success) return result.data
  const faults = result.error.issues.map((issue) => `  ${issue.path.join('.')} ${issue.message}`)
  throw new ConfigError(`the configuration is not valid:\n${faults.join('\n')}`)
}
