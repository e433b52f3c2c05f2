import type { Logger } from 'pino'
import type { Federation } from './auth/federation/federation.ts'
import { type ApiGateway, createApiGateway } from './aws/api-gateway.ts'
import type { AwsCall } from './aws/client.ts'
import { type Clock, systemClock } from './clock.ts'
import { type ClockCheck, createClockCheck } from './clock-check.ts'
import type { Config } from './config.ts'
import type { Meter } from './meter.ts'
import { createRefusals, type Refusals } from './registration/audit-refusals.ts'
import { createKeyProbe } from './registration/data-plane/key-probe.ts'
import { createDeliveries } from './registration/deliveries.ts'
import type { Credential, RegistrationDeps } from './registration/deps.ts'
import { createInFlight } from './registration/idempotency/in-flight.ts'
import type { IssueDeps } from './registration/issue-credential.ts'
import { createMintQueue, type MintQueue } from './registration/mint/mint-queue.ts'
import type { HandOutQueue } from './registration/pool/hand-out-queue.ts'
import type { Pool } from './registration/pool/pool.ts'
import type { PoolDeps } from './registration/pool/pool-deps.ts'
import { createPresentKeyCheck } from './registration/present-key.ts'
import { createKeyLiveness } from './registration/queries/key-liveness.ts'
import { createKeyUsage, type ReadKeyUsage } from './registration/queries/key-usage.ts'
import { createPlanLimits } from './registration/queries/plan-limits.ts'
import { faultCheck, storeCheck } from './registration/queries/readiness-checks.ts'
import { createServiceReadiness, type ServiceReadiness } from './registration/queries/service-readiness.ts'
import { createStandingFaults, type StandingFaults } from './registration/standing-faults.ts'
import { defaultTiming, type Timing } from './registration/timing.ts'
import { createTokenUses } from './registration/token-uses.ts'
import { createWorkLeases } from './registration/work-leases.ts'
import { planReadiness } from './setup/plan-readiness.ts'
import { openStore } from './store/open.ts'
import type { Store } from './store/store.ts'

/** The dependencies of the routes and the use cases, created once per process. */
export interface Deps extends IssueDeps {
  readonly config: Config
  readonly log: Logger
  readonly readiness: ServiceReadiness
  readonly refusals: Refusals
  readonly clockCheck: ClockCheck
  readonly readKeyUsage: ReadKeyUsage
  /** `null`: no identity tokens are accepted. */
  readonly federation: Federation | null
  /** Waits for the registrations in flight, then closes the store and the connections to AWS. */
  close(): Promise<void>
}

/** The time limit for asking AWS for its time (ms). */
const ASK_TIMEOUT_MS = 5_000

export interface DepsOptions {
  readonly clock?: Clock
  readonly timing?: Timing
  /** Observes the calls to API Gateway. */
  readonly onCall?: (call: AwsCall) => void
  /** `null`, or left out: nothing is measured. */
  readonly meter?: Meter | null
}

/**
 * Reads the trust file, opens the store and creates the AWS clients.
 * @throws Error why the trust file or the store cannot be used and how to fix that
 */
export async function createDeps(
  config: Config,
  log: Logger,
  { clock: ownClock = systemClock, timing = defaultTiming, onCall, meter = null }: DepsOptions = {},
): Promise<Deps> {
  const clockCheck = createClockCheck({
    clock: ownClock,
    log,
    ask: () =>
      lowPriorityApiGateway.describePlan(config.plans[0].usagePlanId, AbortSignal.timeout(ASK_TIMEOUT_MS)),
  })
  const { now: clock, observe: observeDate } = clockCheck
  const federation = await openFederationOf(config, clock, log)
  const opened = await openStore(config.store, { observeDate, onCommit: meter?.commit, log })
  const store = meter === null ? opened : countingUndone(opened, meter)
  const { queryApiGateway, ...access } = createApiGateway({
    region: config.region,
    endpoint: config.apiGatewayEndpoint,
    callTimeoutMs: timing.upstreamCall,
    callsPerSecond: config.callsPerSecond,
    proxies: config.proxies,
    observeDate,
    onCall: onCall ?? meter?.call,
    log,
  })
  const leases = createWorkLeases({ store, clock, timing })
  const standingFaults = createStandingFaults({ timing, log })
  const apiGateway = notingDeletions(access.apiGateway, standingFaults)
  const lowPriorityApiGateway = notingDeletions(access.lowPriorityApiGateway, standingFaults)
  const deliveries = createDeliveries({ store, clock, timing, log })
  const keyProbe =
    config.apiProbeUrl === null ? null : createKeyProbe(config.apiProbeUrl, log, config.proxies)
  const planLimits = createPlanLimits({ lowPriorityApiGateway, plans: config.plans, log })
  const inFlight = createInFlight<Credential>()
  const isInFlight = (keyHash: Uint8Array) => inFlight.find(keyHash) !== undefined
  const tokenUses = createTokenUses({
    ...{ store, deliveries, clock, clockCheck, timing, log, config, isInFlight },
  })
  const core = { config, log, clock, store, apiGateway, lowPriorityApiGateway, timing, keyProbe }
  const shared = {
    ...core,
    ...{ clockCheck, leases, deliveries, standingFaults },
    ...{ planLimits, tokenUses, meter, hasSpareCalls: access.hasSpareCalls },
    pool: await createPoolOf(config, { ...core, isBusy: () => !mintQueue.isIdle() }),
  }
  const mintQueue: MintQueue = createMintQueue(shared)
  const handOutQueue = await openHandOutQueue(shared, mintQueue)
  const refusals = createRefusals(shared)
  return {
    ...shared,
    inFlight,
    mintQueue,
    handOutQueue,
    liveness: createKeyLiveness({ ...shared, queryApiGateway }),
    checkPresentKey: createPresentKeyCheck({ ...shared, queryApiGateway }),
    readKeyUsage: createKeyUsage({ ...shared, queryApiGateway }),
    refusals,
    federation,
    readiness: createServiceReadiness({
      known: [faultCheck(standingFaults, config.plans)],
      asked: [storeCheck(store), planReadiness(apiGateway, config.plans)],
    }),
    async close() {
      await inFlight.settled()
      await handOutQueue?.close()
      await mintQueue.settled()
      await deliveries.flush()
      await refusals.flush()
      access.close()
      await store.close()
    },
  }
}

async function openFederationOf(config: Config, clock: Clock, log: Logger): Promise<Federation | null> {
  const { trustFile: path, publicUrl, plans, proxies, environment } = config
  if (path === null) return null
  // Loaded only here: its libraries would cost every start time and memory.
  const { openFederation } = await import('./auth/federation/federation.ts')
  const variable = (name: string) => environment[name]
  return openFederation({
    ...{ path, publicUrl, proxies, variable, clock, log },
    plans: plans.map(({ name }) => name),
  })
}

async function createPoolOf(config: Config, deps: PoolDeps): Promise<Pool | null> {
  if (config.pool.size === 0) return null
  // Loaded only here: most services have no pool.
  const { createPool } = await import('./registration/pool/create-pool.ts')
  return createPool(deps)
}

async function openHandOutQueue(deps: RegistrationDeps, mintQueue: MintQueue): Promise<HandOutQueue | null> {
  const { pool } = deps
  if (pool === null) return null
  const { createHandOutQueue } = await import('./registration/pool/hand-out-queue.ts')
  return createHandOutQueue({ ...deps, pool, mintQueue })
}

/** Lets every registration that is undone be counted. */
function countingUndone(store: Store, meter: Meter): Store {
  return {
    ...store,
    async failRegistrations(registrations, ending) {
      const failed = await store.failRegistrations(registrations, ending)
      if (failed.size > 0) meter.undone(ending.failure, failed.size)
      return failed
    },
  }
}

/** Lets every deletion of a key be noted: it makes room in a full account. */
function notingDeletions(calls: ApiGateway, standingFaults: StandingFaults): ApiGateway {
  return {
    ...calls,
    async deleteKey(id, signal) {
      await calls.deleteKey(id, signal)
      standingFaults.keyDeleted()
    },
  }
}
