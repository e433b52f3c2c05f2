import pLimit from 'p-limit'
import type { MintDeps } from '../deps.ts'
import { keyNamePrefix } from '../key-names.ts'
import { completeWhenReady } from './await-ready.ts'
import { fail } from './complete.ts'
import { mint } from './mint-key.ts'
import { callerGone, isAwaited, noteFailure, type PendingMint } from './mint-request.ts'

/**
 * How many are minted side by side where imports cannot be used: one is attached while others are created, and more
 * would only wait.
 */
export const SINGLE_AT_ONCE = 4

/**
 * From `pending` to the answer, for one: CreateApiKey and CreateUsagePlanKey. Safe to repeat for a registration that was
 * begun earlier: the key's value and name are the same. Never throws: what fails is undone and answered.
 * @returns why it failed; `undefined` where it did not
 */
export async function mintSingle(deps: MintDeps, work: PendingMint, signal: AbortSignal): Promise<unknown> {
  const { apiGateway, attaches } = deps
  const { registration, answer, order } = work
  if (registration.idempotency === null && !isAwaited(order)) {
    const error = callerGone()
    await fail(deps, [work], error)
    return error
  }
  const check = !attaches.holds()
  try {
    const keyOrder = { registration, apiKeyValue: answer.apiKeyValue, check }
    const apiKeyId = await mint(apiGateway, keyOrder, signal)
    const completed = await completeWhenReady(deps, [{ work, apiKeyId }])
    if (!completed.has(work.id)) return callerGone()
    if (!check && attaches.testDue()) deps.afterwards(() => testAttach(deps, work, apiKeyId))
    return undefined
  } catch (error) {
    noteFailure([work], error)
    await fail(deps, [work], error)
    return error
  }
}

/** As {@link mintSingle} for many, some at once. What is left when `signal` ends it is undone together. */
export async function mintOneByOne(
  deps: MintDeps,
  works: readonly PendingMint[],
  signal: AbortSignal,
): Promise<void> {
  const line = pLimit(SINGLE_AT_ONCE)
  const left: PendingMint[] = []
  await Promise.all(
    works.map((work) => line(() => (signal.aborted ? void left.push(work) : mintSingle(deps, work, signal)))),
  )
  await fail(deps, left, callerGone())
}

/**
 * Now and then, after the answer, looks whether an attach that said 201 did attach: the word of API Gateway is taken
 * so that nobody waits for this look. Where it is not true the key is mended at once, and every later attach checked.
 */
async function testAttach(
  { apiGateway, lowPriorityApiGateway, attaches, log, timing }: MintDeps,
  { registration: { id, usagePlanId } }: PendingMint,
  keyId: string,
): Promise<void> {
  const signal = AbortSignal.timeout(timing.undo)
  const prefix = keyNamePrefix([id])
  try {
    const found = await lowPriorityApiGateway.findAttached(usagePlanId, prefix, signal)
    if (found.some((key) => key.id === keyId)) return
    attaches.lose(
      new Error(`CreateUsagePlanKey said 201 for ${keyId}, but GetUsagePlanKeys does not list it`),
    )
    await apiGateway.attachKey({ keyId, keyName: prefix, usagePlanId, check: true }, signal)
  } catch (err) {
    log.error({ registration_id: id, api_key_id: keyId, err }, 'could not see whether a key is on its plan')
  }
}
