import { abortAfter } from '../../abort-after.ts'
import { failureOf, ServiceError, waitingAtLeast } from '../../errors.ts'
import type { Completed } from '../../store/minting.ts'
import type { Credential, RegistrationDeps } from '../deps.ts'
import { undoAnswers, undoRegistrations } from '../remove-keys.ts'
import { inSeconds, UNDO_MS, untilRecovered, untilUndone } from '../retry-after.ts'
import { takenOver } from '../use-case-errors.ts'
import { isAwaited, notAwaited, type PendingMint } from './mint-request.ts'

const ANY_TIME = Number.MAX_SAFE_INTEGER

/** A pending registration whose key is created, attached and verified. */
export interface Minted {
  readonly mint: PendingMint
  readonly apiKeyId: string
  /** The API accepts the key; `null` or left out: it was not probed. */
  readonly ready?: boolean | null
}

/**
 * Records registrations as `active` in one call, and resolves their requests. Never throws.
 *
 * A registration without an idempotency key whose caller is gone is undone: no retry can ask for it. With one, its key
 * waits for the retry.
 * @returns the ids of those that became `active`
 */
export async function complete(deps: RegistrationDeps, minted: readonly Minted[]): Promise<Set<string>> {
  const { clock, store } = deps
  for (const { mint, apiKeyId } of minted) {
    mint.keyMayExist = true
    mint.apiKeyId = apiKeyId
  }
  const isWanted = ({ mint }: Minted) => mint.registration.idempotency !== null || isAwaited(mint.request)
  const { wanted = [], unwanted = [] } = Object.groupBy(minted, (one) =>
    isWanted(one) ? 'wanted' : 'unwanted',
  )
  try {
    const completions = wanted.map(({ mint, apiKeyId }) => ({
      id: mint.id,
      owner: mint.owner,
      registration: mint.registration,
      actor: mint.request.call.actor,
      apiKeyId,
      isAwaited: () => isAwaited(mint.request),
    }))
    const completedAt = clock()
    const completed =
      wanted.length === 0
        ? new Map<string, Completed>()
        : await store.completeRegistrations(completions, completedAt)
    const recorded = wanted.flatMap((one) => {
      const effect = completed.get(one.mint.id)
      return effect === undefined ? [] : { ...one, ...effect }
    })
    await answerRecorded(deps, recorded, completedAt)
    const lost = wanted.filter(({ mint }) => !completed.has(mint.id))
    await fail(deps, mintsOf(lost), takenOver(deps.timing))
    await failUnawaited(deps, mintsOf(unwanted))
    return new Set(completed.keys())
  } catch (error) {
    await fail(deps, mintsOf(minted), error)
    return new Set()
  }
}

/** A registration or rotation that is recorded as `active`. */
export interface Recorded extends Minted, Completed {}

/**
 * Resolves the requests of registrations that were recorded as `active` at `recordedAt`. An answer that was recorded, but
 * reaches no caller any more, is taken back; without an idempotency key the registration is undone. Never throws.
 */
export async function answerRecorded(
  deps: RegistrationDeps,
  recorded: readonly Recorded[],
  recordedAt: number,
): Promise<void> {
  const { clock, store } = deps
  const unheard: PendingMint[] = []
  const retriable: string[] = []
  for (const { mint, apiKeyId, ready = null, answered, replaced } of recorded) {
    const isUnheard = answered && reachesNoCaller(mint)
    if (isUnheard && mint.registration.idempotency === null) unheard.push(mint)
    else answer(mint, { apiKeyId, ready, replaced }, clock())
    if (isUnheard && mint.registration.idempotency !== null) retriable.push(mint.id)
  }
  // If this fails, they stay in doubt.
  if (retriable.length > 0) await store.retractAnswers(retriable, recordedAt).catch(() => undefined)
  await failUnawaited(deps, unheard)
}

/** No caller of a registration waits any more. The owner of a rotated key can rotate it once more. */
function reachesNoCaller({ registration, request }: PendingMint): boolean {
  return registration.rotation === null && !isAwaited(request)
}

const mintsOf = (minted: readonly Minted[]) => minted.map(({ mint }) => mint)

function answer(
  { registration, secrets, request }: PendingMint,
  { apiKeyId, ready, replaced }: Pick<Credential, 'apiKeyId' | 'ready' | 'replaced'>,
  now: number,
): void {
  const { id, tokenId, plan, createdAt, rotation } = registration
  const fields = { registration_id: id, token_id: tokenId, plan, api_key_id: apiKeyId, ms: now - createdAt }
  if (rotation === null) request.call.log.info(fields, 'registered')
  else request.call.log.info({ ...fields, rotation_of: rotation.of }, 'rotated')
  request.resolve({ registration, apiKeyId, secrets, replaced, ready, replayed: request.begun !== null })
}

/** Fails registrations that no caller waits for any more. Never throws. */
export async function failUnawaited(deps: RegistrationDeps, mints: readonly PendingMint[]): Promise<void> {
  const byError = Map.groupBy(mints, ({ request }) => failureOf(notAwaited(request)))
  for (const [first, ...others] of byError.values()) {
    if (first !== undefined) await fail(deps, [first, ...others], notAwaited(first.request))
  }
}

/**
 * Undoes registrations, then rejects their requests with `cause`, or with the standing fault that it shows: a retry finds its
 * use refunded. Those that cannot be undone now stay pending, for recovery, or answered and in doubt; a retryable error then
 * asks to wait for recovery. Never throws.
 */
export async function fail(
  deps: RegistrationDeps,
  mints: readonly PendingMint[],
  cause: unknown,
): Promise<void> {
  if (mints.length === 0) return
  const { clock, log, standingFaults, store, timing } = deps
  const plans = new Set(mints.map(({ registration }) => registration.usagePlanId))
  const error = standingFaults.failed(plans, cause)
  const failure = failureOf(error)
  for (const { id, registration, request } of mints) {
    const { tokenId, plan } = registration
    const fields = { registration_id: id, token_id: tokenId, plan, code: failure }
    if (failure === 'client_closed') request.call.log.info(fields, 'registration undone, as its client left')
    else if (cause instanceof ServiceError && cause.alreadyLogged)
      request.call.log.info(fields, 'registration refused')
    else request.call.log.warn({ ...fields, err: cause }, 'registration failed')
  }
  const limit = abortAfter(timing.undo)
  const undone = new Set<string>()
  try {
    const { unclear = [], clear = [] } = Object.groupBy(mints, (mint) =>
      mint.keyMayExist ? 'unclear' : 'clear',
    )
    if (clear.length > 0) {
      const failed = await store.failRegistrations(clear, { failure, sweepAt: null, now: clock() })
      for (const id of failed) undone.add(id)
    }
    if (unclear.length > 0) await undoRegistrations(deps, unclear, failure, undone, limit.signal)
    // Answered all the same: its caller left meanwhile, or the response of the store was late or lost.
    const answered = unclear.filter(({ id }) => !undone.has(id))
    await undoAnswers(deps, answered, ANY_TIME, { failure, undone, signal: limit.signal })
  } catch (err) {
    const fields = { registration_ids: mints.slice(0, 20).map(({ id }) => id), count: mints.length, err }
    log.error(fields, 'registrations could not be undone and stay pending')
  } finally {
    limit.cancel()
    const left = mints.filter(({ id }) => !undone.has(id))
    // If this fails, the leases expire.
    const release = async () =>
      store.releaseLeases(left).then(
        () => untilRecovered(timing),
        () => untilUndone(timing),
      )
    const recovered = left.length === 0 ? 0 : (await release()) + left.length * UNDO_MS
    for (const { id, request } of mints)
      request.reject(undone.has(id) ? error : waitingAtLeast(error, inSeconds(recovered)))
  }
}
