import { setTimeout as sleep } from 'node:timers/promises'
import type { KeyState } from '../aws/live-key.ts'
import type { PlanDescription } from '../aws/usage-plans.ts'
import type { Plan } from '../config.ts'
import type { OfferedPlan } from './queries/plan-limits.ts'

/** The reason for which API Gateway does not accept a key: it was deleted, disabled, or taken off its usage plans. */
export type KeyFault = 'gone' | 'disabled' | 'detached'

/** A key, with the usage plan that it was minted on. */
export interface KeyOfPlan {
  readonly keyId: string
  readonly usagePlanId: string
}

/** The meaning of a key's state in API Gateway. */
export interface KeyFinding {
  /** `null`: none. */
  readonly fault: KeyFault | null
  /** The usage plan that counts for the key; `null`: it is on none that opens the API. */
  readonly plan: PlanDescription | null
  /** The key is enabled, and its plan opens the API. */
  readonly live: boolean
}

/** The age of a key up to which API Gateway may show it, or its plan, late (ms). */
export const LATE_UP_TO_MS = 60_000
/** Looks at a young key that API Gateway does not show with its plan, and the pause between them (ms). */
const LOOKS = 4
const PAUSE_MS = 500

/**
 * Looks at a key, and looks again if it is young and API Gateway does not show it with its plan: that may only be late.
 * @param age of the key, in milliseconds; negative if the clock went back since, which makes a key old
 * @returns what `look` returned last; `undefined`: unknown
 */
export async function lookUntilSure<T extends KeyFinding | undefined>(
  look: () => Promise<T>,
  age: number,
): Promise<T> {
  for (let looks = 1; ; looks++) {
    const finding = await look()
    const isSure = finding === undefined || finding.plan !== null || finding.fault === 'disabled'
    if (isSure || looks === LOOKS || Math.abs(age) > LATE_UP_TO_MS) return finding
    await sleep(PAUSE_MS)
  }
}

export interface JudgeKeyDeps {
  readonly config: { readonly plans: readonly Plan[] }
  readonly planLimits: () => Promise<readonly OfferedPlan[]>
}

/** The usage plan that counts for a key; `null`: it is on none that opens the API, and not on the recorded one. */
export interface KeyPlan {
  readonly plan: PlanDescription | null
  /** The plan opens the API. */
  readonly opens: boolean
}

/**
 * Chooses, of the usage plans that API Gateway shows a key on, the one that counts: the recorded one, or else one that opens
 * the API. What API Gateway shows wins over what is recorded: an operator may have moved the key. A plan opens the API if it
 * covers an API stage of the plans of this deployment.
 * @param recordedId the plan that the key was minted on
 */
export async function chooseKeyPlan(
  { config, planLimits }: JudgeKeyDeps,
  plans: readonly PlanDescription[],
  recordedId: string,
): Promise<KeyPlan> {
  const isOffered = ({ usagePlanId }: PlanDescription) =>
    config.plans.some((one) => one.usagePlanId === usagePlanId)
  const withStages = plans.filter(({ stages }) => stages.length > 0)
  // The stages of the offered plans are needed only for a key on a plan that is not offered.
  const offered = withStages.every(isOffered) ? [] : await planLimits()
  const opening = withStages.filter(
    (plan) =>
      isOffered(plan) ||
      // Stages that could not be read are no evidence against the plan.
      offered.some(({ stages }) => stages === null || stages.some((one) => plan.stages.includes(one))),
  )
  const isRecorded = ({ usagePlanId }: PlanDescription) => usagePlanId === recordedId
  const opened = opening.find(isRecorded) ?? opening[0]
  return { plan: opened ?? plans.find(isRecorded) ?? null, opens: opened !== undefined }
}

/**
 * Judges a key by what API Gateway shows.
 * @param state `null`: the key does not exist
 * @param recordedPlanId the plan that the key was minted on
 */
export async function judgeKey(
  deps: JudgeKeyDeps,
  state: KeyState | null,
  recordedPlanId: string,
): Promise<KeyFinding> {
  if (state === null) return { fault: 'gone', plan: null, live: false }
  const { plan, opens } = await chooseKeyPlan(deps, state.plans, recordedPlanId)
  const fault = !state.enabled ? 'disabled' : plan === null ? 'detached' : null
  return { fault, plan, live: fault === null && opens }
}
