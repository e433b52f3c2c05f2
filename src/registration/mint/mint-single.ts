import pLimit from 'p-limit'
import type { ApiGateway } from '../../aws/api-gateway.ts'
import { ServiceError } from '../../errors.ts'
import { keyName, keyNamePrefix } from '../key-names.ts'
import { completeWhenReady } from './await-ready.ts'
import { fail, failUnawaited } from './complete.ts'
import type { MintDeps } from './mint-deps.ts'
import { isAwaited, notAwaited, noteFailure, type PendingMint } from './mint-request.ts'

/**
 * Registrations that are minted side by side where imports cannot be used: one is attached while others are created, and
 * more would only wait.
 */
export const SINGLE_AT_ONCE = 4

/**
 * Mints the key of one pending registration with CreateApiKey and CreateUsagePlanKey, and completes it. Safe to repeat for a
 * registration that was begun earlier: the key's value and name are the same. Never throws: a registration that fails is
 * undone, and its request rejected.
 * @returns the error; `undefined`: it is completed or held
 */
export async function mintSingle(deps: MintDeps, mint: PendingMint, signal: AbortSignal): Promise<unknown> {
  const { apiGateway, attachBreaker } = deps
  if (mint.registration.idempotency === null && !isAwaited(mint.request)) {
    const error = notAwaited(mint.request)
    await fail(deps, [mint], error)
    return error
  }
  const check = !attachBreaker.isClosed()
  try {
    const apiKeyId = await createAttachedKey(apiGateway, mint, check, signal)
    const completed = await completeWhenReady(deps, [{ mint, apiKeyId }])
    if (!completed.has(mint.id)) return notAwaited(mint.request)
    if (!check && attachBreaker.isCheckDue()) deps.afterResponse(() => checkAttachment(deps, mint, apiKeyId))
    return undefined
  } catch (error) {
    noteFailure([mint], error)
    await fail(deps, [mint], error)
    return error
  }
}

/** Mints each registration as {@link mintSingle}, several at once. Those that `signal` prevents are undone together. */
export async function mintOneByOne(
  deps: MintDeps,
  mints: readonly PendingMint[],
  signal: AbortSignal,
): Promise<void> {
  const limit = pLimit(SINGLE_AT_ONCE)
  const left: PendingMint[] = []
  await Promise.all(
    mints.map((mint) =>
      limit(() => (signal.aborted ? void left.push(mint) : mintSingle(deps, mint, signal))),
    ),
  )
  await failUnawaited(deps, left)
}

/**
 * Creates an enabled key and attaches it to its plan.
 * @param check verify the attachment, whatever API Gateway responds
 * @returns the key's id in API Gateway
 * @throws ServiceError; API Gateway may then hold a key, attached or not
 */
async function createAttachedKey(
  apiGateway: ApiGateway,
  { registration, secrets }: PendingMint,
  check: boolean,
  signal: AbortSignal,
): Promise<string> {
  const { id, description, usagePlanId } = registration
  const key = { name: keyName(registration), description, value: secrets.apiKeyValue }
  const keyId = await apiGateway.createKey(key, signal)
  try {
    await apiGateway.attachKey({ keyId, keyName: keyNamePrefix([id]), usagePlanId, check }, signal)
    return keyId
  } catch (error) {
    // Whatever the attachment's error says, the key itself exists.
    if (!(error instanceof ServiceError)) throw error
    const { code, message, retryAfter, cause } = error
    throw new ServiceError(code, message, { retryAfter, cause, effect: 'possible' })
  }
}

/**
 * Verifies, now and then and after the response, that an attachment that returned 201 attached the key. No caller waits for
 * this check, because a 201 is relied on. If the key is not attached, it is attached at once and the breaker opens, so that
 * every later attachment is verified.
 */
async function checkAttachment(
  { apiGateway, lowPriorityApiGateway, attachBreaker, log, timing }: MintDeps,
  { registration: { id, usagePlanId } }: PendingMint,
  keyId: string,
): Promise<void> {
  const signal = AbortSignal.timeout(timing.undo)
  const prefix = keyNamePrefix([id])
  try {
    const found = await lowPriorityApiGateway.findAttached(usagePlanId, prefix, signal)
    if (found.some((key) => key.id === keyId)) return
    attachBreaker.open(
      new Error(`CreateUsagePlanKey returned 201 for ${keyId}, but GetUsagePlanKeys does not list it`),
    )
    await apiGateway.attachKey({ keyId, keyName: prefix, usagePlanId, check: true }, signal)
  } catch (err) {
    log.error({ registration_id: id, api_key_id: keyId, err }, 'could not verify attachment')
  }
}
