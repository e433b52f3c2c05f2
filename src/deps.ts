import type { Logger } from 'pino'
import { createApiGateway } from './aws/api-gateway.ts'
import { type Clock, systemClock } from './clock.ts'
import type { Config } from './config.ts'
import { createRefusals, type Refusals } from './registration/audit-refusals.ts'
import { createAcceptance } from './registration/data-plane/key-probe.ts'
import type { Credential } from './registration/deps.ts'
import { createInFlight } from './registration/idempotency/in-flight.ts'
import type { ObtainDeps } from './registration/issue-credential.ts'
import { createBatcher } from './registration/mint/mint-queue.ts'
import { createLiveness, type Liveness } from './registration/queries/key-liveness.ts'
import { createPlanLimits, type OfferedPlan } from './registration/queries/plan-limits.ts'
import { createReadiness, type Readiness } from './registration/queries/service-readiness.ts'
import { defaultTiming, type Timing } from './registration/timing.ts'
import { createLeases } from './registration/work-leases.ts'
import { openStore } from './store/open.ts'

/** The dependencies of the routes and the use cases, created once per process. */
export interface Deps extends ObtainDeps {
  readonly config: Config
  readonly log: Logger
  readonly readiness: Readiness
  readonly liveness: Liveness
  readonly refusals: Refusals
  /** Returns every plan of this deployment, with its limits. */
  readonly planLimits: () => Promise<OfferedPlan[]>
  /** Waits for the registrations in flight, then closes the store and the connections to AWS. */
  close(): Promise<void>
}

/** Opens the store and creates the AWS clients. @throws Error why the store cannot be used and how to fix that */
export async function createDeps(
  config: Config,
  log: Logger,
  { clock = systemClock, timing = defaultTiming }: { clock?: Clock; timing?: Timing } = {},
): Promise<Deps> {
  const store = await openStore(config.store)
  const { apiGateway, background, close } = createApiGateway({
    region: config.region,
    endpoint: config.apiGatewayEndpoint,
    callTimeoutMs: timing.upstreamCall,
    callsPerSecond: config.callsPerSecond,
    log,
  })
  const leases = createLeases({ store, clock, timing })
  const acceptance = config.apiProbeUrl === null ? null : createAcceptance(config.apiProbeUrl, log)
  const shared = { config, log, clock, store, apiGateway, background, timing, leases, acceptance }
  const inFlight = createInFlight<Credential>()
  const batcher = createBatcher(shared)
  return {
    ...shared,
    inFlight,
    batcher,
    liveness: createLiveness(shared),
    refusals: createRefusals(shared),
    planLimits: createPlanLimits({ background, plans: config.plans, log }),
    readiness: createReadiness({ store, apiGateway, clock, plans: config.plans, log }),
    async close() {
      await inFlight.settled()
      await batcher.settled()
      close()
      await store.close()
    },
  }
}
