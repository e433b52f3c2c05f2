import { setTimeout as sleep } from 'node:timers/promises'
import type { MintDeps } from '../deps.ts'
import { byGroup, keyNamePrefix, registrationIdOf } from '../key-names.ts'
import { completeWhenReady } from './await-ready.ts'
import { fail } from './complete.ts'
import type { PendingMint } from './mint-request.ts'
import { mintOneByOne } from './mint-single.ts'

/** How long to wait for keys that were imported and are not shown on their plans yet, in milliseconds. */
const SECOND_LOOK_MS = 500

/**
 * Imported keys are handed out only when GetUsagePlanKeys shows them on their plans, which also tells their ids. Those
 * that an import left off their plans are repaired one at a time. Never throws: what fails is undone and answered.
 */
export async function confirm(
  deps: MintDeps,
  works: readonly PendingMint[],
  signal: AbortSignal,
): Promise<void> {
  let missing = works
  try {
    missing = await completeAttached(deps, works, signal)
    if (missing.length === 0) return
    await sleep(SECOND_LOOK_MS, undefined, { signal })
    missing = await completeAttached(deps, missing, signal)
    if (missing.length === 0) return
    const seen = `${works.length - missing.length} of ${works.length}`
    deps.imports.lose(new Error(`ImportApiKeys succeeded, but GetUsagePlanKeys lists ${seen} keys`))
    await mintOneByOne(deps, missing, signal)
  } catch (error) {
    await fail(deps, missing, error)
  }
}

/** Completes those whose keys are on their plans; answers the others. */
async function completeAttached(
  deps: MintDeps,
  works: readonly PendingMint[],
  signal: AbortSignal,
): Promise<PendingMint[]> {
  const queries = byGroup(works, ({ id }) => id).flatMap((group) => {
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
  for (const work of works) {
    const apiKeyId = attached.get(`${work.registration.usagePlanId} ${work.id}`)
    if (apiKeyId === undefined) missing.push(work)
    else minted.push({ work, apiKeyId })
  }
  await completeWhenReady(deps, minted)
  return missing
}
