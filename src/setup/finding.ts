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
  /** The variable of the environment. */
  readonly variable?: string
}

/** The way to set a finding right. */
export interface Mend {
  /** The one who does it: a command of firstkey or of AWS, the tool that owns the API, or the operator in another way. */
  readonly by: 'firstkey' | 'aws' | 'tool' | 'operator'
  /** The commands to paste, one a line; `null`: there is none. */
  readonly command: string | null
  /** A warning before the command, or the instruction in its place. */
  readonly note?: string
}

/** The checks, in the order in which they are printed. `docs/setup.md` has a row for each. */
export const checkIds = [
  ...['account', 'base-url', 'domain-mapping', 'rest-api', 'stage', 'plan', 'plan-stage', 'plan-limits'],
  ...['plan-product-code', 'plan-overlap', 'key-source', 'key-required', 'options-open', 'not-deployed'],
  ...['authorization', 'resource-policy', 'private-api', 'default-endpoint', 'web-acl', 'canary'],
  ...['stage-limits', 'probe-path', 'key', 'key-plan', 'key-quota', 'data-plane'],
] as const satisfies readonly string[]
export type CheckId = (typeof checkIds)[number]

export interface Finding {
  readonly check: CheckId
  readonly status: 'ok' | 'warning' | 'fault' | 'not_checked'
  readonly where: Place
  /** The finding in one sentence. */
  readonly message: string
  /** The effect on callers. */
  readonly why?: string
  readonly mend?: Mend
  /** The IAM permission that `not_checked` wants; left out if it failed for another reason. */
  readonly action?: string
}

export function ok(check: CheckId, where: Place, message: string): Finding {
  return { check, status: 'ok', where, message }
}

/** @param unknown the read that failed @param subject what is not known, as in "the account's settings" */
export function notChecked(
  check: CheckId,
  where: Place,
  subject: string,
  unknown: { readonly why: string; readonly action: string | null },
): Finding {
  const { why, action } = unknown
  const message = `${subject} cannot be read: ${why}`
  return { check, status: 'not_checked', where, message, ...(action === null ? {} : { action }) }
}
