import { setTimeout as sleep } from 'node:timers/promises'
import { byGroup, keyNamePrefix, registrationIdOf } from '../key-names.ts'
import { completeWhenReady } from './await-ready.ts'
import { fail } from './complete.ts'
import type { MintDeps } from './mint-deps.ts'
import type { PendingMint } from './mint-request.ts'
import { mintOneByOne } from './mint-single.ts'

/** The time before imported keys that are not listed on their plans are looked up again, in milliseconds. */
const SECOND_LOOK_MS = 500

/**
 * Completes imported registrations once GetUsagePlanKeys lists their keys on their plans, which also returns the keys' ids.
 * Keys that an import did not attach are minted one at a time. Never throws: registrations that fail are undone, and their
 * requests rejected.
 */
export async function verifyImport(
  deps: MintDeps,
  mints: readonly PendingMint[],
  signal: AbortSignal,
): Promise<void> {
  let missing = mints
  try {
    missing = await completeAttached(deps, mints, signal)
    if (missing.length === 0) return
    await sleep(SECOND_LOOK_MS, undefined, { signal })
    missing = await completeAttached(deps, missing, signal)
    if (missing.length === 0) return
    const seen = `${mints.length - missing.length} of ${mints.length}`
    deps.importBreaker.open(new Error(`ImportApiKeys succeeded, but GetUsagePlanKeys lists ${seen} keys`))
    await mintOneByOne(deps, missing, signal)
  } catch (error) {
    await fail(deps, missing, error)
  }
}

/** Completes the registrations whose keys are attached. @returns the others */
async function completeAttached(
  deps: MintDeps,
  mints: readonly PendingMint[],
  signal: AbortSignal,
): Promise<PendingMint[]> {
  const queries = byGroup(mints, ({ id }) => id).flatMap((group) => {
    const prefix = keyNamePrefix(group.map(({ id }) => id))
    const plans = new Set(group.map(({ registration }) => registration.usagePlanId))
    return [...plans].map(async (usagePlanId) => {
      const found = await deps.apiGateway.findAttached(usagePlanId, prefix, signal)
      return found.map(({ id, name }) => [`${usagePlanId} ${registrationIdOf(name)}`, id] as const)
    })
  })
  const attached = new Map((await Promise.all(queries)).flat())
  const minted = []
  const missing = []
  for (const mint of mints) {
    const apiKeyId = attached.get(`${mint.registration.usagePlanId} ${mint.id}`)
    if (apiKeyId === undefined) missing.push(mint)
    else minted.push({ mint, apiKeyId })
  }
  await completeWhenReady(deps, minted)
  return missing
}
