import type { PoolKey } from '../../store/pool.ts'
import type { KeyShelf } from './held-keys.ts'
import type { PoolDeps } from './pool-deps.ts'
import type { WarmKeys } from './warm-keys.ts'

/**
 * Creates the function that forgets keys which others took over while the lease of this process had ended: they, or a
 * registration, have them now.
 * @returns a function of the keys that were here before the records were listed, and of the records. The list may be late
 */
export function createForgetting({ listingLagMs }: PoolDeps['store'], shelf: KeyShelf, warm: WarmKeys) {
  const { owner } = shelf
  /** By id: the time from which the records have said that this process does not hold the key. */
  let foreign: ReadonlyMap<string, number> = new Map()
  return (had: readonly { readonly id: string }[], keys: readonly PoolKey[]): void => {
    const own = new Set(keys.filter(({ holder }) => holder === owner).map(({ id }) => id))
    const now = performance.now()
    foreign = new Map(
      had.filter(({ id }) => !own.has(id)).map(({ id }) => [id, foreign.get(id) ?? now] as const),
    )
    const ids = [...foreign].filter(([, since]) => now - since >= listingLagMs).map(([id]) => id)
    shelf.remove(ids)
    warm.remove(ids)
  }
}
