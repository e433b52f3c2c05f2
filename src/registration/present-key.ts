import { LRUCache } from 'lru-cache'
import type { ApiGateway } from '../aws/api-gateway.ts'
import type { Plan } from '../config.ts'
import { ServiceError } from '../errors.ts'
import type { Registration } from '../store/records.ts'
import type { RegistrationDeps } from './deps.ts'
import { judgeKey, type KeyFinding, lookUntilSure } from './judge-key.ts'
import { registrationEnded, registrationSuspended } from './use-case-errors.ts'

/** The time for which a refusal is remembered (ms), and the number of keys for which it is. */
const REFUSED_FOR_MS = 60_000
const MAX_REMEMBERED = 1_000

type Reads = Pick<ApiGateway, 'readKey' | 'hasPlan'>

export interface PresentKeyDeps extends Pick<RegistrationDeps, 'clock' | 'config' | 'planLimits' | 'timing'> {
  readonly apiGateway: Reads
  /** For what owners ask for. */
  readonly queryApiGateway: Reads
}

/**
 * Looks at a registration's present key in API Gateway before a rotation of it: what an operator did to the key there
 * stands.
 * @param current the record of the present key
 * @returns the plan for the next key: the plan of this name in the present configuration, or the one to which an operator
 *   moved the key
 * @throws ServiceError `registration_ended` if the key was deleted; `registration_suspended` if it was disabled or taken off
 *   its plan; `upstream_misconfigured` if its plan no longer exists and this service offers none of that name; errors of API
 *   Gateway
 */
export type CheckPresentKey = (current: Registration) => Promise<Plan>

/**
 * Creates the check. Requests that an owner repeats must not use up the control plane's quota: those of the same moment share
 * a look, and after a refusal looks use only what owners' queries may.
 */
export function createPresentKeyCheck(deps: PresentKeyDeps): CheckPresentKey {
  const refused = new LRUCache<string, true>({ max: MAX_REMEMBERED, ttl: REFUSED_FOR_MS })
  const running = new Map<string, Promise<Plan>>()

  async function check(current: Registration): Promise<Plan> {
    const apiGateway = refused.has(current.id) ? deps.queryApiGateway : deps.apiGateway
    try {
      return await planForNextKey({ ...deps, apiGateway }, current, AbortSignal.timeout(deps.timing.undo))
    } catch (error) {
      if (error instanceof ServiceError && !error.isRetryable) refused.set(current.id, true)
      throw error
    } finally {
      running.delete(current.id)
    }
  }

  return (current) => {
    const other = running.get(current.id)
    if (other !== undefined) return other
    const own = check(current)
    running.set(current.id, own)
    return own
  }
}

async function planForNextKey(
  deps: PresentKeyDeps,
  current: Registration,
  signal: AbortSignal,
): Promise<Plan> {
  const { config, apiGateway } = deps
  const { usagePlanId, plan: name } = current
  const { fault, plan } = await look(deps, current, signal)
  if (fault === 'gone') throw registrationEnded()
  if (fault === 'disabled') throw registrationSuspended()
  const named = config.plans.find((one) => one.name === name)
  if (plan !== null) {
    if (plan.usagePlanId !== usagePlanId) return planById(config.plans, plan.usagePlanId)
    return named ?? { name, usagePlanId }
  }
  // A plan that was deleted takes its keys along: that is no suspension.
  if (await apiGateway.hasPlan(usagePlanId, signal)) throw registrationSuspended()
  if (named !== undefined && named.usagePlanId !== usagePlanId) return named
  throw new ServiceError('upstream_misconfigured', 'The usage plan of this registration no longer exists.')
}

/** Returns the plan of this deployment with this id. Any other plan has its id as its name. */
export function planById(plans: readonly Plan[], usagePlanId: string): Plan {
  return plans.find((one) => one.usagePlanId === usagePlanId) ?? { name: usagePlanId, usagePlanId }
}

async function look(
  deps: PresentKeyDeps,
  { id, apiKeyId: keyId, usagePlanId, createdAt }: Registration,
  signal: AbortSignal,
): Promise<KeyFinding> {
  if (keyId === null) throw new Error(`${id} has no key`)
  return lookUntilSure(async () => {
    const state = await deps.apiGateway.readKey({ keyId, withValue: false }, signal)
    return judgeKey(deps, state, usagePlanId)
  }, deps.clock() - createdAt)
}
