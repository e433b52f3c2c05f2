import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import pkg from '../package.json' with { type: 'json' }
import { buildApp } from './app.ts'
import { type TrustFileWatch, watchTrustFile } from './auth/federation/watch-trust-file.ts'
import { preventsStart } from './aws/errors.ts'
import { type Config, readConfig } from './config.ts'
import { configWarnings } from './config-warnings.ts'
import { createDeps, type Deps } from './deps.ts'
import { ServiceError } from './errors.ts'
import { KEY_QUOTA } from './key-quota.ts'
import { createLogger, type Log, redact } from './log.ts'
import type { MetricsServer } from './metrics/metrics-server.ts'
import type { PrometheusMeter } from './metrics/prometheus-meter.ts'
import { startScheduler } from './registration/jobs/scheduler.ts'
import { warnOfMissingPlans } from './registration/queries/tokens-without-plan.ts'
import { reservePort } from './reserve-port.ts'
import { nameOfStore } from './store/open.ts'
import { serverHelp } from './variables.ts'

/** The time that a stop is allowed beyond the time limits of a registration and its undo (ms). */
const STOP_RESERVE_MS = 5_000

/** The interval at which the readiness is checked for the metrics, besides the probes (ms). */
const READINESS_MS = 60_000

/** The maximum number of connections that wait to be accepted. With fewer, clients in a burst retry a second later. */
const BACKLOG = 4_096

/** Prints the reason on stderr and exits with code 1. */
function refuseToStart(reason: string): never {
  process.stderr.write(`firstkey: ${reason}\n`)
  process.exit(1)
}

/** Responds to `--help` and `--version`, and rejects any other argument. Ends the process unless there is none. */
function answerArguments(): void {
  const options = { help: { type: 'boolean', short: 'h' }, version: { type: 'boolean', short: 'V' } } as const
  try {
    const { values } = parseArgs({ options })
    if (!values.help && !values.version) return
    process.stdout.write(values.help ? serverHelp() : `${pkg.version}\n`)
    process.exit(0)
  } catch (error) {
    // The message quotes the argument, which may be a secret.
    refuseToStart(
      `${redact(error instanceof Error ? error.message : String(error))}\n  --help shows what there is.`,
    )
  }
}

/** Returns the mounts that the process sees; '' where the system does not say. */
function readMounts(): string {
  try {
    return readFileSync('/proc/self/mountinfo', 'utf8')
  } catch {
    return ''
  }
}

/** Returns the reason why the service cannot listen, with the remedy if it is known. */
function whyNotListening(error: unknown, prefix: '' | 'METRICS_' = ''): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'EADDRINUSE') return `it is in use; set ${prefix}PORT to a free port`
  if (code === 'EADDRNOTAVAIL') return `this machine does not have that address; correct ${prefix}HOST`
  return error instanceof Error ? error.message : String(error)
}

interface Metrics {
  readonly meter: PrometheusMeter
  readonly server: MetricsServer
}

/** Measures and serves metrics, if that is configured. */
async function startMetrics({ metrics, plans, store }: Config, log: Log): Promise<Metrics | null> {
  if (metrics === null) return null
  // Loaded only here: its library would cost every start time and memory.
  const [{ createPrometheusMeter }, { serveMetrics }] = await Promise.all([
    import('./metrics/prometheus-meter.ts'),
    import('./metrics/metrics-server.ts'),
  ])
  const names = plans.map(({ name }) => name)
  const meter = createPrometheusMeter({
    plans: names,
    version: pkg.version,
    store: store.kind,
    keyQuota: KEY_QUOTA,
  })
  try {
    const server = await serveMetrics(meter, metrics)
    log.info({ url: server.url }, `serving metrics at ${server.url}`)
    return { meter, server }
  } catch (error) {
    const { host, port } = metrics
    refuseToStart(
      `cannot serve metrics on ${host}, METRICS_PORT ${port}: ${whyNotListening(error, 'METRICS_')}`,
    )
  }
}

/** Ends the process if no registration can succeed with this configuration. Logs a fault that may be temporary. */
async function checkUpstream({ readiness, config, log }: Deps): Promise<void> {
  try {
    await readiness.check()
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error
    if (preventsStart(error)) {
      const plans = config.plans.map((plan) => `${plan.name}=${plan.usagePlanId}`).join(', ')
      const cause = error.cause instanceof Error ? ` (${error.cause.name}: ${error.cause.message})` : ''
      refuseToStart(
        `API Gateway in ${config.region} cannot be used: ${error.message}${cause}\n` +
          `  Check AWS_REGION, AWS_ENDPOINT_URL, the AWS credentials and their policy, and the usage plans: ${plans}.`,
      )
    }
    log.error({ err: error }, 'startup check failed; not ready yet')
  }
}

/** Ends the process if the account has no room for the pool. */
async function checkPool(deps: Deps): Promise<void> {
  if (deps.pool === null) return
  const { requireRoom } = await import('./registration/pool/account-room.ts')
  await orRefuse(() => requireRoom(deps))
}

/** A store that cannot be read now says so at the first request. */
async function warnOfRestore({ store, log }: Deps): Promise<void> {
  const asOf = await store.findRestore().catch(() => null)
  if (asOf === null) return
  log.warn(
    { restored_as_of: new Date(asOf).toISOString() },
    'the store was restored from a backup; run: firstkey reconcile, then: firstkey registrations recover',
  )
}

/** Returns the result of `work`. If it throws, prints the error and ends the process. */
async function orRefuse<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    refuseToStart(error instanceof Error ? error.message : String(error))
  }
}

// Starts the service: configuration, dependencies, HTTP, graceful stop. A fault that prevents the start ends the process
// with one message on stderr and exit code 1.
answerArguments()
const written = await orRefuse(() => readConfig(process.env))
// The default of PUBLIC_URL has the port in it.
const reserved = written.port === 0 ? await orRefuse(() => reservePort(written.host)) : undefined
const config = reserved === undefined ? written : readConfig({ ...process.env, PORT: String(reserved.port) })
const log = createLogger(config.logLevel)
for (const { variable, message } of configWarnings(process.env, config, readMounts()))
  log.warn({ variable }, message)
let trustFileWatch: TrustFileWatch | null = null
process.on('SIGHUP', () => {
  if (config.trustFile === null) log.info({}, 'SIGHUP has no effect, because TRUST_FILE is not set')
  else trustFileWatch?.reload()
})
const metrics = await startMetrics(config, log)
const deps = await orRefuse(() => createDeps(config, log, { meter: metrics?.meter ?? null }))
await checkUpstream(deps)
await checkPool(deps)
log.info(
  {
    public_url: config.publicUrl,
    plans: config.plans.map((plan) => plan.name),
    store: nameOfStore(config.store),
    store_id: deps.store.id,
  },
  'starting',
)
await warnOfRestore(deps)
if (deps.federation !== null && config.trustFile !== null)
  trustFileWatch = watchTrustFile(deps.federation, {
    ...{ path: config.trustFile, publicUrl: config.publicUrl, log },
    isPublicUrlSet: (process.env['PUBLIC_URL']?.trim() ?? '') !== '',
  })
const app = await buildApp(deps)
try {
  await app.listen({
    host: config.host,
    port: config.port,
    ...reserved?.listenOptions,
    backlog: BACKLOG,
    listenTextResolver: (url) => `listening on ${url}`,
  })
} catch (error) {
  refuseToStart(`cannot listen on ${config.host}, PORT ${config.port}: ${whyNotListening(error)}`)
}
reserved?.release()
const background = startScheduler(deps)
if (metrics !== null) {
  metrics.meter.watch({
    queue: deps.mintQueue.waiting,
    inFlight: deps.inFlight.count,
    holdsDuty: background.holdsDuty,
    isReady: deps.readiness.succeeded,
    clockAhead: deps.clockCheck.ahead,
    pool: () => deps.pool?.levels() ?? [],
    trustFileIsRefused: () => deps.federation?.state().refused != null,
  })
  setInterval(() => void deps.readiness.check().catch(() => undefined), READINESS_MS).unref()
}

let stopping = false
async function stop(signal: NodeJS.Signals): Promise<void> {
  if (stopping) return
  stopping = true
  log.info({ signal, in_flight: deps.inFlight.count() }, 'stopping')
  setTimeout(
    () => {
      log.error({}, 'stop timed out; requests or jobs are unfinished')
      process.exit(1)
    },
    config.registerTimeoutMs + deps.timing.undo + STOP_RESERVE_MS,
  ).unref()
  trustFileWatch?.stop()
  await app.close()
  await background.stop()
  await deps.close()
  await metrics?.server.close()
  log.info({}, 'stopped')
}
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
await Promise.all([deps.keyProbe?.checkPath(), warnOfMissingPlans(deps)])
