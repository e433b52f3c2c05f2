import { randomBase62 } from '../auth/secret.ts'
import { ServiceError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Registration } from '../store/store.ts'
import type { RegisterDeps } from './context.ts'
import { abortAfter } from './deadline.ts'
import { attachExisting, unmint } from './mint.ts'

/** How many registrations one round of recovery looks at. */
const BATCH = 100

export type RecoverDeps = Pick<RegisterDeps, 'store' | 'apiGateway' | 'clock' | 'timing' | 'inFlight'> & {
  readonly log: Log
}

/**
 * What recovery does with a registration. `adopt`: its key is put on the plan if need be and waits for the retry with
 * the idempotency key; where there is no key it is undone. `undo`: its key is deleted and the use given back. `sweep`:
 * it failed, and a key that came late is deleted.
 */
export type RecoveryAction = 'adopt' | 'undo' | 'sweep'

export function recoveryAction({ status, idempotency, undoing }: Registration): RecoveryAction {
  if (status === 'failed') return 'sweep'
  return status === 'pending' && idempotency !== null && !undoing ? 'adopt' : 'undo'
}

/**
 * One round: forgets old idempotency keys, then ends what was left unfinished, oldest first. Safe to run in several
 * processes at once: each registration is worked on under a lease.
 * @param stop ends the round after the registration it is at
 * @returns what was done to which; what could not be done now is logged and comes again in the next round
 */
export async function recover(
  deps: RecoverDeps,
  stop?: AbortSignal,
): Promise<{ registration: Registration; action: RecoveryAction; done: boolean }[]> {
  const { clock, inFlight, log, store, timing } = deps
  await store.forgetIdempotency(clock() - timing.idempotency)
  const results = []
  for (const registration of await store.listRecoverable(clock(), BATCH)) {
    if (stop?.aborted) break
    const owner = `${inFlight.ownerPrefix}${randomBase62(8)}`
    const now = clock()
    if (
      !(await store.takeLease(registration.id, registration.status, { owner, until: now + timing.undo }, now))
    )
      continue
    const action = recoveryAction(registration)
    const fields = { registration_id: registration.id, token_id: registration.tokenId, action }
    try {
      await recoverOne(deps, registration, action, owner)
      log.info(fields, 'recovered')
      results.push({ registration, action, done: true })
    } catch (err) {
      log.warn({ ...fields, err }, 'could not be recovered yet')
      await store.releaseLease(registration.id, owner)
      results.push({ registration, action, done: false })
    }
  }
  return results
}

async function recoverOne(
  deps: RecoverDeps,
  registration: Registration,
  action: RecoveryAction,
  owner: string,
): Promise<void> {
  const { apiGateway, clock, store, timing } = deps
  const { id } = registration
  const limit = abortAfter(timing.undo)
  try {
    if (action === 'adopt') {
      const apiKeyId = await adoptable(deps, registration, limit.signal)
      if (apiKeyId !== undefined) {
        await store.completeRegistration(id, { owner, apiKeyId, answered: () => false, now: clock() })
        return
      }
    }
    if (action !== 'sweep' && !(await store.startUndoing(id, owner))) return
    await unmint(apiGateway, id, limit.signal)
    if (action === 'sweep') return await store.finishSweep(id)
    const now = clock()
    await store.failRegistration(id, { owner, failure: 'abandoned', sweepAt: now + timing.sweepAfter, now })
  } finally {
    limit.cancel()
  }
}

/** The id of the key that the registration has in API Gateway, attached; `undefined` where it can have none that works. */
async function adoptable(
  { apiGateway }: RecoverDeps,
  registration: Registration,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    return await attachExisting(apiGateway, registration, signal)
  } catch (error) {
    if (error instanceof ServiceError && error.code === 'upstream_misconfigured') return undefined
    throw error
  }
}
