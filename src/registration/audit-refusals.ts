import type { Clock } from '../clock.ts'
import type { ErrorCode } from '../error-catalogue.ts'
import type { Log } from '../log.ts'
import type { Actor, AuditEntry } from '../store/audit.ts'
import type { Store } from '../store/store.ts'

/** A rejected request whose token is known. */
export interface Refusal {
  readonly actor: Actor
  readonly code: ErrorCode
  readonly tokenId: string
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
   */
  record(refusal: Refusal): Promise<void>
}

interface Waiting {
  readonly entry: AuditEntry
  readonly done: () => void
}

/** Writes refusals that arrive during a write together in the next one, so that a flood of them costs few commits. */
export function createRefusals({ store, clock, log }: { store: Store; clock: Clock; log: Log }): Refusals {
  let waiting: Waiting[] = []
  let writing = false

  async function writeAll(): Promise<void> {
    writing = true
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
    writing = false
  }

  return {
    record({ actor, code, tokenId, registrationId }) {
      // A store that cannot be used cannot record this either. The rejected request is in the log.
      if (code === 'store_unavailable') return Promise.resolve()
      const entry: AuditEntry = {
        at: clock(),
        actor,
        action: 'request.refused',
        detail: code,
        tokenId,
        registrationId,
        apiKeyId: null,
      }
      return new Promise((resolve) => {
        const timer = setTimeout(resolve, MAX_WAIT_MS)
        const done = () => {
          clearTimeout(timer)
          resolve()
        }
        waiting.push({ entry, done })
        if (!writing) void writeAll()
      })
    },
  }
}
