import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import getPort from 'get-port'
import { dynamoDbLocalJars } from './jars.ts'

/** Far above the seconds that a start takes, on a machine that is busy with other things too. */
const START_TIMEOUT_MS = 60_000

export interface DynamoDbLocal {
  /** Where it answers, on 127.0.0.1. */
  readonly endpoint: string
  /** Ends it and everything in it. */
  stop(): Promise<void>
}

/**
 * Starts Amazon's DynamoDB Local, empty and in memory, with the same tables for all credentials and regions; resolves
 * when it answers. It ends with this process, except when this process is killed with SIGKILL. The first call fetches
 * its jars. `forLoad`: it starts slower, and is quicker then. Throws an Error that says what to install when Java or Maven is missing.
 */
export async function startDynamoDbLocal({
  forLoad = false,
}: {
  forLoad?: boolean
} = {}): Promise<DynamoDbLocal> {
  const jars = await dynamoDbLocalJars()
  const port = await getPort()
  const child = spawn('java', startArguments(jars, port, forLoad), { stdio: ['ignore', 'pipe', 'pipe'] })
  const forget = endWithThisProcess(child)
  const exit = once(child, 'exit').then(forget)
  const stop = async () => {
    // Nothing of it is to be kept, and SIGKILL cannot be waited out.
    child.kill('SIGKILL')
    await exit
  }
  const endpoint = `http://127.0.0.1:${port}`
  try {
    await answering(endpoint, child)
  } catch (error) {
    await stop()
    throw error
  }
  return { endpoint, stop }
}

function startArguments(jars: string, port: number, forLoad: boolean): string[] {
  return [
    // For tests it lives for seconds: a quick start is worth more than code compiled for hours of work.
    ...(forLoad ? [] : ['-XX:TieredStopAtLevel=1']),
    '-XX:+UseSerialGC',
    `-Djava.library.path=${jars}`,
    '-cp',
    join(jars, '*'),
    'software.amazon.dynamodb.services.local.main.ServerRunner',
    '-inMemory',
    '-sharedDb',
    '-disableTelemetry',
    '-port',
    String(port),
  ]
}

/** Resolves at the first answer, whatever it is: an error to a request without a signature shows as well that it is up. */
async function answering(endpoint: string, child: ChildProcess): Promise<void> {
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      printed += chunk
    })
  }
  const deadline = performance.now() + START_TIMEOUT_MS
  while (performance.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`DynamoDB Local ended before it was ready:\n${printed}`)
    const up = await fetch(endpoint).then(
      () => true,
      () => false,
    )
    if (up) return
    await sleep(20)
  }
  throw new Error(`DynamoDB Local did not answer within ${START_TIMEOUT_MS} ms:\n${printed}`)
}

/** Kills `child` when this process exits or is told to; answers how to stop watching. */
function endWithThisProcess(child: ChildProcess): () => void {
  const kill = () => child.kill('SIGKILL')
  const onSignal = (signal: NodeJS.Signals) => {
    kill()
    forget()
    // To listen for a signal keeps it from ending the process, so it is sent again, unless someone else listens too
    // and so decides on the end.
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal)
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  const forget = () => {
    process.off('exit', kill)
    for (const signal of signals) process.off(signal, onSignal)
  }
  process.on('exit', kill)
  for (const signal of signals) process.on(signal, onSignal)
  return forget
}
