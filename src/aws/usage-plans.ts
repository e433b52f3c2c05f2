import {
  type APIGatewayClient,
  CreateUsagePlanKeyCommand,
  GetUsagePlanCommand,
  paginateGetUsagePlanKeys,
  paginateGetUsagePlans,
  type UsagePlan as SdkUsagePlan,
} from '@aws-sdk/client-api-gateway'
import { ServiceError } from '../errors.ts'
import type { ChangeQueue } from './change-queue.ts'
import { answeredError, toReadError, toServiceError } from './errors.ts'
import { type FoundKey, keysNamed } from './keys.ts'
import { isPassing, untilSeen } from './late-lists.ts'

export interface Attachment {
  readonly keyId: string
  /** The name of the key, or a prefix of it that no other key has. */
  readonly keyName: string
  readonly usagePlanId: string
  /** `true` to check the keys of the plan in any case; `false` to trust a 201 that names the key. */
  readonly check: boolean
}

/**
 * The outcome of an attachment. `existed`: the key was on the plan before. `repaired`: an earlier 201 had not attached the
 * key; it was attached again.
 */
export type AttachOutcome = 'attached' | 'existed' | 'repaired'

const ATTACH = 'attach a key to the usage plan'
/** The looks for an attached key, over 4 seconds, before it is attached again. */
const LOOKS = 6

/**
 * Attaches a key to its usage plan. It waits in `queue` for the other changes of this process.
 *
 * After a 201 that does not name the key, or a 409 for another reason than a concurrent change, the keys of the plan
 * decide: a key that is on the plan is attached, whichever request attached it. A key that is not listed may be listed late:
 * the plan is looked at again, and later the key is attached again, until `signal` aborts.
 * @throws ServiceError `upstream_misconfigured` if the plan is unknown, or the key is on another plan of the same
 *   stage; otherwise see {@link toServiceError}
 */
export async function attachKey(
  client: APIGatewayClient,
  queue: ChangeQueue,
  to: Attachment,
  signal: AbortSignal,
): Promise<AttachOutcome> {
  const plan = { usagePlanId: to.usagePlanId, namePrefix: to.keyName }
  const isListed = async () =>
    (await findAttached(client, plan, signal)).some(({ id }) => id === to.keyId) || undefined
  let attached = 0
  for (;;) {
    const answer = await queue.run(signal, () => tryAttach(client, to, signal))
    if (answer.missing !== undefined) throw await notFound(client, to.usagePlanId, answer.missing, signal)
    if (answer.conflict === undefined) attached += 1
    if (answer.attached && !to.check) return 'attached'
    const looks = isOtherPlan(answer) ? 1 : LOOKS
    if (await untilSeen(isListed, signal, looks)) {
      if (attached === 0) return 'existed'
      return attached === 1 ? 'attached' : 'repaired'
    }
    if (looks === 1 || signal.aborted) throw notAttached(answer)
  }
}

/**
 * Returns the error of an attachment that found no plan or no key (404). The plan decides: it needs an operator, while a key
 * may have been undone by another process, after a pause of this one.
 */
async function notFound(
  client: APIGatewayClient,
  usagePlanId: string,
  error: unknown,
  signal: AbortSignal,
): Promise<ServiceError> {
  try {
    await describePlan(client, usagePlanId, signal)
    return toServiceError(error, ATTACH, 'key')
  } catch (planError) {
    return isPassing(planError) ? toServiceError(planError, ATTACH) : toServiceError(error, ATTACH, 'plan')
  }
}

/**
 * The response to CreateUsagePlanKey: `attached` if it names the key; `conflict` is the message of a 409, `missing` the error
 * of a 404.
 */
interface AttachAnswer {
  readonly attached: boolean
  readonly conflict?: string
  readonly missing?: unknown
}

async function tryAttach(
  client: APIGatewayClient,
  { keyId, usagePlanId }: Attachment,
  signal: AbortSignal,
): Promise<AttachAnswer> {
  try {
    const command = new CreateUsagePlanKeyCommand({ usagePlanId, keyId, keyType: 'API_KEY' })
    const answer = await client.send(command, { abortSignal: signal })
    return { attached: answer.id === keyId }
  } catch (error) {
    const answered = answeredError(error)
    if (answered?.name === 'ConflictException') return { attached: false, conflict: answered.message }
    if (answered?.name === 'NotFoundException') return { attached: false, missing: error }
    throw toServiceError(error, ATTACH)
  }
}

function isOtherPlan({ conflict }: AttachAnswer): boolean {
  return conflict !== undefined && /multiple usage plans/i.test(conflict)
}

function notAttached(answer: AttachAnswer): ServiceError {
  const { conflict } = answer
  if (isOtherPlan(answer)) {
    const detail = 'The plans of the service overlap: the key is on another plan of the same API stage.'
    return new ServiceError('upstream_misconfigured', detail, { cause: new Error(conflict) })
  }
  return new ServiceError('upstream_unavailable', 'API Gateway did not attach the key to its usage plan.', {
    retryAfter: 5,
    cause: new Error(conflict ?? 'CreateUsagePlanKey succeeded, but GetUsagePlanKeys does not list the key'),
  })
}

/**
 * Returns the keys on a usage plan whose name starts with `namePrefix`. An unknown plan has none.
 * @throws ServiceError see {@link toServiceError}
 */
export async function findAttached(
  client: APIGatewayClient,
  { usagePlanId, namePrefix }: { usagePlanId: string; namePrefix: string },
  signal: AbortSignal,
): Promise<FoundKey[]> {
  try {
    const found: FoundKey[] = []
    const pages = paginateGetUsagePlanKeys(
      { client, pageSize: 500 },
      { usagePlanId, nameQuery: namePrefix },
      { abortSignal: signal },
    )
    for await (const page of pages) {
      // The items also have the keys' values.
      found.push(...keysNamed(page.items, namePrefix).map(({ id, name }) => ({ id, name })))
    }
    return found
  } catch (error) {
    throw toServiceError(error, 'read the keys of the usage plan', 'plan')
  }
}

/** The limits that a usage plan sets for each of its keys. */
export interface PlanLimits {
  /** Requests a second on average, and requests at once; `null`: no limit. */
  readonly ratePerSecond: number | null
  readonly burst: number | null
  /** Requests in a day, week or month; `null`: no limit. */
  readonly quota: { readonly limit: number; readonly period: 'DAY' | 'WEEK' | 'MONTH' } | null
}

export interface PlanDescription {
  readonly usagePlanId: string
  /** The API stages that the plan covers, each as `apiId:stage`. */
  readonly stages: readonly string[]
  readonly limits: PlanLimits
}

/** Reads a usage plan (GetUsagePlan). @throws ServiceError see {@link toServiceError} */
export async function describePlan(
  client: APIGatewayClient,
  usagePlanId: string,
  signal: AbortSignal,
): Promise<PlanDescription> {
  try {
    const plan = await client.send(new GetUsagePlanCommand({ usagePlanId }), { abortSignal: signal })
    return toDescription(usagePlanId, plan)
  } catch (error) {
    throw toServiceError(error, 'read the usage plan', 'plan')
  }
}

/** Returns `true` if a usage plan exists (GetUsagePlans). @throws ServiceError see {@link toServiceError} */
export async function hasPlan(
  client: APIGatewayClient,
  usagePlanId: string,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    // Not GetUsagePlan: a role may be allowed to read only the plans of the present configuration.
    const plans = await listPlans(client, undefined, signal)
    return plans.some((one) => one.usagePlanId === usagePlanId)
  } catch (error) {
    throw toServiceError(error, 'list the usage plans')
  }
}

/**
 * Returns the usage plans that a key is on (GetUsagePlans). A key that does not exist is on none.
 * @throws ServiceError see {@link toReadError}
 */
export async function findPlansOf(
  client: APIGatewayClient,
  keyId: string,
  signal: AbortSignal,
): Promise<PlanDescription[]> {
  try {
    return await listPlans(client, keyId, signal)
  } catch (error) {
    if (answeredError(error)?.name === 'NotFoundException') return []
    throw toReadError(error, 'read the usage plans of a key')
  }
}

async function listPlans(
  client: APIGatewayClient,
  keyId: string | undefined,
  abortSignal: AbortSignal,
): Promise<PlanDescription[]> {
  const found: PlanDescription[] = []
  const query = keyId === undefined ? {} : { keyId }
  for await (const { items = [] } of paginateGetUsagePlans({ client, pageSize: 500 }, query, { abortSignal }))
    found.push(...items.flatMap((plan) => (plan.id === undefined ? [] : toDescription(plan.id, plan))))
  return found
}

/** A usage plan, with all that may keep its keys from working. */
export interface UsagePlan extends PlanDescription {
  readonly name: string
  /** The limits of single methods on a stage, `apiId:stage`. */
  readonly methodLimits: readonly MethodLimit[]
  /** The product of AWS Marketplace that meters its requests; `null`: none. */
  readonly productCode: string | null
  readonly tags: Readonly<Record<string, string>>
}

export interface MethodLimit extends Omit<PlanLimits, 'quota'> {
  readonly stage: string
  /** The resource path and the HTTP method, as in `/hello/GET`. */
  readonly method: string
}

/** Converts a usage plan of the SDK. */
export function toUsagePlan(usagePlanId: string, plan: SdkUsagePlan): UsagePlan {
  return {
    ...toDescription(usagePlanId, plan),
    name: plan.name ?? '',
    methodLimits: (plan.apiStages ?? []).flatMap(({ apiId, stage, throttle }) =>
      Object.entries(throttle ?? {}).map(([method, { rateLimit, burstLimit }]) => ({
        stage: `${apiId}:${stage}`,
        method,
        ratePerSecond: rateLimit ?? null,
        burst: burstLimit ?? null,
      })),
    ),
    productCode: plan.productCode || null,
    tags: plan.tags ?? {},
  }
}

function toDescription(usagePlanId: string, { apiStages, throttle, quota }: SdkUsagePlan): PlanDescription {
  const { limit, period } = quota ?? {}
  return {
    usagePlanId,
    stages: (apiStages ?? []).map(({ apiId, stage }) => `${apiId}:${stage}`),
    limits: {
      ratePerSecond: throttle?.rateLimit ?? null,
      burst: throttle?.burstLimit ?? null,
      quota: limit === undefined || period === undefined ? null : { limit, period },
    },
  }
}
