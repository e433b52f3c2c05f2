import type { BootstrapToken, Registration } from './records.ts'

/**
 * The part of the store that authentication calls: whose secret a request presents, and how often.
 *
 * Errors of every method: see {@link Store}.
 */
export interface AuthenticationStore {
  /** Finds a bootstrap token by the SHA-256 of its secret. Reads only. */
  findTokenByHash(secretHash: Uint8Array): Promise<BootstrapToken | undefined>
  /**
   * Finds the registration whose present management token has this SHA-256. Reads only. May lag behind by
   * {@link OperatorStore.listingLagMs}: read the registration by its id where that is known.
   */
  findByManagementHash(managementHash: Uint8Array): Promise<Registration | undefined>
  /**
   * Counts a request with a bootstrap token across all processes. Windows are counted separately: a process whose clock is
   * behind does not reset the count of a newer window. Counts of older windows may be dropped.
   *
   * Atomic as a whole. A crash, or a call repeated after a lost response, may leave the request counted once too often.
   * @param window a number that all requests counted together share, and that grows with time
   * @returns the number of requests in this window, including this one
   */
  countRequest(tokenId: string, window: number): Promise<number>
}
