import { ServiceError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { NewRegistration } from '../store/store.ts'
import type { Credential, RegisterDeps, RegistrationCall } from './context.ts'
import { abortAfter } from './deadline.ts'
import type { SealedAnswer } from './idempotency.ts'
import { mint, unmint } from './mint.ts'

/** A registration that is pending, and the lease under which this process works on it. */
export interface Work {
  readonly registration: NewRegistration
  readonly answer: SealedAnswer
  readonly owner: string
}

/**
 * From `pending` to the answer: makes the key and records the registration as `active`; or undoes both. Safe to repeat
 * for a registration that another process left behind: the key's value and name are the same.
 *
 * Without an idempotency key nobody can ask for the result later, so it stops when the caller is late or gone. With
 * one it goes on, and the key waits for the retry.
 */
export async function finish(
  deps: RegisterDeps,
  { registration, answer, owner }: Work,
  call: RegistrationCall,
  late: AbortSignal,
): Promise<Credential> {
  const { id, name, description, plan, usagePlanId, tokenId, idempotency } = registration
  const { apiGateway, clock, store, timing } = deps
  const startedAt = clock()
  const ids = { registration_id: id, token_id: tokenId, plan }
  const limit = idempotency === null ? undefined : abortAfter(call.timeoutMs + timing.background)

  let apiKeyId: string | undefined
  try {
    const order = { registrationId: id, name, description, value: answer.apiKeyValue, usagePlanId }
    apiKeyId = await mint(apiGateway, order, limit?.signal ?? AbortSignal.any([late, call.gone]))
    const answered = () => !late.aborted && !call.gone.aborted
    if (idempotency === null && !answered()) {
      throw new ServiceError('upstream_unavailable', 'Nobody waits for the answer any more.', {
        retryAfter: 5,
      })
    }
    if (!(await store.completeRegistration(id, { owner, apiKeyId, answered, now: clock() })))
      throw overtaken()
    call.log.info({ ...ids, api_key_id: apiKeyId, ms: clock() - startedAt }, 'registered')
    return { registration, apiKeyId, answer, replayed: false }
  } catch (error) {
    call.log.warn({ ...ids, err: error, ms: clock() - startedAt }, 'registration failed')
    const certainlyNoKey = apiKeyId === undefined && error instanceof ServiceError && error.effect === 'none'
    await undo(deps, { id, owner, error, keyMayExist: !certainlyNoKey, log: call.log })
    throw error
  } finally {
    limit?.cancel()
  }
}

/** This process slept through its lease, and recovery or a retry elsewhere took the registration over. */
function overtaken(): ServiceError {
  return new ServiceError('upstream_unavailable', 'The registration took too long and was taken over.', {
    retryAfter: 1,
  })
}

interface Undoing {
  readonly id: string
  readonly owner: string
  readonly error: unknown
  readonly keyMayExist: boolean
  readonly log: Log
}

/**
 * Removes the key, if there may be one, then gives the use back. If that fails the registration stays pending, for
 * recovery. Whoever took it over is left alone, as long as it may yet hand the key out.
 */
async function undo(deps: RegisterDeps, { id, owner, error, keyMayExist, log }: Undoing): Promise<void> {
  const { apiGateway, clock, store, timing } = deps
  const limit = abortAfter(timing.undo)
  try {
    const current = await store.getRegistration(id)
    const mine = current?.status === 'pending' && current.lease?.owner === owner
    if (keyMayExist && mine && !(await store.startUndoing(id, owner))) return
    if (keyMayExist && (mine || current?.status === 'failed')) await unmint(apiGateway, id, limit.signal)
    if (!mine) return
    const failure = error instanceof ServiceError ? error.code : 'internal'
    const now = clock()
    await store.failRegistration(id, {
      owner,
      failure,
      sweepAt: keyMayExist ? now + timing.sweepAfter : null,
      now,
    })
  } catch (err) {
    log.error({ registration_id: id, err }, 'registration could not be undone and stays pending')
    await store.releaseLease(id, owner).catch(() => undefined) // Otherwise it lapses by itself.
  } finally {
    limit.cancel()
  }
}
