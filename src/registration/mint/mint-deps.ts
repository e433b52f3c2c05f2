import type { RegistrationDeps } from '../deps.ts'
import type { BatchSize } from './batch-size.ts'
import type { CircuitBreaker } from './circuit-breaker.ts'
import type { Minted } from './complete.ts'

/** Waits until the API accepts a minted key, or the time is over, and completes its registration. Never throws. */
export type AwaitReady = (minted: Minted) => Promise<void>

/** The dependencies of minting, with what one process learns about API Gateway. */
export interface MintDeps extends RegistrationDeps {
  readonly batchSize: BatchSize
  /** Open while imports do not create and attach keys. */
  readonly importBreaker: CircuitBreaker
  /** Open while a 201 to an attachment does not prove that the key is attached. */
  readonly attachBreaker: CircuitBreaker
  /** For callers that wait for a key that the API accepts; `null`: keys cannot be probed. */
  readonly awaitReady: AwaitReady | null
  /** Runs a task after the response. A task that fails is logged. */
  afterResponse(task: () => Promise<void>): void
}
