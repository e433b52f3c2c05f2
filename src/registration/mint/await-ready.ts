import { setTimeout as sleep } from 'node:timers/promises'
import { carryQuota } from '../carry-quota.ts'
import type { KeyProbe } from '../data-plane/key-probe.ts'
import type { RegistrationDeps } from '../deps.ts'
import { complete, fail, type Minted } from './complete.ts'
import type { AwaitReady, MintDeps } from './mint-deps.ts'
import { heldUntil } from './mint-request.ts'

/** Registrations that become due within this time (ms) are completed together: many callers have the same deadline. */
const GATHER_MS = 20

/**
 * Creates the function that holds registrations until the API accepts their keys. A held registration stays pending under
 * its lease: after a failure or a crash it ends like any other that was not answered.
 */
export function createAwaitReady(deps: RegistrationDeps, keyProbe: KeyProbe): AwaitReady {
  const { leases } = deps
  let due: { readonly minted: Minted[]; readonly completed: Promise<unknown> } | undefined

  function completeTogether(one: Minted): Promise<unknown> {
    if (due === undefined) {
      const minted: Minted[] = []
      const completed = sleep(GATHER_MS).then(() => {
        due = undefined
        return complete(deps, minted)
      })
      due = { minted, completed }
    }
    due.minted.push(one)
    return due.completed
  }

  return async ({ mint, apiKeyId }) => {
    const { secrets, request, owner, registration } = mint
    leases.keep(owner)
    try {
      const key = { keyId: apiKeyId, value: secrets.apiKeyValue, tokenId: registration.tokenId }
      const ready = await keyProbe.untilAccepted(key, () => heldUntil(request))
      await completeTogether({ mint, apiKeyId, ready })
    } finally {
      leases.drop(owner)
    }
  }
}

/**
 * Completes registrations: at once, or, for callers that wait for a key that the API accepts, when it does. The key of a
 * rotation first gets what is left of its registration's quota; a rotation for which that fails is undone. Never throws.
 * @returns the ids of those that became `active` or are held
 */
export async function completeWhenReady(deps: MintDeps, minted: readonly Minted[]): Promise<Set<string>> {
  const { own = [], rotations = [] } = Object.groupBy(minted, ({ mint }) =>
    mint.registration.rotation === null ? 'own' : 'rotations',
  )
  // Registrations do not wait for the quota of a rotation.
  const completed = await Promise.all([
    completeOrHold(deps, own),
    ...rotations.map(async (one) => {
      if (await carried(deps, one)) return completeOrHold(deps, [one])
      return new Set<string>()
    }),
  ])
  return completed.reduce((all, some) => all.union(some), new Set<string>())
}

async function completeOrHold(deps: MintDeps, minted: readonly Minted[]): Promise<Set<string>> {
  const { awaitReady } = deps
  if (awaitReady === null) return complete(deps, minted)
  const { now = [], later = [] } = Object.groupBy(minted, ({ mint }) =>
    heldUntil(mint.request) === null ? 'now' : 'later',
  )
  for (const one of later) deps.afterResponse(() => awaitReady(one))
  const completed = await complete(deps, now)
  return new Set([...completed, ...later.map(({ mint }) => mint.id)])
}

/** Carries the quota to the key of a rotation. @returns `false`: that failed, and the rotation is undone */
async function carried(deps: MintDeps, { mint, apiKeyId }: Minted): Promise<boolean> {
  try {
    await carryQuota(deps, mint.registration, apiKeyId, AbortSignal.timeout(deps.timing.undo))
    return true
  } catch (error) {
    mint.keyMayExist = true
    await fail(deps, [mint], error)
    return false
  }
}
