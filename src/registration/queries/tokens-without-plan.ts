import type { Plan } from '../../config.ts'
import type { BootstrapToken } from '../../store/records.ts'
import type { RegistrationDeps } from '../deps.ts'
import { missingPlans, tokenStatus } from '../token-policy.ts'

/** The most tokens that one line of the log names. */
const MOST_NAMED = 20

/**
 * Returns the usable tokens that allow a plan which this service does not have, each with such plans. Not those of federated
 * identities: they get the plans of their rule when they register next.
 */
export function tokensWithoutPlan(
  tokens: readonly BootstrapToken[],
  offered: readonly string[],
  now: number,
): { readonly id: string; readonly plans: string[] }[] {
  return tokens.flatMap((token) => {
    const plans = missingPlans(token, offered)
    return token.federation === null && plans.length > 0 && tokenStatus(token, now) === 'usable'
      ? { id: token.id, plans }
      : []
  })
}

/** Logs a warning if registrations with usable tokens cannot succeed, because their plan was renamed or removed. */
export async function warnOfMissingPlans({
  store,
  clock,
  log,
  config,
}: Pick<RegistrationDeps, 'store' | 'clock' | 'log'> & {
  readonly config: { readonly plans: readonly Plan[] }
}): Promise<void> {
  try {
    const offered = config.plans.map(({ name }) => name)
    const found = tokensWithoutPlan(await store.listTokens(), offered, clock())
    if (found.length === 0) return
    const fields = { count: found.length, tokens: found.slice(0, MOST_NAMED), plans: offered }
    log.warn(
      fields,
      'usable tokens allow plans that this service does not have; their registrations are refused',
    )
  } catch (err) {
    log.warn({ err }, 'could not check the plans of the tokens')
  }
}
