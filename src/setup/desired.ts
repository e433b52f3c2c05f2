import type { EditedMethod } from '../aws/rest-apis.ts'
import type { UsagePlan } from '../aws/usage-plans.ts'
import { didYouMean } from '../did-you-mean.ts'
import type { Target } from './base-url.ts'
import { isMadeBy } from './made-by-setup.ts'
import {
  isSame,
  type MethodName,
  type PlanOption,
  type Quota,
  type SetupOptions,
  showMethod,
} from './options.ts'

export interface Throttle {
  /** Requests a second on average. */
  readonly rate: number
  /** Requests at once. */
  readonly burst: number
}

export interface DesiredPlan {
  readonly name: string
  /** The id of the usage plan that exists already; `null`: there is none. */
  readonly usagePlanId: string | null
  /** `null`: that of an existing plan stays, and a new plan has none. */
  readonly throttle: Throttle | null
  readonly quota: Quota | null
}

export interface MethodThrottle extends Throttle {
  readonly method: MethodName
}

/**
 * The state that `firstkey setup` makes for one stage of an API. Besides, the API reads keys from the header `x-api-key`, and the
 * stage is deployed. The changes are planned from this value, and the patches for other tools print it.
 */
export interface Desired {
  readonly api: string
  readonly stage: string
  /** Each of them covers the stage. */
  readonly plans: readonly DesiredPlan[]
  /** The methods that require a key. All others stay as they are. */
  readonly methods: readonly MethodName[]
  /** The throttles of single methods, for a key of any of these plans. */
  readonly methodThrottles: readonly MethodThrottle[]
}

/** The present state of all that the options of a run refer to. */
export interface Present {
  readonly target: Target
  /** The plans of `USAGE_PLANS`. */
  readonly offered: readonly { readonly name: string; readonly usagePlanId: string }[]
  readonly methods: readonly EditedMethod[]
  /** The methods that require a key as deployed. */
  readonly closed: readonly MethodName[]
  readonly plans: readonly UsagePlan[]
  /** The number of keys on a usage plan whose name another one has too, by its id. */
  readonly keysOn: ReadonlyMap<string, number>
  /** The value of the tag of what this run makes. */
  readonly mark: string
  /** `true`: only usage plans with this tag are meant by a name. */
  readonly ownPlansOnly: boolean
}

/** @returns what the options order; and everything that is wrong with them for what is there */
export function desire(options: SetupOptions, present: Present): { desired: Desired; faults: string[] } {
  const faults: string[] = []
  const report = (fault: string) => void faults.push(fault)
  const plans = (options.plans ?? []).map((option) => desirePlan(option, present, report))
  const ids = plans.flatMap(({ usagePlanId }) => usagePlanId ?? [])
  for (const id of new Set(ids.filter((one, i) => ids.indexOf(one) !== i)))
    report(`--plan: several plans mean the usage plan ${id}`)
  const { api, stage } = present.target
  const covers = `${api}:${stage}`
  if (options.plans === null && stage !== '' && !present.plans.some(({ stages }) => stages.includes(covers)))
    report(
      `no usage plan covers the stage ${stage} of ${api}, so no key would open it: add --plan gold=rate:100,burst:250`,
    )
  return {
    desired: {
      ...{ api, stage, plans },
      methods: desireMethods(options, present, report),
      methodThrottles: options.throttles.map(({ method, rate, burst }) => {
        requireMethod('--throttle', method, present, report)
        return { method, rate, burst: burst ?? Math.ceil(rate) }
      }),
    },
    faults,
  }
}

type Report = (fault: string) => void

function desirePlan(option: PlanOption, present: Present, report: Report): DesiredPlan {
  const { name, rate, burst, quota } = option
  const plan = findPlan(option, present, report)
  const throttle =
    // Of a burst of 0, which AWS takes for an omitted one, no request is left.
    rate === null ? null : { rate, burst: burst ?? (plan?.limits.burst || Math.ceil(rate)) }
  return { name, usagePlanId: plan?.usagePlanId ?? null, throttle, quota }
}

function findPlan(option: PlanOption, present: Present, report: Report): UsagePlan | undefined {
  const { name } = option
  const offered = present.offered.find((one) => one.name === name)?.usagePlanId
  const id = option.usagePlanId ?? (present.ownPlansOnly ? undefined : offered)
  if (id !== undefined) {
    const plan = present.plans.find(({ usagePlanId }) => usagePlanId === id)
    if (plan === undefined)
      report(
        option.usagePlanId === null
          ? `--plan ${name}: there is no usage plan ${id}, which USAGE_PLANS names "${name}"`
          : `--plan ${name}: there is no usage plan ${id}`,
      )
    return plan
  }
  const named = present.plans.filter(
    (plan) => plan.name === name && (!present.ownPlansOnly || isMadeBy(plan.tags, present.mark)),
  )
  const repeats = repeatedPlans(named, present)
  const [first, ...others] = named.filter((plan) => !repeats.includes(plan))
  if (others.length > 0)
    report(
      `--plan ${name}: ${named.length} usage plans are called "${name}": choose one by its id, as in ` +
        named.map(({ usagePlanId }) => `--plan ${name}=id:${usagePlanId}`).join(' or '),
    )
  return first
}

/**
 * Returns the usage plans that are there once too often: made by this command, for the same stage, under the same name, and
 * without keys. Two runs at once make such a plan each, and so does a run after a crash if API Gateway lists the plan of the
 * first one late. All runs keep the same one of them: that with keys, or the one whose id comes first.
 * @param named plans of the same name
 */
export function repeatedPlans(
  named: readonly UsagePlan[],
  { mark, keysOn }: Pick<Present, 'mark' | 'keysOn'>,
): UsagePlan[] {
  const own = named.filter(({ tags }) => isMadeBy(tags, mark))
  const spare = own.filter(({ usagePlanId }) => keysOn.get(usagePlanId) === 0)
  spare.sort((a, b) => (a.usagePlanId < b.usagePlanId ? -1 : 1))
  return spare.length === own.length ? spare.slice(1) : spare
}

function desireMethods({ methods }: SetupOptions, present: Present, report: Report): MethodName[] {
  const all = present.methods.filter(({ httpMethod }) => httpMethod !== 'OPTIONS')
  if (methods !== null) {
    for (const method of methods.named) requireMethod('--methods', method, present, report)
    const chosen = methods.all ? all : []
    return [...chosen, ...methods.named.filter((one) => !chosen.some((other) => isSame(one, other)))].map(
      nameOf,
    )
  }
  // Otherwise a key would open nothing that is not open without one. Judged by what is deployed, so that a run that was
  // interrupted goes on with the methods that it had begun.
  if (present.closed.every(({ httpMethod }) => httpMethod === 'OPTIONS')) return all.map(nameOf)
  return present.methods.filter(({ apiKeyRequired }) => apiKeyRequired).map(nameOf)
}

const nameOf = ({ httpMethod, path }: MethodName): MethodName => ({ httpMethod, path })

function requireMethod(
  option: string,
  method: MethodName,
  { methods, target }: Present,
  report: Report,
): void {
  if (methods.some((one) => isSame(one, method))) return
  const text = showMethod(method)
  const known = methods.map(showMethod)
  const any = methods.some((one) => isSame(one, { httpMethod: 'ANY', path: method.path }))
  const hint = any ? ` (ANY ${method.path} answers it)` : didYouMean(text, known)
  report(`${option} ${text}: the API ${target.api} has no such method${hint}`)
}
