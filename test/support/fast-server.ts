// The service as a process with short timings for tests, those of TIMING (JSON) in their place, and a clock that its parent
// process can move.
import { buildApp } from '../../src/app.ts'
import { readConfig } from '../../src/config.ts'
import { createDeps } from '../../src/deps.ts'
import { createLogger } from '../../src/log.ts'
import { startScheduler } from '../../src/registration/jobs/scheduler.ts'
import { fastTiming } from './invariants.ts'

// A test that limits the file size expects write() to fail, as on a full disk; the signal must not end the process.
process.on('SIGXFSZ', () => undefined)
let offset = Number(process.env['CLOCK_OFFSET'] ?? 0)
process.on('message', (message) => {
  offset = Number(message)
})
const config = readConfig({ LOG_LEVEL: 'silent', ...process.env })
const deps = await createDeps(config, createLogger(config.logLevel), {
  clock: () => Date.now() + offset,
  timing: { ...fastTiming, ...JSON.parse(process.env['TIMING'] ?? '{}') },
})
await deps.clockCheck.certainNow() // `main.ts` asks AWS too, before it listens.
const app = await buildApp(deps)
startScheduler(deps)
const url = await app.listen({ host: '127.0.0.1', port: 0 })
process.send?.({ url })
process.stdout.write(`listening on ${url}\n`)
process.on('disconnect', () => process.exit(0)) // Emitted only if a parent forked this process.
