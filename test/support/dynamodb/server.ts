import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import getPort from 'get-port'
import { endWithThisProcess } from '../end-with-this-process.ts'

/** Far above the milliseconds that a start takes, for a machine that is busy with other things too. */
const START_TIMEOUT_MS = 60_000

export interface DynamoDbServer {
  /** Its URL, on 127.0.0.1. */
  readonly endpoint: string
  /** Ends it and deletes everything in it. */
  stop(): Promise<void>
}

/**
 * Starts dynoxide, an open-source stand-in for DynamoDB: empty, in memory, with the same tables for all credentials and
 * regions. Resolves when it responds. It ends with this process, except when this process is killed with SIGKILL.
 * @param command what runs dynoxide, as `findDynoxide` returns it
 * @throws Error with its output if it does not start
 */
export async function startDynoxide(command: string): Promise<DynamoDbServer> {
  const port = await getPort()
  const args = ['serve', '--host', '127.0.0.1', '--port', String(port), '--log', 'quiet']
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const forget = endWithThisProcess(() => child.kill('SIGKILL'))
  const exit = once(child, 'exit').then(forget)
  const stop = async () => {
    // It holds nothing worth keeping, and SIGKILL takes effect at once.
    child.kill('SIGKILL')
    await exit
  }
  const endpoint = `http://127.0.0.1:${port}`
  try {
    await responding(endpoint, child)
  } catch (error) {
    await stop()
    throw error
  }
  return { endpoint, stop }
}

/** Resolves at the first response. */
async function responding(endpoint: string, child: ChildProcess): Promise<void> {
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      printed += chunk
    })
  }
  const deadline = performance.now() + START_TIMEOUT_MS
  while (performance.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`dynoxide ended before it was ready:\n${printed}`)
    const up = await fetch(endpoint).then(
      () => true,
      () => false,
    )
    if (up) return
    await sleep(5)
  }
  throw new Error(`dynoxide did not respond within ${START_TIMEOUT_MS} ms:\n${printed}`)
}
