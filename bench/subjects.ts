import type { PoolKey } from '../src/store/pool.ts'
import { openSqliteStore } from '../src/store/sqlite.ts'
import { type BenchProcess, startProcess } from './process.ts'
import { type BenchServer, gatewayEnv, startBenchServer } from './server.ts'

/** The system that a burst is sent to, one process or several. */
export interface Subject {
  /** The URLs at which agents register, spread evenly over them. */
  readonly urls: readonly string[]
  /** Creates a bootstrap token without limits. @returns its secret */
  secret(): string
  /** The peak resident memory of the largest process, in megabytes (10^6 bytes); `undefined` if it is not measured. */
  memoryMb(): number | undefined
  stop(): Promise<void>
}

export interface Pooled {
  /** Returns the number of keys that can be handed out. */
  readyKeys(): Promise<number>
}

export type StartSubject = (gateway: BenchProcess) => Promise<Subject>

/** Starts one process of the service on SQLite. */
export async function firstkey(gateway: BenchProcess): Promise<Subject> {
  return subjectOf(await startBenchServer(gateway.url))
}

/** Starts the same with keys that are made beforehand. */
export async function pooled(gateway: BenchProcess, size: number): Promise<Subject & Pooled> {
  const settings = { POOL: `default:${size}`, API_PROBE_PATH: '/probe' }
  const server = await startBenchServer(gateway.url, settings)
  const store = openSqliteStore(server.storeFile)
  const isReady = ({ state }: PoolKey) => state === 'ready'
  return {
    ...subjectOf(server),
    readyKeys: async () => (await store.listPoolKeys()).filter(isReady).length,
    async stop() {
      await store.close()
      await server.stop()
    },
  }
}

function subjectOf(server: BenchServer): Subject {
  return {
    urls: [server.url],
    secret: () => server.createToken(),
    memoryMb: () => server.memoryMb('peak'),
    stop: () => server.stop(),
  }
}

/** Starts the same endpoint as it is usually written (bench/plain.ts). */
export async function plain(gateway: BenchProcess): Promise<Subject> {
  const env = { PATH: process.env['PATH'], ...gatewayEnv(gateway.url) }
  const server = await startProcess('bench/plain.ts', [], env)
  return { urls: [server.url], secret: () => 'none', memoryMb: () => undefined, stop: () => server.stop() }
}
