import type { MethodName, Quota } from './options.ts'

export interface Throttle {
  /** Requests a second on average. */
  readonly rate: number
  /** Requests at once. */
  readonly burst: number
}

export interface DesiredPlan {
  readonly name: string
  /** The id of the usage plan that exists already; `null`: there is none, or it is not known yet. */
  readonly usagePlanId: string | null
  /** `null`: that of an existing plan stays, and a new plan has none. */
  readonly throttle: Throttle | null
  readonly quota: Quota | null
}

export interface MethodThrottle extends Throttle {
  readonly method: MethodName
}

/**
 * What `firstkey setup` makes so for one stage of an API. Besides, the API reads keys from the header `x-api-key`, and the
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
