import type { ApiGateway } from '../../aws/api-gateway.ts'
import type { AwsCall } from '../../aws/client.ts'
import type { ImportOutcome, KeyToImport } from '../../aws/import-keys.ts'
import type { FoundKey } from '../../aws/keys.ts'

/** When a change was seen: at `seenAt`, and not yet at `notYetAt`. On the clock of `performance.now()`; `null`: never. */
export interface Sighting {
  seenAt: number | null
  notYetAt: number | null
}

/** A key of an import, as API Gateway showed it afterwards. `null`: not seen yet. */
export interface WatchedKey {
  readonly name: string
  id: string | null
  /** The import left it enabled; it attached it to the plan. */
  enabled: boolean | null
  attached: boolean | null
  readonly inApiKeys: Sighting
  readonly inPlanKeys: Sighting
}

/** An import, with its attempts as they were sent. */
export interface WatchedImport {
  readonly outcome: ImportOutcome['outcome'] | 'failed'
  /** In the order of the rows. */
  readonly keys: readonly WatchedKey[]
  /** In the order of the answer. */
  readonly ids: readonly string[]
  readonly attempts: readonly AwsCall[]
  readonly endedAt: number
}

export interface MintingWatch {
  /** Calls that do the same as those that are watched. */
  readonly apiGateway: ApiGateway
  readonly imports: readonly WatchedImport[]
  /** When each key was attached by a call of its own, by its id. */
  readonly attachedAt: ReadonlyMap<string, number>
}

/**
 * Watches how the mint queue makes keys: what each import answered, what the looks after it showed, and what had to be repaired.
 * @param calls all attempts so far; it grows
 * @param onImported is called at the answer to each import, before any look
 */
export function watchMinting(
  apiGateway: ApiGateway,
  calls: readonly AwsCall[],
  onImported: (rows: readonly KeyToImport[], at: number) => void,
): MintingWatch {
  const imports: WatchedImport[] = []
  const attachedAt = new Map<string, number>()
  const byName = new Map<string, WatchedKey>()
  /** The attempts that belong to imports that ended: an import may have waited for another one. */
  let counted = 0
  const keysWith = (prefix: string) => [...byName.values()].filter(({ name }) => name.startsWith(prefix))

  /** Notes what a look at a list showed of the keys with this prefix. */
  function note<T extends FoundKey>(
    prefix: string,
    found: readonly T[],
    list: 'inApiKeys' | 'inPlanKeys',
    startedAt: number,
    onSeen: (key: WatchedKey, seen: T) => void,
  ): void {
    const shown = new Map(found.map((key) => [key.name, key]))
    for (const key of keysWith(prefix)) {
      const seen = shown.get(key.name)
      if (key[list].seenAt !== null) continue
      if (seen === undefined) key[list].notYetAt = startedAt
      else {
        key[list].seenAt = performance.now()
        key.id = seen.id
        onSeen(key, seen)
      }
    }
  }

  return {
    imports,
    attachedAt,
    apiGateway: {
      ...apiGateway,
      async importKeys(rows, signal) {
        const keys = rows.map(({ name }) => newWatchedKey(name))
        for (const key of keys) byName.set(key.name, key)
        const callsBefore = calls.length
        const end = (outcome: WatchedImport['outcome'], ids: readonly string[] = []) => {
          const own = calls.slice(Math.max(callsBefore, counted))
          const attempts = own.filter(({ operation }) => operation === 'ImportApiKeys')
          counted = calls.length
          const endedAt = performance.now()
          imports.push({ outcome, keys, ids, attempts, endedAt })
          if (outcome === 'imported') onImported(rows, endedAt)
        }
        try {
          const result = await apiGateway.importKeys(rows, signal)
          end(result.outcome, result.outcome === 'imported' ? result.ids : [])
          return result
        } catch (error) {
          end('failed')
          throw error
        }
      },
      async findKeys(prefix, signal) {
        const startedAt = performance.now()
        const found = await apiGateway.findKeys(prefix, signal)
        note(prefix, found, 'inApiKeys', startedAt, (key, { enabled }) => {
          key.enabled ??= enabled
        })
        return found
      },
      async findAttached(usagePlanId, prefix, signal) {
        const startedAt = performance.now()
        const found = await apiGateway.findAttached(usagePlanId, prefix, signal)
        note(prefix, found, 'inPlanKeys', startedAt, (key) => {
          key.attached ??= true
        })
        return found
      },
      // The rest repairs keys of an import, or makes keys without one.
      async createKey(order, signal) {
        const created = await apiGateway.createKey(order, signal)
        const key = byName.get(order.name)
        if (key !== undefined) key.enabled ??= created.existed
        return created
      },
      async ensureEnabled(id, signal) {
        const was = await apiGateway.ensureEnabled(id, signal)
        for (const key of byName.values()) if (key.id === id) key.enabled ??= was
        return was
      },
      async attachKey(attachment, signal) {
        const outcome = await apiGateway.attachKey(attachment, signal)
        attachedAt.set(attachment.keyId, performance.now())
        for (const key of keysWith(attachment.keyName)) key.attached ??= outcome === 'existed'
        return outcome
      },
    },
  }
}

function newWatchedKey(name: string): WatchedKey {
  const never = () => ({ seenAt: null, notYetAt: null })
  return {
    ...{ name, id: null, enabled: null, attached: null },
    ...{ inApiKeys: never(), inPlanKeys: never() },
  }
}

/**
 * Names the order of an import's ids. `rows`: that of the rows; `reversed`; `sorted`: that of the ids themselves. `null`: two
 * keys or fewer, or a key that was not seen, say nothing.
 */
export function orderOf({ keys, ids }: WatchedImport): 'rows' | 'reversed' | 'sorted' | 'other' | null {
  const byRow = keys.flatMap(({ id }) => id ?? [])
  if (byRow.length < 3 || byRow.length < keys.length || ids.length === 0) return null
  const is = (order: readonly string[]) =>
    order.length === ids.length && order.every((id, i) => id === ids[i])
  if (is(byRow)) return 'rows'
  if (is(byRow.toReversed())) return 'reversed'
  return is(byRow.toSorted()) ? 'sorted' : 'other'
}
