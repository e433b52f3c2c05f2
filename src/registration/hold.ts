import type { BatchDeps } from './context.ts'
import { complete, type Minted } from './finish.ts'
import { isAwaited } from './order.ts'

/**
 * Completes registrations: at once, or, where the caller would rather wait for a key that works, when the API takes it or
 * the time is over. Those stay pending meanwhile, under their lease: whatever breaks, they end as any other does that was
 * not answered.
 * @returns the ids of those that became `active`, or wait to become so
 */
export async function completeInTime(deps: BatchDeps, minted: readonly Minted[]): Promise<Set<string>> {
  const { now = [], later = [] } = Object.groupBy(minted, ({ work }) =>
    deps.acceptance === null || work.order.call.readyBy === null ? 'now' : 'later',
  )
  for (const one of later) deps.afterwards(() => completeWhenReady(deps, one))
  const completed = await complete(deps, now)
  return new Set([...completed, ...later.map(({ work }) => work.id)])
}

async function completeWhenReady(deps: BatchDeps, { work, apiKeyId }: Minted): Promise<void> {
  const { acceptance, leases } = deps
  const { answer, order, owner } = work
  leases.keep(owner)
  try {
    const key = { keyId: apiKeyId, value: answer.apiKeyValue }
    const ready = await acceptance?.untilTaken(key, order.call.readyBy ?? 0, () => isAwaited(order))
    await complete(deps, [{ work, apiKeyId, ready: ready ?? null }])
  } finally {
    leases.drop(owner)
  }
}
