import { setImmediate as turn } from 'node:timers/promises'
import { type Exchange, exchange } from './exchange.ts'

/** The result of one agent. */
export interface Outcome {
  /** Milliseconds since all agents were started. */
  readonly ms: number
  /** 0: no response. */
  readonly status: number
  /** The value of the key that it received. */
  readonly key: string | undefined
}

/** The number of connections that are opened before those of before may send. */
const OPENED_AT_ONCE = 50

/**
 * Registers agents at the same time, one at each of `urls`. Each opens its own connection and sends one request, without
 * retries. A program needs half a second to open 10,000 connections; agents are 10,000 programs, so none waits with its
 * request until the last connection is open. All times count from the first.
 */
export async function letLoose(urls: readonly string[], secret: string): Promise<Outcome[]> {
  const startedAt = performance.now()
  const outcomes: Promise<Outcome>[] = []
  for (const url of urls) {
    outcomes.push(outcomeOf(url, secret, startedAt))
    if (outcomes.length % OPENED_AT_ONCE === 0) await turn()
  }
  return Promise.all(outcomes)
}

async function outcomeOf(url: string, secret: string, startedAt: number): Promise<Outcome> {
  const { text, endedAt } = await register(url, secret)
  const status = Number(text.match(/^HTTP\/1\.1 (\d{3})/)?.[1] ?? 0)
  return { ms: endedAt - startedAt, status, key: text.match(/"api_key_value":"([^"]+)"/)?.[1] }
}

/** Registers one agent. Never rejects. */
export function register(url: string, secret: string): Promise<Exchange> {
  const target = new URL(url)
  const body = '{"name":"bench-agent"}'
  const request =
    `POST /register HTTP/1.1\r\nHost: ${target.host}\r\nAuthorization: Bearer ${secret}\r\n` +
    `Content-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`
  return exchange(target, request)
}
