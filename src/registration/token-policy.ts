import type { Plan } from '../config.ts'
import { ServiceError } from '../errors.ts'
import type { TokenPolicy } from '../store/records.ts'

/**
 * The plan a registration gets: the one it asks for if the token may have it, otherwise the default of the token.
 * @param plans what this deployment offers, the first is its default
 * @throws ServiceError `plan_not_allowed`; `upstream_misconfigured` if the token names a plan that is not offered
 */
export function choosePlan(
  plans: readonly [Plan, ...Plan[]],
  policy: TokenPolicy,
  asked: string | undefined,
): Plan {
  const allowed = policy.plans.length > 0 ? policy.plans : [plans[0].name]
  const name = asked ?? allowed[0]
  if (name === undefined || !allowed.includes(name)) {
    throw new ServiceError('plan_not_allowed', `The token may ask for: ${allowed.join(', ')}.`, {
      errors: [{ path: '/plan', message: `must be one of: ${allowed.join(', ')}` }],
    })
  }
  const plan = plans.find((offered) => offered.name === name)
  if (plan === undefined) {
    throw new ServiceError(
      'upstream_misconfigured',
      `The plan "${name}" of the token is not offered any more.`,
    )
  }
  return plan
}

/** @throws ServiceError `name_not_allowed` if the name does not start with the prefix of the token */
export function checkName(policy: TokenPolicy, name: string): void {
  if (name.startsWith(policy.namePrefix)) return
  throw new ServiceError('name_not_allowed', `The name must start with "${policy.namePrefix}".`, {
    errors: [{ path: '/name', message: `must start with "${policy.namePrefix}"` }],
  })
}
