import type { ApiGateway } from '../aws/api-gateway.ts'
import type { Clock } from '../clock.ts'
import type { ClockCheck } from '../clock-check.ts'
import type { Config } from '../config.ts'
import type { Log } from '../log.ts'
import type { Meter } from '../meter.ts'
import type { Actor } from '../store/audit.ts'
import type { NewRegistration, Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import type { KeyProbe } from './data-plane/key-probe.ts'
import type { Deliveries } from './deliveries.ts'
import type { CredentialSecrets } from './idempotency/request-identity.ts'
import type { Pool } from './pool/pool.ts'
import type { OfferedPlan } from './queries/plan-limits.ts'
import type { StandingFaults } from './standing-faults.ts'
import type { Timing } from './timing.ts'
import type { TokenUses } from './token-uses.ts'
import type { WorkLeases } from './work-leases.ts'

/** The dependencies of every use case. */
export interface RegistrationDeps {
  readonly config: Pick<
    Config,
    'plans' | 'publicUrl' | 'apiBaseUrl' | 'apiProbeUrl' | 'mintMode' | 'mintBatchMax' | 'queueMax'
  >
  readonly store: Store
  readonly apiGateway: ApiGateway
  /** API Gateway for work that no caller waits for: its calls let those of registrations go first. */
  readonly lowPriorityApiGateway: ApiGateway
  /** Reports whether the quotas of API Gateway leave calls to spare now: work that can wait would not have to. */
  readonly hasSpareCalls: () => boolean
  readonly clock: Clock
  readonly clockCheck: Pick<ClockCheck, 'certainNow' | 'ahead'>
  readonly timing: Timing
  readonly leases: WorkLeases
  readonly deliveries: Deliveries
  readonly tokenUses: TokenUses
  readonly standingFaults: StandingFaults
  /** `null`: API_PROBE_PATH is not set, so that keys cannot be probed. */
  readonly keyProbe: KeyProbe | null
  /** `null`: no keys are made beforehand. */
  readonly pool: Pool | null
  /** Returns every plan of this deployment, with its limits and API stages. */
  readonly planLimits: () => Promise<OfferedPlan[]>
  /** The log for events that belong to no request. */
  readonly log: Log
  /** `null`: nothing is measured. */
  readonly meter: Meter | null
}

/** The circumstances of one call of a use case that mints a key. */
export interface RegistrationCall {
  /** The caller, for the audit trail. */
  readonly actor: Actor
  /** The time until the response is due, in milliseconds. */
  readonly timeoutMs: number
  /**
   * The time until which the caller waits for a key that the API accepts, on the clock of `performance.now()`; `null`: the
   * caller wants the key as soon as it is minted.
   */
  readonly readyBy: number | null
  /** Reports whether the client disconnected before it had a response. */
  readonly isGone: () => boolean
  /** Receives the name of the plan, as soon as it is known. Left out: it is not counted. */
  readonly onPlan?: (plan: string) => void
  readonly log: Log
}

/** A registration or rotation with the secrets that only its caller receives. */
export interface Credential {
  readonly registration: NewRegistration
  readonly apiKeyId: string
  readonly secrets: CredentialSecrets
  /** The record whose key a rotation replaced, with its new end; `null`: it replaced none. */
  readonly replaced: Registration | null
  /** The API accepts the key; `null`: the caller did not wait for that and the key is not from the pool, or it cannot be seen. */
  readonly ready: boolean | null
  /** An earlier request with the same idempotency key minted the key. */
  readonly replayed: boolean
}
