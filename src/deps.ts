import type { Logger } from 'pino'
import { type ApiGateway, createApiGateway } from './aws/api-gateway.ts'
import { type Clock, systemClock } from './clock.ts'
import type { Config } from './config.ts'
import type { Credential } from './registration/context.ts'
import { createInFlight, type InFlight } from './registration/in-flight.ts'
import { createReadiness, type Readiness } from './registration/readiness.ts'
import { defaultTiming, type Timing } from './registration/timing.ts'
import { openSqliteStore } from './store/sqlite.ts'
import type { Store } from './store/store.ts'

/** How many registrations may be in flight in one process. */
const MAX_IN_FLIGHT = 1_000

/** Everything the routes and the use cases work with, wired once. */
export interface Deps {
  readonly config: Config
  readonly log: Logger
  readonly clock: Clock
  readonly store: Store
  readonly apiGateway: ApiGateway
  readonly timing: Timing
  readonly inFlight: InFlight<Credential>
  readonly readiness: Readiness
  /** Waits for what is in flight, then closes the store and the connections to AWS. */
  close(): Promise<void>
}

/** Opens the store and makes the client. @throws Error if the store cannot be opened */
export function createDeps(
  config: Config,
  log: Logger,
  { clock = systemClock, timing = defaultTiming }: { clock?: Clock; timing?: Timing } = {},
): Deps {
  const store = openSqliteStore(config.store.path)
  const apiGateway = createApiGateway({
    region: config.region,
    endpoint: config.apiGatewayEndpoint,
    callTimeoutMs: timing.upstreamCall,
  })
  const inFlight = createInFlight<Credential>(MAX_IN_FLIGHT)
  return {
    config,
    log,
    clock,
    store,
    apiGateway,
    timing,
    inFlight,
    readiness: createReadiness({ store, apiGateway, clock, plans: config.plans, log }),
    async close() {
      await inFlight.settled()
      apiGateway.close()
      await store.close()
    },
  }
}
