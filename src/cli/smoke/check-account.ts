import { createProbe } from '../../aws/probe.ts'
import type { Plan } from '../../config.ts'
import type { Deps } from '../../deps.ts'
import { KEY_QUOTA } from '../../key-quota.ts'
import { planFaults } from '../../setup/checks/plan-limits.ts'
import { requireOffered } from '../known-names.ts'
import { note } from '../output.ts'
import { IN_A_ROW, type Probe } from './follow-key.ts'
import type { Leftovers } from './leftovers.ts'
import { countKeys, type Step } from './steps.ts'

const PAGE = 500
/** The requests with one key that its quota must have room for: until a deleted key is refused, each one counts. */
const REQUESTS_OF_A_KEY = 10 * IN_A_ROW
/** The part of the plan's rate that the requests with one key take. */
const RATE_SHARE = 2 / 3
const PROBE_TIMEOUT_MS = 5_000

/** The result of the checks before a run. */
export interface CheckedAccount {
  readonly plan: Plan
  /** The keys that the account has room for. */
  readonly room: number
  /** The pages of all keys in GetApiKeys. */
  readonly pages: number
  /** `null`: the API cannot show whether it accepts a key. */
  readonly probe: Probe | null
  /** The shortest pause between two requests with one key, in milliseconds. */
  readonly spacingMs: number
}

/**
 * Checks that a run can succeed, without a change: the plans, the configuration, the room in the account, and the API. Warns if the
 * API cannot be asked.
 * @throws Error with every reason why the run cannot succeed
 */
export async function checkAccount(
  deps: Deps,
  planName: string | undefined,
  steps: readonly Step[],
  leftovers: Leftovers,
): Promise<CheckedAccount> {
  const { config, lowPriorityApiGateway } = deps
  const { signal } = new AbortController()
  if (planName !== undefined) requireOffered(planName)
  const plan = config.plans.find(({ name }) => name === planName) ?? config.plans[0]
  // Fails in the wrong account or Region: the usage plan does not exist there.
  const description = await lowPriorityApiGateway.describePlan(plan.usagePlanId, signal)
  const { count } = await lowPriorityApiGateway.countKeys(signal)
  const room = KEY_QUOTA - count + leftovers.registrations.length + leftovers.keys.length
  const probe = await openApi(deps)

  const { limits } = description
  const faults = planFaults(plan.name, description).map(({ message }) => message)
  const enough = probe === null ? 1 : REQUESTS_OF_A_KEY
  if (limits.quota !== null && limits.quota.limit < enough)
    faults.push(
      `the plan "${plan.name}" allows ${limits.quota.limit} requests a ${limits.quota.period.toLowerCase()} for each key, and a ` +
        `run needs ${enough}: choose another with --plan`,
    )
  const [keys, largest] = [countKeys(steps), Math.max(...steps.map(({ keys }) => keys))]
  if (keys > room)
    faults.push(
      `it makes ${keys} keys, but of ${KEY_QUOTA} keys the account has room for ${Math.max(0, room)}`,
    )
  for (const [name, most] of [
    ['MINT_BATCH_MAX', config.mintBatchMax],
    ['QUEUE_MAX', config.queueMax],
  ] as const)
    if (largest > most) faults.push(`${name} is ${most}: choose --keys ${most} or fewer`)
  if (faults.length > 0)
    throw new Error(`nothing was changed:\n${faults.map((one) => `  ${one}`).join('\n')}`)
  return {
    ...{ plan, room, pages: Math.max(1, Math.ceil(count / PAGE)), probe },
    spacingMs: limits.ratePerSecond === null ? 0 : 1_000 / (limits.ratePerSecond * RATE_SHARE),
  }
}

/** Looks whether the API refuses requests without a key, and warns if its answers prove nothing. */
async function openApi({ config }: Deps): Promise<Probe | null> {
  const { apiProbeUrl, apiBaseUrl, proxies } = config
  const name = apiProbeUrl === null ? 'API_BASE_URL' : 'API_PROBE_PATH'
  if (apiProbeUrl === null)
    note(
      'API_PROBE_PATH is not set: requests go to API_BASE_URL itself. Set it to a method of the API that requires a key.',
    )
  const probe = createProbe(apiProbeUrl ?? apiBaseUrl, proxies)
  const { verdict, status, isUnknownPath } = await probe(undefined, AbortSignal.timeout(PROBE_TIMEOUT_MS))
  if (verdict === 'rejected' && !isUnknownPath) return probe
  const reasons = {
    accepted: 'accepts requests without a key',
    rejected: 'is not a method of the API',
    unclear: status === undefined ? 'did not respond' : `responds with ${status} to a request without a key`,
  }
  note(`${name} ${reasons[verdict]}: the time until the API accepts and refuses keys is not measured.`)
  return null
}
