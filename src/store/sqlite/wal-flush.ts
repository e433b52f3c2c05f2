import { closeSync, fdatasync, openSync } from 'node:fs'
import type { Log } from '../../log.ts'

/** The flushes of a write-ahead log. They run in a thread of the system's pool, so that a slow disk blocks no other request. */
export interface WalFlush {
  /**
   * Resolves when all that is written to the file now is on the disk. Calls that come while a flush runs share the next one.
   * @throws Error of the file system. What is on the disk stays unknown then, also after a later flush that succeeds
   */
  flushed(): Promise<void>
  /** Returns why a flush failed; `undefined`: none did. */
  whyFailed(): string | undefined
  /** Waits for the flushes that were asked for, and closes the file. */
  close(): Promise<void>
}

/**
 * Opens a write-ahead log to flush it.
 * @param log hears of the first flush that fails
 * @throws Error if the file cannot be opened
 */
export function createWalFlush(file: string, log?: Log): WalFlush {
  // No lock is lost when it is closed: SQLite has those of a WAL database on its other two files.
  const descriptor = openSync(file, 'r+')
  /** The flush that runs, and the one that has to wait for it: the running one may have begun before the latest write. */
  let running: Promise<void> | undefined
  let next: Promise<void> | undefined
  let failure: string | undefined

  function start(): Promise<void> {
    next = undefined
    const flush = new Promise<void>((resolve, reject) => {
      fdatasync(descriptor, (error) => {
        running = undefined
        if (error === null) return resolve()
        if (failure === undefined)
          log?.error({ file, err: error }, 'the store is not used: its disk failed; start the service again')
        failure ??= `${file} could not be flushed: ${error.message}`
        reject(error)
      })
    })
    running = flush
    return flush
  }

  function flushed(): Promise<void> {
    if (running === undefined) return start()
    next ??= running.then(start, start)
    return next
  }

  return {
    flushed,
    whyFailed: () => failure,
    async close() {
      await Promise.allSettled([running, next])
      closeSync(descriptor)
    },
  }
}
