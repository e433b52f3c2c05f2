import type { Patch, Write } from '../aws/rest-api-changes.ts'
import type { KeySource, Method, Stage } from '../aws/rest-apis.ts'
import type { UsagePlan } from '../aws/usage-plans.ts'
import {
  type Desired,
  type DesiredPlan,
  type MethodThrottle,
  type Present,
  repeatedPlans,
  type Throttle,
} from './desired.ts'
import { tagsOf } from './made-by-setup.ts'
import { isSame, type MethodName, type Quota, showMethod } from './options.ts'

/** One thing that a change sets. `before` is empty for what is not there yet, `after` for what is taken off. */
export interface Step {
  readonly what: string
  readonly before: string
  readonly after: string
}

/** A change that one call makes. */
export interface Change {
  /** The thing that is changed, as in "usage plan gold (abc123)". The same change has the same title in each plan of it. */
  readonly title: string
  readonly steps: readonly Step[]
  /** Sentences to read before it is made. */
  readonly notes: readonly string[]
  /** `null`: it waits for other changes, and is planned again after them. */
  readonly write: Write | null
}

/** The present state, as far as the changes depend on it. */
export interface Existing extends Present {
  /** `false`: the account is so old that it has no usage plans (GetAccount). */
  readonly hasUsagePlans: boolean
  readonly keySource: KeySource
  /** `null`: there is none yet. */
  readonly stage: Stage | null
  readonly deployed: readonly Method[]
  /** `null`: it is not known. */
  readonly deployedKeySource: KeySource | null
}

/**
 * Plans the changes that lead from what is there to what is desired, in the order in which they are made: plans before
 * methods, so that no caller with a key is refused in between; the deployment last, from a reading of its own, so that it
 * publishes what was planned.
 * @param skeleton the changes that make a new API
 */
export function planChanges(
  desired: Desired,
  existing: Existing,
  skeleton: readonly Change[] = [],
): Change[] {
  const plans = [
    ...(existing.hasUsagePlans ? [] : [enableUsagePlans]),
    ...removeRepeats(desired, existing),
    ...desired.plans.flatMap((plan) => changePlan(plan, desired, existing) ?? []),
  ]
  const keys = [...skeleton, ...requireKeys(desired, existing)]
  const waits = keys.length > 0 || (existing.stage !== null && plans.length > 0)
  // Together with its deployment: no reading shows for certain that it is not deployed.
  const source = changeKeySource(desired, existing).map((one) => (waits ? { ...one, write: null } : one))
  const edits = [...keys, ...source]
  const deployment = deploy(desired, existing, waits)
  // A plan covers only a stage that is there.
  if (existing.stage === null)
    return [...edits, ...deployment, ...plans.map((one) => ({ ...one, write: null }))]
  return [...plans, ...edits, ...deployment]
}

const enableUsagePlans: Change = {
  title: 'usage plans of the account',
  steps: [{ what: 'enabled', before: 'no', after: 'yes' }],
  notes: ['This account is from before usage plans. They cannot be turned off again.'],
  write: {
    operation: 'UpdateAccount',
    input: { patchOperations: [{ op: 'add', path: '/features', value: 'UsagePlans' }] },
  },
}

function removeRepeats({ plans }: Desired, existing: Existing): Change[] {
  return plans.flatMap(({ name, usagePlanId }) => {
    const named = existing.plans.filter((plan) => plan.name === name)
    const repeats = repeatedPlans(named, existing)
    // An operator who names one of them by its id decided otherwise.
    if (repeats.some((plan) => plan.usagePlanId === usagePlanId)) return []
    return repeats.map((plan) =>
      removePlan(plan, 0, [
        'It was made by two runs of this command at once, or by one that was interrupted.',
      ]),
    )
  })
}

/** Deletes a usage plan: first the stages that it covers, since API Gateway refuses it otherwise. */
export function removePlan(
  { usagePlanId, name, stages }: UsagePlan,
  keys: number,
  notes: readonly string[],
): Change {
  const patchOperations = stages.map((value): Patch => ({ op: 'remove', path: '/apiStages', value }))
  return {
    title: `usage plan ${name} (${usagePlanId})`,
    steps: [
      ...stages.map((stage) => ({ what: 'stage', before: stage, after: '' })),
      {
        what: 'plan',
        before: keys === 0 ? 'without keys' : `with ${keys} ${keys === 1 ? 'key' : 'keys'}`,
        after: 'deleted',
      },
    ],
    notes,
    write:
      stages.length > 0
        ? { operation: 'UpdateUsagePlan', input: { usagePlanId, patchOperations } }
        : { operation: 'DeleteUsagePlan', input: { usagePlanId } },
  }
}

function changePlan(plan: DesiredPlan, desired: Desired, existing: Existing): Change | undefined {
  const present = existing.plans.find(({ usagePlanId }) => usagePlanId === plan.usagePlanId)
  return present === undefined ? createPlan(plan, desired, existing) : updatePlan(plan, desired, present)
}

function createPlan(
  { name, throttle, quota }: DesiredPlan,
  { api, stage, methodThrottles }: Desired,
  { mark }: Existing,
): Change {
  const throttles = methodThrottles.map((one) => [methodKey(one.method), toThrottle(one)] as const)
  const apiStage = {
    apiId: api,
    stage,
    ...(throttles.length === 0 ? {} : { throttle: Object.fromEntries(throttles) }),
  }
  return {
    title: `usage plan ${name}`,
    steps: [
      ...(throttle === null ? [] : throttleSteps(null, throttle)),
      ...(quota === null ? [] : [{ what: 'quota', before: '', after: showQuota(quota) }]),
      { what: 'stage', before: '', after: showStage(api, stage) },
      ...methodThrottles.map((one) => methodThrottleStep(undefined, one)),
    ],
    notes: throttle === null && quota === null ? ['It has no limits.'] : [],
    write: {
      operation: 'CreateUsagePlan',
      input: {
        name,
        description: `Made by firstkey setup for ${mark}`,
        apiStages: [apiStage],
        ...(throttle === null ? {} : { throttle: toThrottle(throttle) }),
        ...(quota === null ? {} : { quota: { limit: quota.limit, period: quota.period, offset: 0 } }),
        tags: tagsOf(mark),
      },
    },
  }
}

function updatePlan(
  { name, throttle, quota }: DesiredPlan,
  { api, stage, methodThrottles }: Desired,
  present: UsagePlan,
): Change | undefined {
  const { usagePlanId, limits } = present
  const own = `${api}:${stage}`
  const steps: Step[] = []
  const patches: Patch[] = []
  if (!present.stages.includes(own)) {
    steps.push({ what: 'stage', before: '', after: showStage(api, stage) })
    patches.push({ op: 'add', path: '/apiStages', value: own })
  }
  if (throttle !== null && (limits.ratePerSecond !== throttle.rate || limits.burst !== throttle.burst)) {
    const { ratePerSecond, burst } = limits
    steps.push(...throttleSteps({ rate: ratePerSecond, burst }, throttle))
    patches.push(...throttlePatches('/throttle', throttle))
  }
  if (quota !== null && (limits.quota?.limit !== quota.limit || limits.quota.period !== quota.period)) {
    steps.push({ what: 'quota', before: showQuota(limits.quota), after: showQuota(quota) })
    patches.push({ op: 'replace', path: '/quota/limit', value: String(quota.limit) })
    if (limits.quota?.period !== quota.period)
      patches.push(
        // The offset, in days, belongs to the old period.
        { op: 'replace', path: '/quota/offset', value: '0' },
        { op: 'replace', path: '/quota/period', value: quota.period },
      )
  }
  const changesLimits = patches.some(({ path }) => path !== '/apiStages')
  for (const one of methodThrottles) {
    const key = methodKey(one.method)
    const before = present.methodLimits.find(({ stage, method }) => stage === own && method === key)
    if (before?.ratePerSecond === one.rate && before.burst === one.burst) continue
    steps.push(methodThrottleStep(before && { rate: before.ratePerSecond, burst: before.burst }, one))
    patches.push(...throttlePatches(methodThrottlePath(own, key), one))
  }
  if (patches.length === 0) return undefined
  const others = present.stages.filter((other) => other !== own)
  return {
    title: `usage plan ${name} (${usagePlanId})`,
    steps,
    notes: [
      ...(changesLimits && others.length > 0
        ? [`It covers ${others.join(', ')} too, where its keys get the new limits as well.`]
        : []),
      ...(present.productCode === null
        ? []
        : [`It is sold through AWS Marketplace (product code ${present.productCode}).`]),
    ],
    write: { operation: 'UpdateUsagePlan', input: { usagePlanId, patchOperations: patches } },
  }
}

function changeKeySource({ api }: Desired, { keySource }: Existing): Change[] {
  if (keySource === 'HEADER') return []
  const patchOperations: Patch[] = [{ op: 'replace', path: '/apiKeySource', value: 'HEADER' }]
  return [
    {
      title: 'source of the key',
      steps: [{ what: 'apiKeySource', before: keySource, after: 'HEADER' }],
      notes: ['Keys that an authorizer returns (usageIdentifierKey) are not used any more.'],
      write: { operation: 'UpdateRestApi', input: { restApiId: api, patchOperations } },
    },
  ]
}

function requireKeys({ api, methods }: Desired, existing: Existing): Change[] {
  const open = existing.methods.filter(
    (method) => !method.apiKeyRequired && methods.some((one) => isSame(one, method)),
  )
  return open.map((method) => ({
    title: `method ${showMethod(method)}`,
    steps: [{ what: 'API key required', before: 'no', after: 'yes' }],
    notes:
      method.httpMethod === 'OPTIONS'
        ? ['Browsers send OPTIONS without a key: pages of other origins fail.']
        : [],
    write: {
      operation: 'UpdateMethod',
      input: {
        restApiId: api,
        resourceId: method.resourceId,
        httpMethod: method.httpMethod,
        patchOperations: [{ op: 'replace', path: '/apiKeyRequired', value: 'true' }],
      },
    },
  }))
}

/** Reports whether a change is the deployment, also if it waits. */
export function isDeployment({ title }: Change): boolean {
  return title.startsWith(DEPLOYMENT)
}

const DEPLOYMENT = 'deployment to the stage '

/** @param waits `true`: other changes come first */
function deploy({ api, stage, methods }: Desired, existing: Existing, waits: boolean): Change[] {
  const { deployed, deployedKeySource } = existing
  const isClosed = (method: MethodName) => deployed.some((one) => one.apiKeyRequired && isSame(one, method))
  const edited = existing.methods.map((method) => ({
    ...method,
    apiKeyRequired: method.apiKeyRequired || methods.some((one) => isSame(one, method)),
  }))
  const isPublished =
    existing.stage !== null &&
    methods.every(isClosed) &&
    existing.keySource === 'HEADER' &&
    (deployedKeySource ?? 'HEADER') === 'HEADER'
  if (isPublished) return []
  const steps = [
    ...(existing.stage === null ? [{ what: 'stage', before: '', after: stage }] : []),
    ...(deployedKeySource === 'AUTHORIZER'
      ? [{ what: 'apiKeySource', before: 'AUTHORIZER', after: 'HEADER' }]
      : []),
    ...publishedSteps(deployed, edited),
  ]
  const opened = deployed.filter(
    (method) => method.apiKeyRequired && edited.some((one) => isSame(one, method) && !one.apiKeyRequired),
  )
  return [
    {
      title: `${DEPLOYMENT}${stage}`,
      steps,
      notes: [
        ...(existing.stage === null
          ? []
          : ['It publishes every edit of the API since the last deployment, not only these.']),
        ...opened.map((method) => `Careful: it opens ${showMethod(method)}, which needs a key now.`),
      ],
      write: waits
        ? null
        : {
            operation: 'CreateDeployment',
            input: { restApiId: api, stageName: stage, description: 'firstkey setup' },
          },
    },
  ]
}

function publishedSteps(deployed: readonly Method[], edited: readonly Method[]): Step[] {
  const all = [...edited, ...deployed.filter((one) => !edited.some((other) => isSame(one, other)))]
  return all.flatMap((method) => {
    const show = (methods: readonly Method[]) => {
      const one = methods.find((other) => isSame(method, other))
      if (one === undefined) return ''
      const key = one.apiKeyRequired ? 'with a key' : 'without a key'
      return one.authorizationType === 'NONE' ? key : `${key}, ${one.authorizationType}`
    }
    const [before, after] = [show(deployed), show(edited)]
    return before === after ? [] : [{ what: showMethod(method), before, after }]
  })
}

/** Returns the name of a method in a usage plan, as in `/hello/GET`. */
export function methodKey({ httpMethod, path }: MethodName): string {
  return `${path}/${httpMethod}`
}

/**
 * Returns the path of a patch to the throttle of a method, in the form in which Terraform's AWS provider replaces its
 * `/rateLimit` and `/burstLimit`: the slashes of the method's path are not escaped. No source shows a `remove`.
 * @param stage `apiId:stage`
 * @param method `/hello/GET`
 */
export function methodThrottlePath(stage: string, method: string): string {
  return `/apiStages/${stage}/throttle/${method}`
}

function toThrottle({ rate, burst }: Throttle): { rateLimit: number; burstLimit: number } {
  return { rateLimit: rate, burstLimit: burst }
}

function throttlePatches(path: string, { rate, burst }: Throttle): Patch[] {
  return [
    { op: 'replace', path: `${path}/rateLimit`, value: String(rate) },
    { op: 'replace', path: `${path}/burstLimit`, value: String(burst) },
  ]
}

interface Limits {
  readonly rate: number | null
  readonly burst: number | null
}

function throttleSteps(before: Limits | null, { rate, burst }: Throttle): Step[] {
  return [
    { what: 'rate', before: showRate(before?.rate), after: showRate(rate) },
    { what: 'burst', before: showAmount(before?.burst), after: showAmount(burst) },
  ].filter((step) => step.before !== step.after)
}

function methodThrottleStep(before: Limits | undefined, throttle: MethodThrottle): Step {
  const show = ({ rate, burst }: Limits) => `${showRate(rate)}, burst ${showAmount(burst)}`
  return {
    what: showMethod(throttle.method),
    before: before === undefined ? '' : show(before),
    after: show(throttle),
  }
}

function showRate(rate: number | null | undefined): string {
  return rate == null ? '' : `${rate} a second`
}

function showAmount(amount: number | null | undefined): string {
  return amount == null ? '' : String(amount)
}

function showQuota(quota: Quota | null): string {
  return quota === null ? '' : `${quota.limit} a ${quota.period.toLowerCase()}`
}

function showStage(api: string, stage: string): string {
  return api === '' ? stage : `${api}:${stage}`
}
