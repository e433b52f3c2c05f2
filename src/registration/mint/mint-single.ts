import pLimit from 'p-limit'
import { untilSeen } from '../../aws/late-lists.ts'
import { changed, ServiceError } from '../../errors.ts'
import { keyName, keyNamePrefix } from '../key-names.ts'
import { completeWhenReady } from './await-ready.ts'
import { OPENS_AT } from './circuit-breaker.ts'
import { fail, failUnawaited } from './complete.ts'
import type { MintDeps } from './mint-deps.ts'
import { isAwaited, notAwaited, noteFailure, type PendingMint } from './mint-request.ts'

/**
 * Registrations that are minted side by side where imports cannot be used: one is attached while others are created, and
 * more would only wait.
 */
export const SINGLE_AT_ONCE = 4

/** The state of a key that an import may have created, as the lists showed it. */
export interface SeenKey {
  /** Its id; `undefined`: no list shows it yet. */
  readonly id: string | undefined
  /** `undefined`: unknown. */
  readonly enabled: boolean | undefined
  readonly attached: boolean
}

const NOT_SEEN: SeenKey = { id: undefined, enabled: undefined, attached: false }

export interface SingleOutcome {
  /** `undefined`: the registration is completed or held. */
  readonly error: unknown
  /** The key was there, enabled and attached, before this attempt. */
  readonly existed: boolean
}

/**
 * Mints the key of one pending registration with CreateApiKey and CreateUsagePlanKey, and completes it. Safe to repeat for a
 * registration that was begun earlier: the key's value and name are the same. Never throws: a registration that fails is
 * undone, and its request rejected.
 * @param seen the parts that an import has done and that are left out
 */
export async function mintSingle(
  deps: MintDeps,
  mint: PendingMint,
  signal: AbortSignal,
  seen: SeenKey = NOT_SEEN,
): Promise<SingleOutcome> {
  const { attachBreaker, standingFaults } = deps
  if (mint.registration.idempotency === null && !isAwaited(mint.request)) {
    const error = notAwaited(mint.request)
    await fail(deps, [mint], error)
    return { error, existed: false }
  }
  const check = !attachBreaker.isClosed()
  try {
    const { apiKeyId, createdAt, existed } = await createAttachedKey(deps, mint, seen, check, signal)
    standingFaults.minted([mint.registration.usagePlanId], createdAt)
    const completed = await completeWhenReady(deps, [{ mint, apiKeyId }])
    if (!completed.has(mint.id)) return { error: notAwaited(mint.request), existed }
    if (!check && attachBreaker.isCheckDue()) deps.afterResponse(() => checkAttachment(deps, mint, apiKeyId))
    return { error: undefined, existed }
  } catch (error) {
    noteFailure([mint], error)
    await fail(deps, [mint], error)
    return { error, existed: false }
  }
}

/**
 * Mints each registration as {@link mintSingle}, several at once. Those that `signal` prevents are undone together.
 * @param seen by registration id
 * @returns the number of keys that are minted now, and were not there before
 */
export async function mintOneByOne(
  deps: MintDeps,
  mints: readonly PendingMint[],
  signal: AbortSignal,
  seen: ReadonlyMap<string, SeenKey> = new Map(),
): Promise<number> {
  const limit = pLimit(SINGLE_AT_ONCE)
  const left: PendingMint[] = []
  let minted = 0
  const mintNext = async (mint: PendingMint) => {
    if (signal.aborted) return void left.push(mint)
    const { error, existed } = await mintSingle(deps, mint, signal, seen.get(mint.id))
    if (error === undefined && !existed) minted += 1
  }
  await Promise.all(mints.map((mint) => limit(mintNext, mint)))
  await failUnawaited(deps, left)
  return minted
}

/**
 * Creates an enabled key and attaches it to its plan.
 * @param check verify the attachment, whatever API Gateway responds
 * @returns the key's id in API Gateway, and when it was created, on the clock of `performance.now()`; -∞: before this call
 * @throws ServiceError; API Gateway may then hold a key, attached or not
 */
async function createAttachedKey(
  { apiGateway, attachBreaker }: MintDeps,
  { registration, secrets }: PendingMint,
  seen: SeenKey,
  check: boolean,
  signal: AbortSignal,
): Promise<{ apiKeyId: string; createdAt: number; existed: boolean }> {
  const { id, description, usagePlanId } = registration
  const key = { name: keyName(registration), description, value: secrets.apiKeyValue }
  const created =
    seen.id === undefined
      ? await apiGateway.createKey(key, signal)
      : { id: seen.id, existed: seen.enabled === true }
  const apiKeyId = created.id
  const createdAt = seen.id === undefined && !created.existed ? performance.now() : Number.NEGATIVE_INFINITY
  try {
    const wasEnabled =
      created.existed || (seen.id !== undefined && (await apiGateway.ensureEnabled(apiKeyId, signal)))
    if (seen.attached) return { apiKeyId, createdAt, existed: wasEnabled }
    const attachment = { keyId: apiKeyId, keyName: keyNamePrefix([id]), usagePlanId, check }
    const outcome = await apiGateway.attachKey(attachment, signal)
    if (outcome === 'repaired') attachBreaker.failed(notHeld(apiKeyId), OPENS_AT)
    else if (check) attachBreaker.worked()
    return { apiKeyId, createdAt, existed: wasEnabled && outcome === 'existed' }
  } catch (error) {
    // Whatever the error says, the key itself exists.
    if (!(error instanceof ServiceError)) throw error
    throw changed(error, { effect: 'possible' })
  }
}

/** The looks of the check after the response, over 4 seconds. */
const LOOKS = 6

/**
 * Verifies, now and then and after the response, that an attachment that returned 201 attached the key. No caller waits for
 * this check, because a 201 is relied on. A key that is not listed is attached once more; if it was really not attached, and
 * not only listed late, the breaker opens, so that every later attachment is verified.
 */
async function checkAttachment(
  { apiGateway, lowPriorityApiGateway, attachBreaker, log, timing }: MintDeps,
  { registration: { id, usagePlanId } }: PendingMint,
  keyId: string,
): Promise<void> {
  const signal = AbortSignal.timeout(timing.undo)
  const keyName = keyNamePrefix([id])
  const look = async () => {
    const found = await lowPriorityApiGateway.findAttached(usagePlanId, keyName, signal)
    return found.find((key) => key.id === keyId)
  }
  try {
    if ((await untilSeen(look, signal, LOOKS)) !== undefined) return
    const outcome = await apiGateway.attachKey({ keyId, keyName, usagePlanId, check: true }, signal)
    if (outcome !== 'existed') attachBreaker.failed(notHeld(keyId), OPENS_AT)
  } catch (err) {
    log.error({ registration_id: id, api_key_id: keyId, err }, 'could not verify attachment')
  }
}

function notHeld(keyId: string): Error {
  return new Error(`CreateUsagePlanKey returned 201 for ${keyId}, but did not attach it`)
}
