import type { UsagePlan } from '../../aws/usage-plans.ts'
import { didYouMean } from '../../did-you-mean.ts'
import type { Target } from '../base-url.ts'
import { methodThrottlePath } from '../changes.ts'
import { type AccountFacts, type OfferedPlan, showTarget, targetsOf } from '../facts.ts'
import { type Finding, notChecked, ok, type Place } from '../finding.ts'
import { addStage, awsCommand, mend, replace, updatePlan } from './mends.ts'
import { type PlanFault, planFaults, zeroLimits } from './plan-limits.ts'

/** A usage plan whose keys are looked at, with the name that operators know it by. */
export interface NamedPlan {
  readonly name: string
  readonly plan: UsagePlan
}

/** The stages that the plans have to cover. */
export interface Coverage {
  /** The stage that every plan has to cover; `null`: it is not known which. */
  readonly target: Target | null
  /** `true`: another finding names that a plan does not cover it. */
  readonly isNamed: boolean
  /** All stages that are checked. */
  readonly targets: readonly Target[]
}

/** The plans that may lack a stage, at most: with more of them it is not known which are meant. */
const MOST_LACKING = 5

/**
 * Returns the plans of `USAGE_PLANS` that exist or, if it is not set, those that cover a stage that is checked; besides, those
 * by which a key that is asked about opens it.
 */
export function plansInUse(account: AccountFacts, targets: readonly Target[]): NamedPlan[] {
  const { offered, plans, key } = account
  const wanted = targets.map(showTarget)
  const covers = ({ stages }: UsagePlan) => stages.some((stage) => wanted.includes(stage))
  const all = plans.known ? plans.value : []
  const covering = all.filter(covers)
  const chosen =
    offered.length > 0
      ? offered.flatMap(({ name, plan }) =>
          plan.known && plan.value !== null ? [{ name, plan: plan.value }] : [],
        )
      : (covering.length > 0 ? covering : lackingPlans(all, targets)).map(named)
  const ofKey = (key?.plans.known ? key.plans.value : []).filter(covers)
  return [
    ...chosen,
    ...ofKey
      .filter(({ usagePlanId }) => !chosen.some(({ plan }) => plan.usagePlanId === usagePlanId))
      .map(named),
  ]
}

const named = (plan: UsagePlan): NamedPlan => ({ name: plan.name, plan })

/**
 * The plans that probably lost a stage that no plan covers: those of another stage of its API, to which it was deployed before,
 * and those without any, as deleting a stage leaves them.
 */
function lackingPlans(plans: readonly UsagePlan[], targets: readonly Target[]): UsagePlan[] {
  const apis = new Set(targets.map(({ api }) => api))
  const lacking = plans.filter(
    ({ stages }) => stages.length === 0 || targetsOf(stages).some(({ api }) => apis.has(api)),
  )
  return lacking.length > MOST_LACKING ? [] : lacking
}

/** Checks the usage plans: that they exist, cover the stage, and let requests pass. */
export function checkPlans(account: AccountFacts, coverage: Coverage): Finding[] {
  const inUse = plansInUse(account, coverage.targets)
  return [
    ...checkExistence(account),
    ...checkStages(account, inUse, coverage),
    ...checkLimits(account, inUse, coverage.targets),
    ...checkProductCodes(inUse),
    ...checkOverlap(account),
  ]
}

function placeOf({ name, plan }: NamedPlan): Place {
  return { plan: name, usagePlanId: plan.usagePlanId }
}

function checkExistence({ offered, plans, environment }: AccountFacts): Finding[] {
  const check = 'plan'
  if (offered.length === 0)
    return plans.known
      ? [ok(check, {}, 'USAGE_PLANS is not set: the plans of the stage are checked')]
      : [notChecked(check, {}, 'the usage plans', plans)]
  const findings = offered.flatMap((one): Finding[] => {
    const { name, usagePlanId, plan } = one
    const where = { plan: name, usagePlanId }
    if (!plan.known) return [notChecked(check, where, `the usage plan ${usagePlanId}`, plan)]
    if (plan.value !== null) return []
    const known = plans.known ? plans.value : []
    const sameName = known.filter((other) => other.name === name)
    const [only] = sameName.length === 1 ? sameName : []
    const listed = known.map((other) => `${other.name}=${other.usagePlanId}`).slice(0, 10)
    return [
      {
        check,
        status: 'fault',
        where,
        message: `there is no usage plan ${usagePlanId} in ${environment.region}${didYouMean(
          usagePlanId,
          known.map((other) => other.usagePlanId),
        )}`,
        why: `no caller can register on the plan "${name}"; ids of usage plans are of one account and Region`,
        mend: {
          by: 'operator',
          command:
            only === undefined
              ? null
              : `USAGE_PLANS=${usagePlans(offered, new Map([[name, only.usagePlanId]]))}`,
          note:
            known.length === 0
              ? 'there is none at all: check AWS_REGION and the account, or make one with: firstkey setup'
              : `set it in the environment of the service; there are ${listed.join(', ')}`,
        },
      },
    ]
  })
  return findings.length > 0
    ? findings
    : [ok(check, {}, `every plan of USAGE_PLANS exists: ${offered.map(({ name }) => name).join(', ')}`)]
}

function usagePlans(offered: readonly OfferedPlan[], changes: ReadonlyMap<string, string>): string {
  return offered.map(({ name, usagePlanId }) => `${name}=${changes.get(name) ?? usagePlanId}`).join(',')
}

const STAGE_IN_TEMPLATE =
  'CloudFormation: ApiStages of the AWS::ApiGateway::UsagePlan; CDK: usagePlan.addApiStage({ stage: api.deploymentStage }); ' +
  'SAM: Auth: { UsagePlan: { CreateUsagePlan: PER_API } }'

function checkStages(account: AccountFacts, inUse: readonly NamedPlan[], coverage: Coverage): Finding[] {
  const check = 'plan-stage'
  const { environment, offered, plans } = account
  const { target, isNamed } = coverage
  if (isNamed) return []
  if (offered.length === 0 && inUse.length === 0)
    return !plans.known || target === null ? [] : [coveredByNone(account, target)]
  const findings = inUse.flatMap((one): Finding[] => {
    const { name, plan } = one
    const [empty] = planFaults(name, plan).filter((fault) => fault.check === check)
    if (empty === undefined && (target === null || plan.stages.includes(showTarget(target)))) return []
    const missing =
      target === null
        ? ''
        : `the plan "${name}" does not cover ${showTarget(target)}, only ${plan.stages.join(', ')}`
    return [
      {
        check,
        status: 'fault',
        where: { ...placeOf(one), ...target },
        message: empty?.message ?? missing,
        why: 'callers get 403 Forbidden with every key of this plan. A stage that is made anew is on no plan',
        mend:
          target === null
            ? { by: 'operator', command: null, note: 'firstkey doctor --api ID --stage NAME says how' }
            : mend(environment, {
                tags: plan.tags,
                commands: [addStage(plan.usagePlanId, target)],
                inTemplate: STAGE_IN_TEMPLATE,
              }),
      },
    ]
  })
  const empty = offered.length > 0 || !plans.known ? [] : emptyPlans(account, plans.value, inUse, target)
  if (findings.length > 0 || empty.length > 0 || inUse.length === 0) return [...findings, ...empty]
  const [first] = inUse
  const common = first?.plan.stages.filter((stage) => inUse.every(({ plan }) => plan.stages.includes(stage)))
  if (offered.length > 0 && target === null && common?.length === 0)
    return [
      {
        ...{ check, status: 'warning', where: {} },
        message: `no stage is on every plan: ${inUse.map(({ name, plan }) => `${name} covers ${plan.stages.join(' and ')}`).join(', ')}`,
        why: 'the keys of one plan are refused where those of the other are taken',
        mend: {
          ...{ by: 'operator', command: null },
          note: 'set API_BASE_URL to the API that the keys are to open, and run this again',
        },
      },
    ]
  const names = inUse.map(({ name }) => name).join(', ')
  return target === null
    ? [ok(check, {}, `every plan covers a stage: ${names}`)]
    : [ok(check, { ...target }, `every plan covers ${showTarget(target)}: ${names}`)]
}

/** Plans without any stage, where `USAGE_PLANS` does not say which plans are meant: they may have lost it. */
function emptyPlans(
  { environment, key }: AccountFacts,
  plans: readonly UsagePlan[],
  inUse: readonly NamedPlan[],
  target: Target | null,
): Finding[] {
  // The check of the key names its plan.
  if (key !== null) return []
  const empty = plans.filter(
    ({ stages, usagePlanId }) =>
      stages.length === 0 && !inUse.some(({ plan }) => plan.usagePlanId === usagePlanId),
  )
  return empty.map(({ name, usagePlanId, tags }) => ({
    ...{ check: 'plan-stage', status: 'warning', where: { plan: name, usagePlanId, ...target } },
    message: `the usage plan "${name}" has no API stage`,
    why: 'its keys open nothing. A stage that is made anew is on no plan',
    mend:
      target === null
        ? { by: 'operator', command: null, note: 'put a stage on it, or delete it' }
        : mend(environment, {
            tags,
            commands: [addStage(usagePlanId, target)],
            inTemplate: STAGE_IN_TEMPLATE,
            note: 'or delete it, if it is not in use',
          }),
  }))
}

function coveredByNone({ environment }: AccountFacts, target: Target): Finding {
  const { api, stage } = target
  return {
    check: 'plan-stage',
    status: 'fault',
    where: { api, stage },
    message: `no usage plan covers ${showTarget(target)}`,
    why: 'callers get 403 Forbidden with every key',
    mend: mend(environment, {
      tags: {},
      commands: [
        awsCommand('create-usage-plan', '--name', 'default', '--api-stages', `apiId=${api},stage=${stage}`),
      ],
      inTemplate: '',
      note: 'it has no limits; firstkey setup makes one with limits',
    }),
  }
}

const LIMITS_IN_TEMPLATE =
  'CloudFormation, CDK and SAM: Throttle (throttle) and Quota (quota) of the usage plan'

/** The values that a mend gives, as API Gateway's examples have them: the operator chooses better ones. */
const EXAMPLES = {
  rate: replace('/throttle/rateLimit', '10'),
  burst: replace('/throttle/burstLimit', '20'),
  quota: replace('/quota/limit', '1000'),
}

function checkLimits(
  { environment }: AccountFacts,
  inUse: readonly NamedPlan[],
  targets: readonly Target[],
): Finding[] {
  const check = 'plan-limits'
  const findings = inUse.flatMap((one): Finding[] => {
    const { name, plan } = one
    const { usagePlanId, tags } = plan
    const ofPlan = planFaults(name, plan).filter((fault) => fault.check === check)
    const whole = ofPlan.map(
      ({ message, why, zeros }: PlanFault): Finding => ({
        ...{ check, status: 'fault', where: placeOf(one), message, why },
        mend: mend(environment, {
          tags,
          commands: [updatePlan(usagePlanId, ...zeros.map((zero) => EXAMPLES[zero]))],
          inTemplate: LIMITS_IN_TEMPLATE,
          note: 'choose limits that fit your API',
        }),
      }),
    )
    const wanted = targets.map(showTarget)
    const methods = plan.methodLimits
      .filter(({ stage }) => wanted.includes(stage))
      .flatMap(({ stage, method, ...limits }): Finding[] => {
        const zeros = zeroLimits(limits)
        if (zeros.length === 0) return []
        const { path, httpMethod } = splitMethod(method)
        const pointer = methodThrottlePath(stage, method)
        return [
          {
            ...{ check, status: 'fault' },
            where: { ...placeOf(one), ...targetsOf([stage])[0], path, method: httpMethod },
            message: `the plan "${name}" throttles ${httpMethod} ${path} of ${stage} to a ${zeros.join(' and a ')} of 0`,
            why: 'callers get 429 there with every key of this plan',
            mend: mend(environment, {
              tags,
              commands: [updatePlan(usagePlanId, { op: 'remove', path: pointer })],
              inTemplate: LIMITS_IN_TEMPLATE,
              note: "the plan's own limits hold then",
            }),
          },
        ]
      })
    return [...whole, ...methods]
  })
  if (findings.length > 0 || inUse.length === 0) return findings
  return [
    ok(check, {}, `no plan has a rate, burst or quota of 0: ${inUse.map(({ name }) => name).join(', ')}`),
  ]
}

/** Splits `/hello/GET`, as usage plans have it, into the path and the HTTP method. */
function splitMethod(method: string): { path: string; httpMethod: string } {
  const at = method.lastIndexOf('/')
  return { path: `/${method.slice(0, at).replace(/^\/+/, '')}`, httpMethod: method.slice(at + 1) }
}

function checkProductCodes(inUse: readonly NamedPlan[]): Finding[] {
  const check = 'plan-product-code'
  const findings = inUse.flatMap((one): Finding[] => {
    const { name, plan } = one
    if (plan.productCode === null) return []
    return [
      {
        ...{ check, status: 'warning', where: placeOf(one) },
        message: `AWS Marketplace meters the plan "${name}": it has the product code ${plan.productCode}`,
        why: "its requests are billed only if the key has its buyer's customer id, which firstkey does not set",
        mend: {
          ...{ by: 'operator', command: null },
          note: "set each key's customerId (UpdateApiKey), or offer a plan without a product code",
        },
      },
    ]
  })
  if (findings.length > 0 || inUse.length === 0) return findings
  return [ok(check, {}, 'no plan has a product code of AWS Marketplace')]
}

function checkOverlap({ offered }: AccountFacts): Finding[] {
  const check = 'plan-overlap'
  if (offered.length < 2) return []
  const byId = Map.groupBy(offered, ({ usagePlanId }) => usagePlanId)
  const findings = [...byId].flatMap(([usagePlanId, plans]): Finding[] => {
    if (plans.length === 1) return []
    const names = plans.map(({ name }) => name)
    return [
      {
        ...{ check, status: 'warning', where: { plan: names.join(', '), usagePlanId } },
        message: `the plans ${names.join(' and ')} are the same usage plan, ${usagePlanId}`,
        why: 'their keys have the same limits, and a key cannot move from one to the other',
        mend: {
          by: 'operator',
          command: null,
          note: 'give each name of USAGE_PLANS a usage plan of its own',
        },
      },
    ]
  })
  return findings.length > 0
    ? findings
    : [ok(check, {}, 'every name of USAGE_PLANS has a usage plan of its own')]
}
