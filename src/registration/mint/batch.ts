import type { Lease } from '../../store/records.ts'
import type { MintRequest, PendingMint } from './mint-request.ts'

/** Requests that are minted together. */
export interface Batch {
  readonly lease: Lease
  /** The ids of its registrations: one look finds the keys of those that share a group. */
  readonly ids: IteratorObject<string, never>
  readonly requests: MintRequest[]
  /** Resolves with the recorded registrations of the requests so far. */
  recorded: Promise<PendingMint[]>
  /** `growing`: it waits for the import before its own. `importing`: its keys are being made. `checking`: no more changes. */
  stage: 'growing' | 'importing' | 'checking'
  /** The time at which its stage `importing` began, on the clock of `performance.now()`. */
  startedAt: number
}
