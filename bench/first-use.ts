import { setTimeout as sleep } from 'node:timers/promises'
import { register } from './agents.ts'
import { exchange } from './exchange.ts'

/** What one agent did, from its registration to the first 200 of the protected API. */
export interface FirstUse {
  /** Milliseconds from the first byte of the registration to the first 200; `undefined`: it got no key, or no 200. */
  readonly ms: number | undefined
  /** The requests to the API, the accepted one included. */
  readonly tries: number
  /** The key's id in API Gateway. */
  readonly keyId: string | undefined
  /** The times of the first byte of the registration and of the end of its response, in milliseconds since the epoch. */
  readonly sentAt: number
  readonly answeredAt: number
}

/** The time after which an agent sends a refused request again (ms). */
const RETRY_MS = 250
const PATIENCE_MS = 90_000

/** Registers agents at the same time. Each calls the API as soon as it has its key, again and again until it is let in. */
export async function useAtOnce(
  urls: readonly string[],
  secret: string,
  apiUrl: string,
): Promise<FirstUse[]> {
  const all = urls.map(async (url) => {
    const { sentAt, endedAt, text } = await register(url, secret)
    const key = text.match(/"api_key_value":"([^"]+)"/)?.[1]
    const opened = key === undefined ? { ms: undefined, tries: 0 } : await open(apiUrl, key, sentAt)
    const keyId = text.match(/"api_key_id":"([^"]+)"/)?.[1]
    const { timeOrigin } = performance
    return { ...opened, keyId, sentAt: timeOrigin + sentAt, answeredAt: timeOrigin + endedAt }
  })
  return Promise.all(all)
}

async function open(apiUrl: string, key: string, since: number): Promise<Pick<FirstUse, 'ms' | 'tries'>> {
  for (let tries = 1; ; tries++) {
    const status = await statusOf(apiUrl, key)
    const ms = performance.now() - since
    if (status === 200) return { ms, tries }
    if (ms > PATIENCE_MS) return { ms: undefined, tries }
    await sleep(RETRY_MS)
  }
}

/** Calls the API. @returns 0: no response */
export async function statusOf(apiUrl: string, key: string): Promise<number> {
  const url = new URL(apiUrl)
  const { text } = await exchange(
    url,
    `GET ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\nX-Api-Key: ${key}\r\nConnection: close\r\n\r\n`,
  )
  return Number(text.match(/^HTTP\/1\.1 (\d{3})/)?.[1] ?? 0)
}
