import { ApiError, badRequest, conflict, notFound } from './api-error.ts'
import { DomainNames } from './domain-names.ts'
import type { ApiStage, GatewayOptions, UsagePlan } from './options.ts'
import { randomId, randomText } from './random-id.ts'
import type { RestApi } from './rest-api.ts'
import { RestApis } from './rest-apis.ts'

export interface ApiKey {
  readonly id: string
  /** 1 for the first key that the account created. */
  readonly serial: number
  readonly value: string
  /** Only {@link Account.rename} changes it. */
  readonly name: string
  description: string | undefined
  customerId: string | undefined
  enabled: boolean
  readonly createdAt: number
  updatedAt: number
  tags: Record<string, string>
  /** The usage plans that the key is attached to. */
  readonly planIds: Set<string>
}

/** The place of something in the order of creation, and its time in milliseconds since the epoch. */
export interface Creation {
  readonly serial: number
  readonly createdAt: number
}

export interface NewKey {
  readonly name?: string | undefined
  readonly description?: string | undefined
  readonly customerId?: string | undefined
  readonly enabled?: boolean | undefined
  readonly value?: string | undefined
  readonly tags?: Record<string, string> | undefined
}

/**
 * Names are indexed by these numbers of leading characters, so that a search by prefix scans few keys: of firstkey's names, 12
 * tell stores apart, and 20 the groups of keys that are looked for together.
 */
const INDEXED_LENGTHS = [20, 12]

/** The answer of GetAccount. */
export interface AccountSettings {
  cloudwatchRoleArn?: string
  throttleSettings: { burstLimit: number; rateLimit: number }
  /** Without `UsagePlans`, the account is an old one for which usage plans are not enabled. */
  features: string[]
  apiKeyVersion: string
}

/** The APIs, keys and usage plans of an account in one Region, with API Gateway's rules. Kept in memory only. */
export class Account {
  readonly keys = new Map<string, ApiKey>()
  readonly plans = new Map<string, UsagePlan>()
  readonly restApis: RestApis
  readonly domains: DomainNames
  readonly settings: AccountSettings = {
    throttleSettings: { burstLimit: 5_000, rateLimit: 10_000 },
    features: ['UsagePlans'],
    apiKeyVersion: '4',
  }
  readonly #byValue = new Map<string, ApiKey>()
  readonly #byNameStart = new Map<string, Set<ApiKey>>()
  readonly #maxKeys: number
  readonly #planCreations = new WeakMap<UsagePlan, Creation>()
  #plansCreated = 0
  #created = 0

  /** The keys that were deleted, oldest first, with the time until which they are not forgotten. */
  readonly #deleted = new Map<ApiKey, number>()
  readonly #deletedMs: number

  constructor({
    restApis,
    plans,
    maxKeys,
    deletedMs,
  }: Pick<GatewayOptions, 'restApis' | 'plans' | 'maxKeys' | 'deletedMs'>) {
    this.restApis = new RestApis(restApis)
    this.domains = new DomainNames(this.restApis)
    for (const plan of plans) this.#addPlan(structuredClone(plan))
    this.#maxKeys = maxKeys
    this.#deletedMs = deletedMs
  }

  createKey(order: NewKey): ApiKey {
    const value = order.value || randomText(40)
    if (value.length < 20) throw badRequest('API Key value should be at least 20 characters')
    if (value.length > 128) throw badRequest('API Key value exceeds maximum size of 128 characters')
    // Documented; whether API Gateway refuses other characters is unknown.
    if (!/^[A-Za-z0-9]+$/.test(value)) throw badRequest('API Key value must be alphanumeric')
    if (order.name !== undefined && order.name.length > 1_024) {
      throw badRequest('Invalid API Key name, can be at most 1024 characters.')
    }
    if (this.#byValue.has(value)) throw conflict('API Key already exists')
    if (this.keys.size >= this.#maxKeys) {
      throw new ApiError(
        429,
        'LimitExceededException',
        'Maximum number of API keys for this account exceeded',
      )
    }
    const now = Date.now()
    const key: ApiKey = {
      id: randomId(10),
      serial: ++this.#created,
      value,
      name: order.name ?? '',
      description: order.description,
      customerId: order.customerId,
      enabled: order.enabled ?? false,
      createdAt: now,
      updatedAt: now,
      tags: order.tags ?? {},
      planIds: new Set(),
    }
    this.keys.set(key.id, key)
    this.#byValue.set(value, key)
    this.#indexName(key)
    return key
  }

  key(id: string): ApiKey {
    const key = this.keys.get(id)
    if (key === undefined) throw notFound('Invalid API Key identifier specified')
    return key
  }

  keyByValue(value: string): ApiKey | undefined {
    return this.#byValue.get(value)
  }

  deleteKey(id: string): void {
    const key = this.key(id)
    this.#forgetName(key)
    this.#byValue.delete(key.value)
    this.keys.delete(id)
    if (this.#deletedMs > 0) this.#deleted.set(key, Date.now() + this.#deletedMs)
  }

  /** Returns the deleted keys that lists still show, and that the data plane still accepts. */
  deletedKeys(): ApiKey[] {
    for (const [key, until] of this.#deleted) if (until <= Date.now()) this.#deleted.delete(key)
    return [...this.#deleted.keys()]
  }

  rename(key: ApiKey, name: string): void {
    if (key.name === name) return
    this.#forgetName(key)
    Object.assign(key, { name })
    this.#indexName(key)
  }

  /** Returns the keys whose name starts with `prefix`, oldest first; then the deleted ones that are not forgotten. */
  keysNamed(prefix: string): ApiKey[] {
    const length = INDEXED_LENGTHS.find((one) => one <= prefix.length)
    const candidates =
      length === undefined ? this.keys.values() : (this.#byNameStart.get(prefix.slice(0, length)) ?? [])
    return [...candidates, ...this.deletedKeys()].filter((key) => key.name.startsWith(prefix))
  }

  #indexName(key: ApiKey): void {
    for (const length of INDEXED_LENGTHS) {
      const start = key.name.slice(0, length)
      const keys = this.#byNameStart.get(start) ?? new Set()
      this.#byNameStart.set(start, keys.add(key))
    }
  }

  #forgetName(key: ApiKey): void {
    for (const length of INDEXED_LENGTHS) {
      const start = key.name.slice(0, length)
      const keys = this.#byNameStart.get(start)
      keys?.delete(key)
      if (keys?.size === 0) this.#byNameStart.delete(start)
    }
  }

  plan(id: string): UsagePlan {
    const plan = this.plans.get(id)
    if (plan === undefined) throw notFound('Invalid Usage Plan ID specified')
    return plan
  }

  createPlan(order: Omit<UsagePlan, 'id'>): UsagePlan {
    const plan: UsagePlan = { id: randomId(6), ...order }
    return this.#addPlan(plan)
  }

  #addPlan(plan: UsagePlan): UsagePlan {
    this.plans.set(plan.id, plan)
    this.#planCreations.set(plan, { serial: ++this.#plansCreated, createdAt: Date.now() })
    return plan
  }

  creationOf(plan: UsagePlan): Creation {
    return this.#planCreations.get(plan) ?? { serial: 0, createdAt: 0 }
  }

  /** Deletes a plan, which takes its keys off it. Like API Gateway, refuses a plan that still covers API stages. */
  deletePlan(id: string): void {
    const [first] = this.plan(id).apiStages
    if (first !== undefined)
      throw badRequest(
        `Cannot delete Usage Plan ${id} because there are API Stages associated with it, including ${first.apiId}:${first.stage}`,
      )
    for (const key of this.keys.values()) key.planIds.delete(id)
    this.plans.delete(id)
  }

  /** Returns the plans that a key is on; without a key, all plans. */
  plansOf(keyId: string | undefined): UsagePlan[] {
    const plans = [...this.plans.values()]
    if (keyId === undefined) return plans
    const { planIds } = this.key(keyId)
    return plans.filter(({ id }) => planIds.has(id))
  }

  attach(planId: string, keyId: string): ApiKey {
    const plan = this.plan(planId)
    const key = this.key(keyId)
    if (key.planIds.has(planId)) throw conflict(`API Key ${keyId} is already on usage plan ${planId}`)
    for (const otherId of key.planIds)
      for (const stage of plan.apiStages)
        if (covers(this.plan(otherId), stage)) throw sharedStage(keyId, stage)
    key.planIds.add(planId)
    return key
  }

  /** @throws ApiError 409 if a key of the plan is on another plan that covers the stage already */
  requireNoSharedStage(plan: UsagePlan, stage: ApiStage): void {
    const others = [...this.plans.values()].filter((other) => other.id !== plan.id && covers(other, stage))
    for (const key of this.keysOn(plan.id))
      if (others.some(({ id }) => key.planIds.has(id))) throw sharedStage(key.id, stage)
  }

  /** @throws ApiError 400 if the stage is not named (aws-sdk#354); 404 if there is none (serverless#2831) */
  requireStage({ apiId, stage }: ApiStage): void {
    if (apiId === '' || stage === '')
      throw badRequest('Invalid API Stage {api: %s, stage: %s} specified for usageplan %s')
    if (this.restApis.all.get(apiId)?.stages.has(stage) !== true)
      throw notFound(`API Stage not found: ${apiId}:${stage}`)
  }

  /**
   * Deletes a stage. The plans that covered it lose it, also if one of that name is made again (terraform-provider-aws#14100).
   * @throws ApiError 400 while a custom domain is mapped to it
   */
  deleteStage(api: RestApi, stage: string): void {
    this.domains.requireUnmapped(
      `stage ${stage}`,
      (mapping) => mapping.restApiId === api.id && mapping.stage === stage,
    )
    api.stages.delete(stage)
    for (const plan of this.plans.values())
      plan.apiStages = plan.apiStages.filter((own) => own.apiId !== api.id || own.stage !== stage)
  }

  /** Deletes an API with its stages. @throws ApiError 400 while a custom domain is mapped to it (Zappa#264) */
  deleteRestApi(id: string): void {
    const api = this.restApis.get(id)
    this.domains.requireUnmapped(`RestApi ${id}`, ({ restApiId }) => restApiId === id)
    for (const stage of [...api.stages.keys()]) this.deleteStage(api, stage)
    this.restApis.all.delete(id)
  }

  detach(planId: string, keyId: string): void {
    if (!this.key(keyId).planIds.delete(planId)) throw notFound('Invalid API Key identifier specified')
  }

  keysOn(planId: string, namePrefix = ''): ApiKey[] {
    return this.keysNamed(namePrefix).filter((key) => key.planIds.has(planId))
  }
}

const covers = (plan: UsagePlan, stage: ApiStage) =>
  plan.apiStages.some((own) => own.apiId === stage.apiId && own.stage === stage.stage)

const sharedStage = (keyId: string, { apiId, stage }: ApiStage) =>
  conflict(
    `API Key ${keyId} cannot reference multiple Usage Plans with the same API Stage: ${apiId}:${stage}`,
  )
