import type { Plan } from '../config.ts'
import { ServiceError } from '../errors.ts'
import type { BootstrapToken, TokenPolicy } from '../store/records.ts'

/**
 * Chooses the plan of a registration: the requested one, or the token's default if none is requested.
 * @param plans the plans of this deployment; the first is its default
 * @throws ServiceError `plan_not_allowed` if the token does not allow the requested plan; `upstream_misconfigured` if
 *   this deployment has no such plan
 */
export function choosePlan(
  plans: readonly [Plan, ...Plan[]],
  policy: TokenPolicy,
  requested: string | undefined,
): Plan {
  const allowed = allowedPlans(plans, policy)
  const name = requested ?? allowed[0]
  if (name === undefined || !allowed.includes(name)) {
    throw new ServiceError('plan_not_allowed', `The token allows these plans: ${allowed.join(', ')}.`, {
      errors: [{ path: '/plan', message: `must be one of: ${allowed.join(', ')}` }],
    })
  }
  const plan = plans.find((offered) => offered.name === name)
  if (plan === undefined) {
    throw new ServiceError(
      'upstream_misconfigured',
      `The token allows the plan "${name}", but this service has no such plan.`,
    )
  }
  return plan
}

/** Returns the names of the plans that a token allows, its default first. @param plans those of this deployment */
export function allowedPlans(plans: readonly [Plan, ...Plan[]], policy: TokenPolicy): readonly string[] {
  return policy.plans.length > 0 ? policy.plans : [plans[0].name]
}

/** Returns the plans that a token allows and this service does not have. @param offered the names of its plans */
export function missingPlans({ plans }: TokenPolicy, offered: readonly string[]): string[] {
  return plans.filter((plan) => !offered.includes(plan))
}

/** The status of a token; only `usable` ones can begin a registration. */
export function tokenStatus(
  token: BootstrapToken,
  now: number,
): 'revoked' | 'expired' | 'exhausted' | 'usable' {
  if (token.revokedAt !== null) return 'revoked'
  if (token.expiresAt !== null && token.expiresAt <= now) return 'expired'
  return token.maxUses !== null && token.uses >= token.maxUses ? 'exhausted' : 'usable'
}

/**
 * Checks a name, in NFC, against the token's prefix or, for an identity with a name of its own, that name.
 * @throws ServiceError `name_not_allowed`
 */
export function checkName({ namePrefix, federation }: BootstrapToken, name: string): void {
  // A token of an earlier version may have a prefix that is not normalized.
  const prefix = namePrefix.normalize('NFC')
  const isExact = federation?.nameIsExact === true
  if (isExact ? name === prefix : name.startsWith(prefix)) return
  const rule = isExact ? `must be "${namePrefix}"` : `must start with "${namePrefix}"`
  const nextStep = isExact ? 'Register under the name in "detail".' : undefined
  throw new ServiceError('name_not_allowed', `The name ${rule}.`, {
    errors: [{ path: '/name', message: rule }],
    nextStep,
  })
}
