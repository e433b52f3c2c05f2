import { spawn } from 'node:child_process'
import { once } from 'node:events'
import getPort from 'get-port'
import { endWithThisProcess } from '../end-with-this-process.ts'
import { untilResponding } from '../until-responding.ts'

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
    await untilResponding(child, endpoint, {
      ...{ name: 'dynoxide', isUp: () => true, everyMs: 5, timeoutMs: START_TIMEOUT_MS },
    })
  } catch (error) {
    await stop()
    throw error
  }
  return { endpoint, stop }
}
