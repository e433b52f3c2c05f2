import type { BootstrapToken, Registration } from './records.ts'

/**
 * Single records by their ids. Reads only. Each read returns what was committed before it started.
 *
 * Errors of every method: see {@link Store}.
 */
export interface RecordReader {
  /** The bootstrap token with this id. */
  getToken(id: string): Promise<BootstrapToken | undefined>
  /** The registration or rotation with this id. */
  getRegistration(id: string): Promise<Registration | undefined>
  /** The rotations that were begun for a registration, oldest first; those of the same millisecond by id. */
  listRotations(registrationId: string): Promise<Registration[]>
}
