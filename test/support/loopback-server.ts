import { type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import getPort from 'get-port'
import { endWithThisProcess } from './end-with-this-process.ts'
import { untilResponding } from './until-responding.ts'

/** Far above the time that a start takes, for a machine that is busy with other things too. */
const START_TIMEOUT_MS = 60_000

export interface LoopbackServer {
  /** Its URL, on 127.0.0.1. */
  readonly endpoint: string
  /** Ends it and deletes everything in it. */
  stop(): Promise<void>
}

/**
 * Starts a server that keeps everything in memory, on a free port of 127.0.0.1. Resolves when it responds. It ends with this
 * process, except when this process is killed with SIGKILL.
 * @param name for errors
 * @param program returns what to run, so that it listens at the port
 * @throws Error with its output if it does not start
 */
export async function startLoopbackServer(
  name: string,
  program: (port: number) => { command: string; args: readonly string[]; options?: SpawnOptions },
): Promise<LoopbackServer> {
  const port = await getPort({ host: '127.0.0.1' })
  const { command, args, options = {} } = program(port)
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
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
      ...{ name, isUp: () => true, everyMs: 5, timeoutMs: START_TIMEOUT_MS },
    })
  } catch (error) {
    await stop()
    throw error
  }
  return { endpoint, stop }
}
