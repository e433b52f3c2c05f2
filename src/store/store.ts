import type { AuditTrail } from './audit.ts'
import type { AuthenticationStore } from './authentication.ts'
import type { FederationStore } from './federation.ts'
import type { MintingStore } from './minting.ts'
import type { OperatorStore } from './operators.ts'
import type { OwnerStore } from './owners.ts'
import type { PoolStore } from './pool.ts'
import type { RecordReader } from './record-reader.ts'
import type { RestoreStore } from './restores.ts'
import type { SuspensionStore } from './suspensions.ts'
import type { UpkeepStore } from './upkeep.ts'

/**
 * Everything that the service stores, as one role interface for each kind of caller. An implementation is complete when it
 * passes the contract suite (`test/store/*-contract.ts`).
 *
 * **Durable.** A write is durable, and visible to reads by id in every process, when its promise resolves.
 *
 * **Atomic.** Each writing method says whether it is atomic as a whole or per item, and what a crash in between leaves. A
 * change and its audit entry are always written together, attributed to the `actor`, or to the service itself where a
 * method takes none. Two processes that change the same item exclude each other: the conditions that a method names are
 * checked in the write itself.
 *
 * **Reads only.** A method that says so writes nothing, under no circumstances.
 *
 * **Errors.** Every method except `close` throws ServiceError `store_unavailable` if the store cannot be read or written
 * now, and `upstream_throttled` if the database asks to slow down (DynamoDB only); both with `retryAfter`. A record that
 * does not have the shape it was written with is an Error that names the record, not a ServiceError. Methods name further
 * errors themselves.
 */
export interface Store
  extends RecordReader,
    AuthenticationStore,
    FederationStore,
    MintingStore,
    OwnerStore,
    SuspensionStore,
    OperatorStore,
    UpkeepStore,
    PoolStore,
    RestoreStore,
    AuditTrail {
  /**
   * The id of this store among all others (see `store-id.ts`). It is random, made when the store is first opened, and the
   * same in every process, in a backup, and in a copy.
   *
   * Atomic: of two processes that first open a store at once, one makes the id.
   */
  readonly id: string
  /** Resolves if the store answers and can be written to. Writes at most a record of its own. */
  ping(): Promise<void>
  /** Closes all connections. Call no other method afterwards. */
  close(): Promise<void>
}
