// Preloaded into the process of each test file: ends it, as failed, where a timer, socket or process that no test closed would
// keep it running without an end.
import { after } from 'node:test'

/** What is about to close gets this long. */
const GRACE_MS = Number(process.env['TEST_GRACE_MS'] ?? 30_000)

// The runner's own process preloads this file too, and runs no test.
if (process.env['NODE_TEST_CONTEXT'] !== undefined)
  after(() => {
    const end = () => {
      const open = process.getActiveResourcesInfo().join(', ')
      process.stderr.write(`still open ${GRACE_MS / 1000} s after the last test: ${open}\n`)
      process.exit(1)
    }
    setTimeout(end, GRACE_MS).unref()
  })
