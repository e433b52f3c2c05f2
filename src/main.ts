import { buildApp } from './app.ts'
import { isMisconfigured } from './aws/errors.ts'
import { readConfig } from './config.ts'
import { createDeps, type Deps } from './deps.ts'
import { ServiceError } from './errors.ts'
import { createLogger } from './log.ts'
import { startBackground } from './registration/background.ts'

/** Beyond the time that a registration and its undoing may take, how long a stop waits before it gives up (ms). */
const STOP_RESERVE_MS = 5_000

/** How many connections may wait to be accepted: a burst must not be told to come back a second later. */
const BACKLOG = 4_096

/** Prints why the process cannot do its job, and ends it. */
function refuseToStart(reason: string): never {
  process.stderr.write(`firstkey: ${reason}\n`)
  process.exit(1)
}

/** Stops the start where no registration could ever succeed; a fault that may pass is logged. */
async function checkUpstream({ readiness, config, log }: Deps): Promise<void> {
  try {
    await readiness.check()
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error
    if (isMisconfigured(error)) {
      const plans = config.plans.map((plan) => `${plan.name}=${plan.usagePlanId}`).join(', ')
      const cause = error.cause instanceof Error ? ` (${error.cause.name}: ${error.cause.message})` : ''
      refuseToStart(
        `API Gateway in ${config.region} refuses: ${error.message}${cause}\n` +
          `  Check AWS_REGION, the AWS credentials and their policy, and the usage plans: ${plans}.`,
      )
    }
    log.warn({ err: error }, 'not ready yet')
  }
}

/** The result of `work`; what it throws is a reason not to start. */
async function orRefuse<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    refuseToStart(error instanceof Error ? error.message : String(error))
  }
}

// The process: configuration, parts, HTTP, and a graceful stop. What makes the job impossible ends it with one
// message on stderr and exit code 1.
const config = await orRefuse(() => readConfig(process.env))
const log = createLogger(config.logLevel)
const deps = await orRefuse(() => createDeps(config, log))
await checkUpstream(deps)
log.info({ public_url: config.publicUrl, plans: config.plans.map((plan) => plan.name) }, 'starting')
const app = await buildApp(deps)
try {
  await app.listen({
    host: config.host,
    port: config.port,
    backlog: BACKLOG,
    listenTextResolver: (url) => `listening on ${url}`,
  })
} catch (error) {
  const inUse = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
  refuseToStart(
    `cannot listen on ${config.host}, PORT ${config.port}: ${inUse ? 'it is in use' : String(error)}`,
  )
}
const background = startBackground(deps)

let stopping = false
async function stop(signal: NodeJS.Signals): Promise<void> {
  if (stopping) return
  stopping = true
  log.info({ signal, in_flight: deps.inFlight.count() }, 'stopping')
  setTimeout(
    () => {
      log.error({}, 'stopped before everything was finished')
      process.exit(1)
    },
    config.registerTimeoutMs + deps.timing.undo + STOP_RESERVE_MS,
  ).unref()
  await app.close()
  await background.stop()
  await deps.close()
  log.info({}, 'stopped')
}
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
await deps.acceptance?.checkPath()
