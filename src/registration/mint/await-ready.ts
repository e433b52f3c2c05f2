import { setTimeout as sleep } from 'node:timers/promises'
import type { KeyProbe } from '../data-plane/key-probe.ts'
import type { MintDeps, RegistrationDeps } from '../deps.ts'
import { complete, type Minted } from './complete.ts'
import { heldUntil } from './mint-request.ts'

/** Those that are due within so many milliseconds are completed together: their time is often over at the same moment. */
const GATHER_MS = 20

/** Waits with one whose key is made until the API takes the key or the time is over, and completes it. Never throws. */
export type Hold = (minted: Minted) => Promise<void>

/**
 * Held registrations stay pending, under their lease: whatever breaks meanwhile, they end as any other does that was not
 * answered.
 */
export function createAwaitReady(deps: RegistrationDeps, keyProbe: KeyProbe): Hold {
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

  return async ({ work, apiKeyId }) => {
    const { answer, order, owner, registration } = work
    leases.keep(owner)
    try {
      const key = { keyId: apiKeyId, value: answer.apiKeyValue, tokenId: registration.tokenId }
      const ready = await keyProbe.untilAccepted(key, () => heldUntil(order))
      await completeTogether({ work, apiKeyId, ready })
    } finally {
      leases.drop(owner)
    }
  }
}

/**
 * Completes registrations: at once, or held where their callers would rather wait for a key that works.
 * @returns the ids of those that became `active`, or are held
 */
export async function completeWhenReady(deps: MintDeps, minted: readonly Minted[]): Promise<Set<string>> {
  const { hold } = deps
  if (hold === null) return complete(deps, minted)
  const { now = [], later = [] } = Object.groupBy(minted, ({ work }) =>
    heldUntil(work.order) === null ? 'now' : 'later',
  )
  for (const one of later) deps.afterwards(() => hold(one))
  const completed = await complete(deps, now)
  return new Set([...completed, ...later.map(({ work }) => work.id)])
}
