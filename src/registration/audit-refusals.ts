import type { Clock } from '../clock.ts'
import type { ErrorCode } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Actor, AuditEntry } from '../store/audit.ts'
import type { Store } from '../store/store.ts'

/** A refusal of somebody whose token is known. */
export interface Refusal {
  readonly actor: Actor
  readonly code: ErrorCode
  readonly tokenId: string
  /** Whose management token it was; `null`: it was a bootstrap token. */
  readonly registrationId: string | null
}

/** An answer does not wait longer (ms) until its refusal is recorded: a store that is slow may be why it is one. */
const PATIENCE_MS = 1_000

/** The refusals in the audit trail. */
export interface Refusals {
  /** Resolves when it is recorded, takes long, or could not be, which is in the log: a refusal stays a refusal. */
  record(refusal: Refusal): Promise<void>
}

interface Waiting {
  readonly entry: AuditEntry
  readonly done: () => void
}

/** Those that come while others are written are written together: a flood of them costs few commits. */
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
        log.error({ err, count: batch.length, refusals }, 'refusals could not be recorded')
      }
      for (const { done } of batch) done()
    }
    writing = false
  }

  return {
    record({ actor, code, tokenId, registrationId }) {
      // The store that could not be used then cannot record it either; it is in the log.
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
        const timer = setTimeout(resolve, PATIENCE_MS)
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
