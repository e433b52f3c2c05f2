import { systemClock } from '../clock.ts'
import { readPlanNames } from '../config.ts'
import { didYouMean } from '../did-you-mean.ts'
import type { Store } from '../store/store.ts'

/**
 * Checks a plan that only this deployment can know: `USAGE_PLANS` names the plans.
 * @returns `false`: neither `USAGE_PLANS` nor `USAGE_PLAN_ID` is set here, so it cannot be checked
 * @throws Error that names the plans
 */
export function requireOffered(plan: string): boolean {
  const offered = readPlanNames(process.env)
  if (offered === undefined) return false
  if (!offered.includes(plan)) throw unknownPlan(plan, offered)
  return true
}

/**
 * Checks the token and the plan by which a list was filtered that turned out empty.
 * @throws Error if this store has no such token; if the plan is neither offered, nor that of a token or a registration
 */
export async function requireKnown(
  store: Store,
  { token, plan }: { readonly token?: string | undefined; readonly plan?: string | undefined },
): Promise<void> {
  if (token !== undefined && (await store.getToken(token)) === undefined) throw unknownToken(token)
  if (plan === undefined) return
  const known = new Set(readPlanNames(process.env))
  for (const { plans } of await store.listTokens()) for (const name of plans) known.add(name)
  if (known.has(plan)) return
  for (const { plan: name } of await store.countByStatus(systemClock())) known.add(name)
  if (!known.has(plan)) throw unknownPlan(plan, [...known])
}

/** The error for a token that this store does not have. */
export function unknownToken(id: string): Error {
  return new Error(`there is no token ${id} in this store: firstkey tokens list lists all`)
}

function unknownPlan(plan: string, plans: readonly string[]): Error {
  const known = plans.length === 0 ? 'there are none' : `the plans are ${plans.join(', ')}`
  return new Error(`there is no plan ${plan}${didYouMean(plan, plans)}; ${known}`)
}
