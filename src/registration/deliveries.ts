import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { isInDoubt, isUndelivered } from './lifecycle.ts'
import type { Timing } from './timing.ts'

/** Records which responses reached their callers: after the response, several together. */
export interface Deliveries {
  /** Notes that the response with the key of this registration or rotation was sent. It is recorded soon afterwards. */
  note(id: string): void
  /**
   * Notes that the caller presented the management token of this registration, which only the response contains. Where the
   * registration is in doubt, it resolves once that is recorded: recovery may be about to undo it.
   * @returns the registration as it is now
   * @throws ServiceError of the store
   */
  confirm(registration: Registration): Promise<Registration>
  /** Records everything that was noted. If the store fails, the rest stays in doubt. */
  flush(): Promise<void>
}

export interface DeliveriesDeps {
  readonly store: Pick<Store, 'markDelivered' | 'getRegistration'>
  readonly clock: Clock
  readonly timing: Pick<Timing, 'deliver' | 'deliverRetry' | 'inDoubtAfter'>
  readonly log: Log
}

/** The maximum number of deliveries that are recorded at once: a longer write would delay other requests. */
const AT_ONCE = 500
/** The maximum number of deliveries that wait to be recorded. Further ones stay in doubt. */
const MAX_WAITING = 50_000

export function createDeliveries({ store, clock, timing, log }: DeliveriesDeps): Deliveries {
  const waiting = new Set<string>()
  let timer: NodeJS.Timeout | undefined
  let writing: Promise<boolean> | undefined

  function schedule(ms: number): void {
    timer ??= setTimeout(() => {
      timer = undefined
      void write()
    }, ms).unref()
  }

  /** Records some of those that wait, in one write at a time. @returns `false`: the store failed */
  async function write(): Promise<boolean> {
    writing ??= writeSome().finally(() => {
      writing = undefined
    })
    return writing
  }

  async function writeSome(): Promise<boolean> {
    const ids = [...waiting.keys().take(AT_ONCE)]
    try {
      await store.markDelivered(ids, clock())
    } catch (err) {
      log.warn({ err, count: waiting.size }, 'could not record deliveries; will retry')
      schedule(timing.deliverRetry)
      return false
    }
    for (const id of ids) waiting.delete(id)
    if (waiting.size > 0) schedule(timing.deliver)
    return true
  }

  function note(id: string): void {
    if (waiting.size >= MAX_WAITING) return
    waiting.add(id)
    schedule(timing.deliver)
  }

  return {
    note,
    async confirm(registration) {
      if (!isUndelivered(registration)) return registration
      const { id } = registration
      if (!isInDoubt(registration, clock() - timing.inDoubtAfter)) {
        note(id)
        return registration
      }
      await store.markDelivered([id], clock())
      return (await store.getRegistration(id)) ?? registration
    },
    async flush() {
      while (waiting.size > 0) if (!(await write())) break
      clearTimeout(timer)
      timer = undefined
    },
  }
}
