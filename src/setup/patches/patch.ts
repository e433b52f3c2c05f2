import type { EditedMethod, RestApi } from '../../aws/rest-apis.ts'
import type { MethodLimit, PlanLimits, UsagePlan } from '../../aws/usage-plans.ts'
import { methodKey } from '../changes.ts'
import type { Desired, DesiredPlan } from '../desired.ts'
import { isSame, type MethodName } from '../options.ts'
import { inComment } from './literals.ts'

/** The state that `firstkey setup` leads to, as the tools that own APIs describe it. */
export interface ApiPatch {
  readonly api: {
    readonly id: string
    readonly name: string
    /** Its name in the template of the stack that owns it; `null`: no stack does. */
    readonly logicalId: string | null
    /** `true` if it reads the key from the header `x-api-key` already. */
    readonly readsHeader: boolean
  }
  readonly stage: string
  readonly plans: readonly PlanPatch[]
  /** The methods that require a key. */
  readonly methods: readonly EditedMethod[]
  /** `true` if `methods` are all of the API but OPTIONS. */
  readonly isWholeApi: boolean
}

/** A usage plan with all of its settings: the tools reset what their documents leave out. */
export interface PlanPatch {
  /** Its name in AWS. */
  readonly name: string
  /** `null`: it does not exist yet. */
  readonly usagePlanId: string | null
  /** Its name in the template of the stack that owns it; `null`: no stack does. */
  readonly logicalId: string | null
  readonly limits: PlanLimits
  readonly productCode: string | null
  /** Without those of AWS itself. */
  readonly tags: Readonly<Record<string, string>>
  readonly stages: readonly StagePatch[]
}

/** A stage that a usage plan covers, and the limits of its methods. */
export interface StagePatch {
  readonly api: string
  readonly stage: string
  readonly methodLimits: readonly Omit<MethodLimit, 'stage'>[]
}

/** The present state of the API and of all usage plans. */
export interface Present {
  readonly api: Pick<RestApi, 'name' | 'keySource' | 'tags'>
  readonly methods: readonly EditedMethod[]
  readonly plans: readonly UsagePlan[]
}

/** The tag by which CloudFormation, CDK and SAM name what they own. */
const LOGICAL_ID = 'aws:cloudformation:logical-id'
const OF_AWS = 'aws:'

function logicalIdOf(tags: Readonly<Record<string, string>>): string | null {
  const [id] = tags[LOGICAL_ID]?.match(/^[A-Za-z0-9]{1,255}$/) ?? []
  return id ?? null
}

/** Returns the state that is desired, with all that stays of what is there. */
export function toPatch(desired: Desired, { api, methods, plans }: Present): ApiPatch {
  const isClosed = (method: MethodName) => desired.methods.some((one) => isSame(one, method))
  return {
    api: {
      id: desired.api,
      name: api.name,
      logicalId: logicalIdOf(api.tags),
      readsHeader: api.keySource === 'HEADER',
    },
    stage: desired.stage,
    plans: desired.plans.map((plan) => {
      const present = plans.find(({ usagePlanId }) => usagePlanId === plan.usagePlanId)
      return toPlanPatch(plan, desired, present)
    }),
    methods: methods.filter(isClosed),
    isWholeApi:
      desired.methods.length > 0 &&
      methods.every((method) => method.httpMethod === 'OPTIONS' || isClosed(method)),
  }
}

function toPlanPatch(plan: DesiredPlan, desired: Desired, present: UsagePlan | undefined): PlanPatch {
  const { throttle, quota } = plan
  const own = `${desired.api}:${desired.stage}`
  const limits = present?.limits ?? { ratePerSecond: null, burst: null, quota: null }
  const wanted = desired.methodThrottles.map(({ method, rate, burst }) => ({
    method: methodKey(method),
    ratePerSecond: rate,
    burst,
  }))
  const limitsOf = (stage: string) => {
    const there = (present?.methodLimits ?? [])
      .filter((limit) => limit.stage === stage)
      .map(({ stage: _, ...limit }) => limit)
    if (stage !== own) return there
    return [...there.filter(({ method }) => !wanted.some((limit) => limit.method === method)), ...wanted]
  }
  return {
    name: present?.name ?? plan.name,
    usagePlanId: plan.usagePlanId,
    logicalId: logicalIdOf(present?.tags ?? {}),
    limits: {
      ...(throttle === null ? limits : { ratePerSecond: throttle.rate, burst: throttle.burst }),
      quota: quota ?? limits.quota,
    },
    productCode: present?.productCode ?? null,
    tags: Object.fromEntries(Object.entries(present?.tags ?? {}).filter(([key]) => !key.startsWith(OF_AWS))),
    stages: [...new Set([...(present?.stages ?? []), own])].map((covered) => {
      const [api = '', stage = ''] = covered.split(':')
      return { api, stage, methodLimits: limitsOf(covered) }
    }),
  }
}

/** Returns `true` for the stage that is set up. */
export function isSetUp({ api, stage }: ApiPatch, one: StagePatch): boolean {
  return one.api === api.id && one.stage === stage
}

/** Returns the first line of every document. */
export function heading({ api, stage }: ApiPatch): string {
  return `firstkey setup: API keys for the stage ${inComment(stage)} of the API ${inComment(api.name)}, ${api.id}.`
}
