import { once } from 'node:events'
import { createServer } from 'node:net'

/** Linux lets a second socket of the same user listen on a port that the first one holds. */
const CAN_SHARE = process.platform === 'linux'

/** A free port that no other process gets. To listen on it, `listenOptions` are needed. */
export interface ReservedPort {
  readonly port: number
  readonly listenOptions: { readonly port: number; readonly reusePort: boolean }
  /** Ends the reservation. Call it once the service listens. */
  release(): void
}

/**
 * Reserves a free port, so that it is known before anything listens on it. Where a port cannot be shared, it is free again at
 * once. @throws Error as `listen` does
 */
export async function reservePort(host: string): Promise<ReservedPort> {
  const holder = createServer((socket) => socket.destroy()).listen({ host, port: 0, reusePort: CAN_SHARE })
  await once(holder, 'listening')
  const address = holder.address()
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0
  const release = () => void holder.close()
  if (!CAN_SHARE) release()
  return { port, listenOptions: { port, reusePort: CAN_SHARE }, release }
}
