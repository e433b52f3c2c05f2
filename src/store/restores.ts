/**
 * The part of the store that remembers that it was restored from a backup: what happened after the backup is unknown, and what
 * was unfinished in it may have been answered since.
 *
 * Errors of every method: see {@link Store}.
 */
export interface RestoreStore {
  /**
   * Returns the time of the backup from which the store was restored, until that is accepted; `null`: there is none. Records
   * that were created later were written after the restore. Reads only.
   */
  findRestore(): Promise<number | null>
  /** Records that an operator dealt with the restore from the backup of this time. Atomic. */
  acceptRestore(asOf: number): Promise<void>
}
