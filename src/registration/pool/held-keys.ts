/** A key of the pool with its value, which is in the memory of this process alone. */
export interface HeldKey {
  readonly id: string
  /** The name of its plan. */
  readonly plan: string
  readonly usagePlanId: string
  readonly apiKeyId: string
  readonly value: string
  /** The API accepted it several times in a row. */
  readonly seenWorking: boolean
  readonly createdAt: number
}

/** The keys of the pool that this process may hand out. */
export interface HeldKeys {
  /** The holder that the store knows this process as. */
  readonly owner: string
  /** Returns how many keys of a usage plan can be taken now. */
  ready(usagePlanId: string): number
  /** Takes the oldest key of a usage plan. The caller ends that with `putBack`, `handedOut` or `suspect`. */
  take(usagePlanId: string): HeldKey | undefined
  /** Returns a key that was not handed out: it is ready again. */
  putBack(key: HeldKey): void
  /** Forgets a key that was handed out, or that this process does not hold any more. Wakes the refill. */
  handedOut(key: HeldKey): void
  /** Forgets a key that may have been handed out. It returns only if a round of the upkeep finds it in the store. */
  suspect(key: HeldKey): void
}

/** The same keys, for the upkeep. */
export interface KeyShelf extends HeldKeys {
  /** Adds keys that are ready, unless they are here. */
  add(keys: readonly HeldKey[]): void
  /** Returns the keys that can be taken, the oldest first. */
  list(): HeldKey[]
  /** Returns where a key is: `ready`, or taken and `out`; `undefined`: not here. */
  placeOf(id: string): 'ready' | 'out' | undefined
  /** Removes keys that can be taken. @returns those that were here: of a key and its taker, one gets it */
  remove(ids: readonly string[]): HeldKey[]
}

export interface KeyShelfOptions {
  readonly owner: string
  /** Called when a key is gone, so that another is needed. */
  readonly onGone: () => void
}

export function createKeyShelf({ owner, onGone }: KeyShelfOptions): KeyShelf {
  /** By usage plan, the oldest first. */
  const shelves = new Map<string, HeldKey[]>()
  const ready = new Set<string>()
  const taken = new Set<string>()
  const shelfOf = (usagePlanId: string) => shelves.get(usagePlanId) ?? []

  function add(key: HeldKey): void {
    // A key that two rounds found, or that was out meanwhile, must not be here twice.
    if (ready.has(key.id) || taken.has(key.id)) return
    ready.add(key.id)
    const shelf = shelfOf(key.usagePlanId)
    shelves.set(key.usagePlanId, shelf)
    shelf.splice(placeFor(key, shelf), 0, key)
  }

  function gone({ id }: HeldKey): void {
    taken.delete(id)
    onGone()
  }

  return {
    owner,
    ready: (usagePlanId) => shelfOf(usagePlanId).length,
    take(usagePlanId) {
      const key = shelfOf(usagePlanId).shift()
      if (key === undefined) return undefined
      ready.delete(key.id)
      taken.add(key.id)
      return key
    },
    putBack(key) {
      taken.delete(key.id)
      add(key)
    },
    handedOut: gone,
    suspect: gone,
    add(keys) {
      for (const key of keys) add(key)
    },
    list: () => [...shelves.values()].flat().sort((a, b) => a.createdAt - b.createdAt),
    placeOf(id) {
      if (taken.has(id)) return 'out'
      return ready.has(id) ? 'ready' : undefined
    },
    remove(ids) {
      const wanted = new Set(ids.filter((id) => ready.delete(id)))
      if (wanted.size === 0) return []
      const removed: HeldKey[] = []
      for (const [usagePlanId, keys] of shelves) {
        const { out = [], left = [] } = Object.groupBy(keys, ({ id }) => (wanted.has(id) ? 'out' : 'left'))
        removed.push(...out)
        shelves.set(usagePlanId, left)
      }
      return removed
    },
  }
}

/** Returns the index at which a key keeps the order of age. */
function placeFor({ createdAt }: HeldKey, keys: readonly HeldKey[]): number {
  let [from, to] = [0, keys.length]
  while (from < to) {
    const middle = (from + to) >>> 1
    if ((keys[middle]?.createdAt ?? 0) <= createdAt) from = middle + 1
    else to = middle
  }
  return from
}
