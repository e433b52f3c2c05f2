import type { Facts } from './facts.ts'

/** The place that a finding is about, as far as it has one. */
export interface Place {
  /** The name of the plan in `USAGE_PLANS`, or of the usage plan in API Gateway. */
  readonly plan?: string
  readonly usagePlanId?: string
  readonly api?: string
  readonly stage?: string
  readonly path?: string
  readonly method?: string
  readonly keyId?: string
}

/** The way to set a finding right. */
export interface Mend {
  /** The one who does it: a command of firstkey or of AWS, the tool that owns the API, or the operator in another way. */
  readonly by: 'firstkey' | 'aws' | 'tool' | 'operator'
  /** The commands to paste, one a line; `null`: there is none. */
  readonly command: string | null
  /** What to know before, or what to do instead of a command. */
  readonly note?: string
}

export interface Finding {
  /** The id of the check, in kebab-case. It is stable, and `docs/setup.md` describes it. */
  readonly check: CheckId
  readonly status: 'ok' | 'warning' | 'fault' | 'not_checked'
  readonly where: Place
  /** What is so. */
  readonly message: string
  /** What callers see of it. */
  readonly why?: string
  readonly mend?: Mend
  /** The IAM permission that `not_checked` wants; `null`: it failed for another reason. */
  readonly action?: string | null
}

export type CheckId = string

/** A pure check. It is silent where the fault that it would find follows from one that another check names. */
export type Check = (facts: Facts) => readonly Finding[]
