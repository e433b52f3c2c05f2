import type { ApiGateway } from '../aws/api-gateway.ts'
import type { Clock } from '../clock.ts'
import type { Config } from '../config.ts'
import type { Log } from '../log.ts'
import type { Actor } from '../store/audit.ts'
import type { NewRegistration, Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import type { KeyProbe } from './data-plane/key-probe.ts'
import type { CredentialSecrets } from './idempotency/request-identity.ts'
import type { Hold } from './mint/await-ready.ts'
import type { BatchSize } from './mint/batch-size.ts'
import type { Trust } from './mint/circuit-breaker.ts'
import type { Timing } from './timing.ts'
import type { WorkLeases } from './work-leases.ts'

/** What every registration works with. */
export interface RegistrationDeps {
  readonly config: Pick<
    Config,
    'plans' | 'publicUrl' | 'apiBaseUrl' | 'mintMode' | 'mintBatchMax' | 'queueMax'
  >
  readonly store: Store
  readonly apiGateway: ApiGateway
  /** API Gateway for what can wait. */
  readonly lowPriorityApiGateway: ApiGateway
  readonly clock: Clock
  readonly timing: Timing
  readonly leases: WorkLeases
  /** `null`: the API cannot be asked. */
  readonly keyProbe: KeyProbe | null
  /** For what is not of one request. */
  readonly log: Log
}

/** What the minting of a batch works with. */
export interface MintDeps extends RegistrationDeps {
  readonly batchSize: BatchSize
  /** Whether imports make keys and attach them. */
  readonly imports: Trust
  /** Whether a 201 to an attach means that the key is attached. */
  readonly attaches: Trust
  /** For those that would rather wait for a key that works; `null`: nobody can. */
  readonly hold: Hold | null
  /** Runs what no answer waits for. */
  afterwards(work: () => Promise<void>): void
}

/** The circumstances of one call. */
export interface RegistrationCall {
  /** Who asks, for the audit trail. */
  readonly actor: Actor
  /** How long the answer may take, in milliseconds. */
  readonly timeoutMs: number
  /**
   * Until when the caller would rather wait for a key that the API takes, on the clock of `performance.now()`; `null`: the
   * key as soon as it is made.
   */
  readonly readyBy: number | null
  /** Whether the client is gone, so that nobody would read the answer. */
  readonly isGone: () => boolean
  readonly log: Log
}

/** A registration with the two secrets that only its caller ever sees. */
export interface Credential {
  readonly registration: NewRegistration
  readonly apiKeyId: string
  readonly answer: CredentialSecrets
  /** Of a rotation: whose key it replaced, with its new end. */
  readonly replaced: Registration | null
  /** Whether the API takes the key; `null`: nobody asked to wait for that, or it cannot be seen. */
  readonly ready: boolean | null
  /** It was made by an earlier request with the same idempotency key. */
  readonly replayed: boolean
}
