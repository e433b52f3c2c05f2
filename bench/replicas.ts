import { type BenchServer, startBenchServer } from './server.ts'
import { type StoreKind, sharedStores } from './shared-store.ts'
import type { StartSubject } from './subjects.ts'

/** API Gateway's quota of control-plane calls a second. It applies to the account, so the processes share it. */
const ACCOUNT_CALLS_PER_SECOND = 10

/** Returns a subject of several service processes on one store, each with its share of the account's quota. */
export function replicas(count: number, store: StoreKind): StartSubject {
  const callsPerSecond = Math.max(1, Math.floor(ACCOUNT_CALLS_PER_SECOND / count))
  return async (gateway) => {
    const shared = await sharedStores[store]()
    const servers: BenchServer[] = []
    const stop = async () => {
      await Promise.all(servers.map((server) => server.stop()))
      await shared.remove()
    }
    try {
      const settings = { ...shared.settings, AWS_CALLS_PER_SECOND: String(callsPerSecond) }
      for (let i = 0; i < count; i++) servers.push(await startBenchServer(gateway.url, settings))
    } catch (error) {
      await stop()
      throw error
    }
    return {
      urls: servers.map(({ url }) => url),
      secret: () => servers[0]?.createToken() ?? '',
      memoryMb: () => Math.max(...servers.map((server) => server.memoryMb('peak'))),
      stop,
    }
  }
}
