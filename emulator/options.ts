/** The operations of API Gateway's control plane that the local gateway has. */
export const operationNames = [
  'CreateApiKey',
  'ImportApiKeys',
  'GetApiKeys',
  'GetApiKey',
  'UpdateApiKey',
  'DeleteApiKey',
  'CreateUsagePlan',
  'GetUsagePlans',
  'GetUsagePlan',
  'UpdateUsagePlan',
  'CreateUsagePlanKey',
  'GetUsagePlanKeys',
  'GetUsagePlanKey',
  'DeleteUsagePlanKey',
  'GetUsage',
] as const

export type OperationName = (typeof operationNames)[number]

/** A usage plan as API Gateway describes one. */
export interface UsagePlan {
  readonly id: string
  name: string
  description?: string
  apiStages: { apiId: string; stage: string }[]
  throttle?: { rateLimit?: number | undefined; burstLimit?: number | undefined }
  quota?: {
    limit?: number | undefined
    offset?: number | undefined
    period?: 'DAY' | 'WEEK' | 'MONTH' | undefined
  }
}

export interface GatewayOptions {
  readonly region: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** The plans it starts with. */
  readonly plans: readonly UsagePlan[]
  /** Enforce the published quotas of the control plane. */
  readonly quotas: boolean
  /** Refuse attaches and imports that run at the same time, as the real one does. */
  readonly oneAttachAtATime: boolean
  /** Milliseconds that an operation takes; those that are not named take none. */
  readonly latency: Readonly<Partial<Record<OperationName, number>>>
  /** Milliseconds that an import takes for each key, on top. */
  readonly importPerKeyMs: number
  /** The share by which latencies vary: 0.3 is ±30 %. */
  readonly latencyJitter: number
  /** How many keys the account may hold. */
  readonly maxKeys: number
  /** Milliseconds until the data plane knows a new key. */
  readonly propagationMs: number
}

/** The credentials of AWS's own documentation: known to everybody, so nobody takes them for a leak. */
export const defaultGatewayOptions: GatewayOptions = {
  region: 'eu-west-1',
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
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
  quotas: false,
  oneAttachAtATime: true,
  latency: {},
  importPerKeyMs: 0,
  latencyJitter: 0,
  maxKeys: 10_000,
  propagationMs: 0,
}

/** How long the real operations take, as far as it has been measured (ms); for `latency`. */
export const realisticLatency: GatewayOptions['latency'] = {
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
}
