import type { Actor } from './audit.ts'
import type { BeginOutcome } from './minting.ts'
import type { NewRegistration, Registration } from './records.ts'

/**
 * The states of a pool key: a key that is made before anyone asks for it.
 *
 * - `making`: recorded; API Gateway may hold the key.
 * - `warming`: the key is enabled and attached to its plan, and not yet known to work.
 * - `ready`: it may be handed out.
 * - `discarding`: it is handed out no more, and its key is being deleted. The record is removed when the key is gone.
 */
export const POOL_KEY_STATES = ['making', 'warming', 'ready', 'discarding'] as const
export type PoolKeyState = (typeof POOL_KEY_STATES)[number]

/** The fields of a pool key that are fixed before API Gateway is called. */
export interface NewPoolKey {
  readonly id: string
  /** The plan's name. */
  readonly plan: string
  readonly usagePlanId: string
  readonly createdAt: number
}

/** A pool key as it is stored: everything except its value, which only the memory of its holder has. */
export interface PoolKey extends NewPoolKey {
  readonly state: PoolKeyState
  /** The key in API Gateway. `null`: it is not known; only while the key is made, or discarded before that was done. */
  readonly apiKeyId: string | null
  /** {@link PoolHolder.owner} of the process that holds the key, which may not run any more; `null`: none. */
  readonly holder: string | null
  /** The data plane has accepted the key several times in a row. */
  readonly seenWorking: boolean
  /** The time at which the key came into its state. */
  readonly changedAt: number
}

/** A process that holds pool keys, or wants to. */
export interface PoolHolder {
  /** Random, and new for each process. */
  readonly owner: string
  /**
   * The end of its time: a holder that does not renew it loses its keys to others. An end that lies too far ahead counts as
   * past, see `hasCome` of `registration/lifecycle.ts`.
   */
  readonly until: number
  /** The numbers of pool keys that the process is configured for, by the plan's name. */
  readonly sizes: Readonly<Record<string, number>>
  /**
   * The reason that holds up the filling of its pool, for the operator: at most {@link MOST_TROUBLE} characters, without secrets. `null`:
   * nothing.
   */
  readonly trouble: string | null
}

/** The longest text of {@link PoolHolder.trouble}, in UTF-16 code units. */
export const MOST_TROUBLE = 400

/** The state of a pool key after the next step of its making. */
export interface PoolKeyAdvance {
  readonly id: string
  /** `warming` from `making`, `ready` from `warming`. */
  readonly to: 'warming' | 'ready'
  readonly apiKeyId: string
  readonly seenWorking: boolean
}

/** A registration or rotation that takes a pool key in place of a key of its own. */
export interface HandOut {
  readonly poolKeyId: string
  /** The holder of the pool key. */
  readonly owner: string
  /** Its plan is that of the pool key, and its id that which follows from the pool key's. */
  readonly registration: NewRegistration
  /** The key in API Gateway, as the record of the pool key names it. */
  readonly apiKeyId: string
  readonly actor: Actor
  /** As in `Completion`: reports, at the moment of writing, whether a caller still waits for the key. */
  readonly isAwaited: () => boolean
}

/** The outcome of a hand-out. Any other than `handed_out` writes nothing, and leaves the pool key as it is. */
export type HandOutOutcome =
  /** `replaced`: as in `Answered` of minting.ts. */
  | { readonly outcome: 'handed_out'; readonly replaced: Registration | null }
  /** The pool key is not `ready`, not held by `owner` any more, or not the key that the hand-out names. */
  | { readonly outcome: 'key_lost' }
  /** No caller waits for the key. */
  | { readonly outcome: 'not_awaited' }
  /** The registration would have expired at `now`. */
  | { readonly outcome: 'expired' }
  | Exclude<BeginOutcome, { readonly outcome: 'begun' }>

/**
 * The part of the store that the pool calls: keys that are made beforehand, so that a registration takes one in one commit.
 *
 * The record of a pool key is written before its key is made, and removed after its key is deleted, or as it is handed out: so
 * API Gateway never has more pool keys than the store has records. No value of a key is stored.
 *
 * "Atomic per key" means: each key changes as a whole or not at all. A crash, or an error, may leave some keys of a call
 * changed and others not. Unless a method says otherwise, repeating it is safe, and ids that are unknown, in another state, or
 * held by another owner are left alone. A holder keeps what it holds until another takes it over, also after its time is over.
 *
 * The ids of a call are distinct, and times are whole milliseconds. In a store that was restored from a backup
 * ({@link RestoreStore.findRestore}) no record of the backup is listed, taken or handed out: its key may have been handed out
 * since.
 *
 * Errors of every method: see {@link Store}.
 */
export interface PoolStore {
  /** Records a holder, or its new end, sizes and trouble. Atomic. */
  renewPoolHolder(holder: PoolHolder): Promise<void>
  /**
   * Removes a holder. Others may take its keys at once.
   *
   * Atomic: a key is not held by it any more, or is handed out before.
   */
  releasePoolHolder(owner: string): Promise<void>
  /** All holders, also those whose time is over, which are removed a day later. Ordered by owner. Reads only. */
  listPoolHolders(): Promise<PoolHolder[]>
  /**
   * All pool keys, oldest first, then by id. Records may be listed late, and those that were removed a little longer, by the
   * time of {@link OperatorStore.listingLagMs}. Reads only.
   */
  listPoolKeys(): Promise<PoolKey[]>

  /**
   * Records new keys of one plan as `making`, held by `owner`: as many of the first as fit, so that the plan has at most `most`
   * records, in whatever state. Ids are new; beginning the same key again is an error.
   *
   * Atomic per key: of two processes that fill the pool at once, neither exceeds `most`. If it throws, some may be recorded.
   * @returns the ids of those that are recorded
   */
  beginPoolKeys(keys: readonly NewPoolKey[], owner: string, most: number): Promise<Set<string>>
  /**
   * Moves keys that `owner` holds to their next state. From `warming` to `ready` only if `apiKeyId` is that of the record.
   *
   * Atomic per key.
   * @returns the ids of those that moved
   */
  advancePoolKeys(changes: readonly PoolKeyAdvance[], owner: string, now: number): Promise<Set<string>>
  /**
   * Moves keys that `owner` holds from any other state to `discarding`. Write it before the first deletion: from here on the
   * key is not handed out.
   *
   * Atomic per key: of this and a hand-out, one wins.
   * @returns the ids of those that moved
   */
  discardPoolKeys(ids: readonly string[], owner: string, now: number): Promise<Set<string>>
  /**
   * Takes keys, in whatever state, that have no holder or whose holder's time is over. Those that `owner` holds already count as
   * taken.
   *
   * Atomic per key: of two processes that take the same key, one gets it; so it is with this and a hand-out, or a holder that
   * renews its time.
   * @returns the ids of those that `owner` holds now
   */
  takePoolKeys(ids: readonly string[], owner: string, now: number): Promise<Set<string>>
  /** Gives up keys that `owner` holds, in whatever state. Atomic per key. */
  givePoolKeysUp(ids: readonly string[], owner: string): Promise<void>
  /** Removes the records of `discarding` keys that `owner` holds: the keys are deleted. Atomic per key. */
  forgetPoolKeys(ids: readonly string[], owner: string): Promise<void>

  /**
   * Hands out pool keys that are `ready`: the registration or rotation begins as in {@link MintingStore.beginRegistrations} and
   * is at once `active` and answered as in {@link MintingStore.completeRegistrations}, and the record of the pool key is removed.
   * The outcomes are those of handing out one after the other, in this order; `key_lost` is decided before `not_awaited`, then
   * `expired`, then the outcomes of beginning. A pool key and the id of a registration may occur several times; a key is handed
   * out once.
   *
   * Atomic per hand-out: a registration has its use, its record, its audit entry, the effect on the rotated registration and the
   * key, or nothing is written. If it throws, each may be handed out, now or a moment later, or not: none that
   * {@link discardPoolKeys} moves is, and {@link RecordReader.getRegistration} finds those that are. Audit:
   * `registration.created` or `registration.rotated` with the detail {@link FROM_THE_POOL}.
   * @returns the outcomes, in the order of `handOuts`
   */
  handOutPoolKeys(handOuts: readonly HandOut[], now: number): Promise<HandOutOutcome[]>
}

/** The detail of the audit entry of a registration or rotation that took a pool key. */
export const FROM_THE_POOL = 'from the pool'
