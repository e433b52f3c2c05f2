import { setTimeout as sleep } from 'node:timers/promises'
import type { KeyProbe } from '../data-plane/key-probe.ts'
import type { RegistrationDeps } from '../deps.ts'
import { complete, type Minted } from './complete.ts'
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
 * Completes registrations: at once, or, for callers that wait for a key that the API accepts, when it does.
 * @returns the ids of those that became `active` or are held
 */
export async function completeWhenReady(deps: MintDeps, minted: readonly Minted[]): Promise<Set<string>> {
  const { awaitReady } = deps
  if (awaitReady === null) return complete(deps, minted)
  const { now = [], later = [] } = Object.groupBy(minted, ({ mint }) =>
    heldUntil(mint.request) === null ? 'now' : 'later',
  )
  for (const one of later) deps.afterResponse(() => awaitReady(one))
  const completed = await complete(deps, now)
  return new Set([...completed, ...later.map(({ mint }) => mint.id)])
}
