import { setTimeout as sleep } from 'node:timers/promises'
import {
  type APIGatewayClient,
  CreateUsagePlanKeyCommand,
  GetUsagePlanCommand,
  paginateGetUsagePlanKeys,
} from '@aws-sdk/client-api-gateway'
import type { LimitFunction } from 'p-limit'
import { ServiceError } from '../errors.ts'
import { answeredError, toServiceError } from './errors.ts'

/** The pause before an attach is tried again grows from the first to the last, each with full jitter. */
const FIRST_PAUSE_MS = 100
const LAST_PAUSE_MS = 2_000

export interface Attachment {
  readonly keyId: string
  /** The name of the key, or a prefix of it that no other key has. */
  readonly keyName: string
  readonly usagePlanId: string
}

/**
 * Puts a key on its usage plan and checks that it is there. API Gateway attaches one key at a time in a Region:
 * `line` lets one attach of this process through after the other; other processes do not stand in it, so a
 * concurrent change is tried again until `signal` ends it.
 *
 * The other meanings of a 409 are told apart by looking: a key that is on the plan is attached, whoever did it.
 * @throws ServiceError `upstream_misconfigured` if the plan is unknown, or the key is on another plan of the same
 *   stage; otherwise see {@link toServiceError}
 */
export async function attachKey(
  client: APIGatewayClient,
  line: LimitFunction,
  to: Attachment,
  signal: AbortSignal,
): Promise<void> {
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LAST_PAUSE_MS)) {
    const conflict = await line(() => tryAttach(client, to, signal))
    if (conflict === undefined || !isConcurrentChange(conflict)) {
      if (await isAttached(client, to, signal)) return
      throw notAttached(conflict)
    }
    try {
      await sleep(Math.random() * pause, undefined, { signal })
    } catch {
      throw new ServiceError('upstream_unavailable', 'API Gateway is busy with other changes.', {
        retryAfter: 5,
        effect: 'none',
      })
    }
  }
}

/** Answers the message of a 409, or `undefined` where the key was attached. */
async function tryAttach(
  client: APIGatewayClient,
  { keyId, usagePlanId }: Attachment,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    const command = new CreateUsagePlanKeyCommand({ usagePlanId, keyId, keyType: 'API_KEY' })
    await client.send(command, { abortSignal: signal })
    return undefined
  } catch (error) {
    const answered = answeredError(error)
    if (answered?.name === 'ConflictException') return answered.message
    throw toServiceError(error, 'put a key on the usage plan')
  }
}

/** "Unable to complete operation due to concurrent modification. Please try again later." */
function isConcurrentChange(conflict: string): boolean {
  return /concurrent/i.test(conflict)
}

function notAttached(conflict: string | undefined): ServiceError {
  if (conflict !== undefined && /multiple usage plans/i.test(conflict)) {
    const detail = 'The plans of the service overlap: the key is on another plan of the same API stage.'
    return new ServiceError('upstream_misconfigured', detail, { cause: new Error(conflict) })
  }
  return new ServiceError('upstream_unavailable', 'API Gateway did not put the key on its usage plan.', {
    retryAfter: 5,
    cause: new Error(conflict ?? 'CreateUsagePlanKey succeeded, but GetUsagePlanKeys does not list the key'),
  })
}

async function isAttached(client: APIGatewayClient, to: Attachment, signal: AbortSignal): Promise<boolean> {
  try {
    const query = { usagePlanId: to.usagePlanId, nameQuery: to.keyName }
    for await (const page of paginateGetUsagePlanKeys({ client, pageSize: 500 }, query, {
      abortSignal: signal,
    })) {
      if (page.items?.some((item) => item.id === to.keyId)) return true
    }
    return false
  } catch (error) {
    throw toServiceError(error, 'read the keys of the usage plan')
  }
}

/** What `/readyz` and the start want to know of a plan: whether it opens any API at all. @throws ServiceError */
export async function describePlan(
  client: APIGatewayClient,
  usagePlanId: string,
  signal: AbortSignal,
): Promise<{ stages: number }> {
  try {
    const plan = await client.send(new GetUsagePlanCommand({ usagePlanId }), { abortSignal: signal })
    return { stages: plan.apiStages?.length ?? 0 }
  } catch (error) {
    throw toServiceError(error, 'read the usage plan')
  }
}
