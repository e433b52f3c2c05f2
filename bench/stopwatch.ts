import type { Gateway } from '../emulator/gateway.ts'

/** The milliseconds of a request, in total and in the emulator. */
export interface Sample {
  readonly total: number
  readonly gateway: number
}

/**
 * Returns a function that sends one request to `url` over a keep-alive connection and measures it. One at a time, so that the
 * emulator's time belongs to the current request. It throws if the response is an error.
 */
export function createStopwatch(gateway: Gateway, url: string) {
  const busyMs = () => Object.values(gateway.busyMs).reduce((sum, ms) => sum + ms, 0)
  return async (path: string, init?: RequestInit): Promise<Sample> => {
    const [before, gatewayBefore] = [performance.now(), busyMs()]
    const response = await fetch(`${url}${path}`, init)
    await response.arrayBuffer()
    if (!response.ok) throw new Error(`${path} returned ${response.status}`)
    return { total: performance.now() - before, gateway: busyMs() - gatewayBefore }
  }
}
