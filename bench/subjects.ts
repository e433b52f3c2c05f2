import { type BenchProcess, startProcess } from './process.ts'
import { gatewayEnv, startBenchServer } from './server.ts'

/** What a burst is measured against, by itself or as several processes. */
export interface Subject {
  /** Where agents register: they are spread evenly over these. */
  readonly urls: readonly string[]
  /** Makes a bootstrap token without limits; answers its secret. */
  secret(): string
  /** The highest resident memory, of the process that had most; `undefined` where it is not measured. */
  memoryMb(): number | undefined
  stop(): Promise<void>
}

export type StartSubject = (gateway: BenchProcess) => Promise<Subject>

/** One process of the service on SQLite. */
export async function firstkey(gateway: BenchProcess): Promise<Subject> {
  const server = await startBenchServer(gateway.url)
  return {
    urls: [server.url],
    secret: () => server.createToken(),
    memoryMb: () => server.memoryMb('peak'),
    stop: () => server.stop(),
  }
}

/** The same endpoint as it is usually written. */
export async function plain(gateway: BenchProcess): Promise<Subject> {
  const env = { PATH: process.env['PATH'], ...gatewayEnv(gateway.url) }
  const server = await startProcess('bench/plain.ts', [], env)
  return { urls: [server.url], secret: () => 'none', memoryMb: () => undefined, stop: () => server.stop() }
}
