import type { PolicyDocument } from './iam-policy.ts'
import type { OperationName } from './operation-names.ts'
import type { RestApiSeed } from './rest-api.ts'

export interface ThrottleSettings {
  rateLimit?: number | undefined
  burstLimit?: number | undefined
}

/** A stage that a usage plan covers. */
export interface ApiStage {
  readonly apiId: string
  readonly stage: string
  /** The limits of single methods, by `/path/METHOD`. */
  throttle?: Record<string, ThrottleSettings>
}

/** A usage plan, with API Gateway's fields. */
export interface UsagePlan {
  readonly id: string
  name: string
  description?: string
  tags?: Record<string, string>
  apiStages: ApiStage[]
  throttle?: ThrottleSettings
  quota?: {
    limit?: number | undefined
    offset?: number | undefined
    period?: 'DAY' | 'WEEK' | 'MONTH' | undefined
  }
  /** Set by AWS Marketplace: the plan is sold as a SaaS product. */
  productCode?: string
}

export interface GatewayOptions {
  readonly region: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** The REST APIs at the start, deployed. */
  readonly restApis: readonly RestApiSeed[]
  /** The HTTP APIs, which the operations for REST APIs do not know. */
  readonly httpApis: readonly { readonly apiId: string; readonly name: string }[]
  /** The usage plans at the start. */
  readonly plans: readonly UsagePlan[]
  /** The permissions of the credentials; `null`: everything. */
  readonly policy: PolicyDocument | null
  /** Enforces the published quotas of the control plane. */
  readonly quotas: boolean
  /** Rejects an attach or import while another one is in progress, as API Gateway does. */
  readonly oneAttachAtATime: boolean
  /** The milliseconds that each operation takes; 0 if not given. */
  readonly latency: Readonly<Partial<Record<OperationName, number>>>
  /** The additional milliseconds that an import takes for each key. */
  readonly importPerKeyMs: number
  /** The fraction by which latencies vary: 0.3 is ±30 %. */
  readonly latencyJitter: number
  /** The account's API key quota. */
  readonly maxKeys: number
  /** The account's time in milliseconds since the epoch: the `Date` of every response. */
  readonly clock: () => number
  /**
   * The error of an import for which the quota has no room: a `LimitExceededException`, or that of an import with faulty rows.
   * It is unknown which one API Gateway returns.
   */
  readonly importOverQuota: 'limit' | 'rows'
  /** The milliseconds until the data plane accepts a new key. */
  readonly propagationMs: number
  /**
   * The milliseconds after {@link propagationMs} in which some requests with a new key are accepted and others refused: a share
   * of them that grows from none to all, as more and more hosts of the data plane know the key.
   */
  readonly flickerMs: number
  /** The milliseconds for which the data plane still accepts a deleted key, and the lists show it. */
  readonly deletedMs: number
}

/** The defaults. The credentials are the examples of AWS's documentation, so that no scanner reports them as a leak. */
export const defaultGatewayOptions: GatewayOptions = {
  region: 'eu-west-1',
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
  restApis: [
    {
      id: 'demo',
      name: 'demo',
      stages: ['prod'],
      methods: [
        { path: '/hello', httpMethod: 'ANY', apiKeyRequired: true },
        { path: '/hello/{proxy+}', httpMethod: 'ANY', apiKeyRequired: true },
      ],
    },
  ],
  httpApis: [],
  plans: [
    {
      id: 'demofree',
      name: 'free',
      apiStages: [{ apiId: 'demo', stage: 'prod' }],
      throttle: { rateLimit: 5, burstLimit: 10 },
      quota: { limit: 1_000, period: 'DAY' },
    },
    { id: 'demogold', name: 'gold', apiStages: [{ apiId: 'demo', stage: 'prod' }] },
  ],
  policy: null,
  quotas: false,
  oneAttachAtATime: true,
  latency: {},
  importPerKeyMs: 0,
  latencyJitter: 0,
  maxKeys: 10_000,
  clock: Date.now,
  importOverQuota: 'limit',
  propagationMs: 0,
  flickerMs: 0,
  deletedMs: 0,
}

/**
 * Latencies of API Gateway's operations in milliseconds, for `latency`. All are assumptions: nothing is published, and
 * `firstkey smoke` measures a real account.
 */
export const assumedLatency = {
  CreateApiKey: 110,
  CreateUsagePlanKey: 160,
  ImportApiKeys: 220,
  DeleteApiKey: 110,
  GetApiKeys: 90,
  GetApiKey: 90,
  GetUsagePlan: 90,
  GetUsagePlans: 90,
  GetUsagePlanKey: 90,
  GetUsagePlanKeys: 90,
  GetUsage: 90,
} satisfies GatewayOptions['latency']

/** The same assumptions as options: the latencies, how far each may be from its mean, and the time for each key of an import. */
export const assumptions = {
  latency: assumedLatency,
  latencyJitter: 0.3,
  importPerKeyMs: 0.5,
} satisfies Partial<GatewayOptions>
