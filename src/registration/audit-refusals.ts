import { networkOf } from '../client-network.ts'
import type { Clock } from '../clock.ts'
import type { ErrorCode } from '../error-catalogue.ts'
import type { Log } from '../log.ts'
import type { Actor, AuditEntry } from '../store/audit.ts'
import type { Store } from '../store/store.ts'
import { createRefusalCounts, type Repeats } from './count-refusals.ts'
import type { Timing } from './timing.ts'

/** A rejected request whose token is known, or that has an identity token. */
export interface Refusal {
  readonly actor: Actor
  readonly code: ErrorCode
  /** `null`: it was an identity token that stands for no virtual token. */
  readonly tokenId: string | null
  /** The registration whose management token was sent; `null`: it was a bootstrap token. */
  readonly registrationId: string | null
}

/** The longest time by which recording a refusal delays its response (ms). A slow store may have caused it. */
const MAX_WAIT_MS = 1_000

/** Records rejected requests in the audit trail. */
export interface Refusals {
  /**
   * Records a refusal. Resolves when that is done or has failed, but after a second at the latest; the write then
   * continues. Never throws: a failure is logged, and the response stays the same.
   *
   * Repeats with the same token, code and network are counted, and recorded together at the end of a period; without a known
   * token those with the same verified identity, and all with an identity token that could not be verified.
   */
  record(refusal: Refusal): Promise<void>
  /** Records the repeats that were counted so far. Never throws. */
  flush(): Promise<void>
}

export interface RefusalDeps {
  readonly store: Store
  readonly clock: Clock
  readonly timing: Pick<Timing, 'refusals'>
  readonly log: Log
}

interface Waiting {
  readonly entry: AuditEntry
  readonly done: () => void
}

/** The identity of an actor that has no id, as far as it is not the caller's own word: that may be another each time. */
function unknownIdentity({ kind, identity }: Actor): string {
  if (kind !== 'identity' || identity === null) return ''
  const { issuer, claims } = identity
  return Object.keys(claims).length === 0 ? '' : JSON.stringify([issuer, claims])
}

/** Writes refusals that arrive during a write together in the next one, so that a flood of them costs few commits. */
export function createRefusals({ store, clock, timing, log }: RefusalDeps): Refusals {
  let waiting: Waiting[] = []
  let writing = Promise.resolve()
  let isWriting = false
  const counts = createRefusalCounts<Refusal>(
    timing.refusals,
    (repeats) => void write(repeatedEntry(repeats)),
  )

  async function writeAll(): Promise<void> {
    isWriting = true
    while (waiting.length > 0) {
      const batch = waiting
      waiting = []
      try {
        await store.appendAudit(batch.map(({ entry }) => entry))
      } catch (err) {
        const refusals = batch.slice(0, 20).map(({ entry }) => entry)
        log.error({ err, count: batch.length, refusals }, 'could not record rejected requests')
      }
      for (const { done } of batch) done()
    }
    isWriting = false
  }

  function write(entry: AuditEntry): Promise<void> {
    return new Promise((resolve) => {
      waiting.push({ entry, done: resolve })
      if (!isWriting) writing = writeAll()
    })
  }

  function entryOf({ actor, code, tokenId, registrationId }: Refusal): AuditEntry {
    return {
      ...{ at: clock(), actor, action: 'request.refused', detail: code },
      ...{ tokenId, registrationId, apiKeyId: null },
    }
  }

  function repeatedEntry({ refusal, network, count, ms }: Repeats<Refusal>): AuditEntry {
    const entry = entryOf(refusal)
    return {
      ...entry,
      actor: { ...entry.actor, requestId: null, clientAddress: network },
      detail: `${refusal.code}: ${count} more in ${Math.max(1, Math.round(ms / 1_000))} s`,
    }
  }

  return {
    async record(refusal) {
      const { actor, code, registrationId } = refusal
      // A store that cannot be used cannot record this either. The rejected request is in the log.
      if (code === 'store_unavailable') return
      const name = [actor.kind, actor.id, registrationId, code, unknownIdentity(actor)].join(' ')
      if (!counts.isFirst(name, networkOf(actor.clientAddress ?? ''), refusal)) return
      const written = write(entryOf(refusal))
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, MAX_WAIT_MS)
        void written.then(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    },
    async flush() {
      counts.end()
      await writing
    },
  }
}
