import { lookup } from 'node:dns'
import { readFile } from 'node:fs/promises'
import http from 'node:http'
import https from 'node:https'
import type { LookupFunction } from 'node:net'
import { createRoutes, type ProxyVariables, throughProxy } from '../../egress-proxy.ts'
import { addressFault, hostOf, urlFault } from './key-addresses.ts'
import type { KeySource } from './trust-file.ts'

/** The time limit of each request (ms). */
const TIMEOUT_MS = 5_000
/** The most bytes that are read of an issuer. */
export const MAX_BYTES = 256 * 1_024

export interface IssuerRequest {
  readonly method?: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | undefined
}

export interface IssuerResponse {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
}

/**
 * Sends a request to an issuer. Redirects are not followed, and addresses of metadata services are not connected to.
 * @throws Error with the reason, which contains nothing of the response
 */
export async function askIssuer(
  place: string,
  { method = 'GET', headers, body }: IssuerRequest,
  { caFile }: Pick<KeySource, 'caFile'>,
  proxies: ProxyVariables,
): Promise<IssuerResponse> {
  const fault = urlFault(place)
  if (fault !== undefined) throw new Error(`${place}: its URL ${fault}`)
  const url = new URL(place)
  const { protocol } = url
  const ca = caFile === null ? undefined : await readFile(caFile, 'utf8')
  const routeOf = createRoutes(proxies, {
    ...{ keepAlive: false, lookup: checkedLookup(protocol) },
    ...(ca === undefined ? {} : { ca }),
  })
  const route = routeOf({
    protocol,
    hostname: hostOf(url),
    ...(url.port === '' ? {} : { port: Number(url.port) }),
  })
  const agent = protocol === 'https:' ? route.httpsAgent : route.httpAgent
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  try {
    const response = await new Promise<http.IncomingMessage>((done, failed) => {
      const send = protocol === 'https:' ? https.request : http.request
      const request = send(url, { agent, method, headers, signal })
      request.once('response', done).once('error', failed).end(body)
    })
    try {
      return {
        status: response.statusCode ?? 0,
        headers: response.headers,
        body: await bodyOf(response),
      }
    } finally {
      response.destroy()
    }
  } catch (error) {
    throw new Error(`${place}: ${whyFailed(throughProxy(error, route), signal)}`, { cause: error })
  }
}

async function bodyOf(response: http.IncomingMessage): Promise<string> {
  const { statusCode = 0, headers } = response
  if (statusCode >= 300 && statusCode < 400)
    throw new Error(`it redirects (${statusCode}), which is not followed`)
  if ((headers['content-encoding'] ?? 'identity') !== 'identity')
    throw new Error('the response is compressed')
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response) {
    bytes += chunk.length
    if (bytes > MAX_BYTES) throw new Error(`the response has more than ${MAX_BYTES / 1_024} KiB`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function whyFailed(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) return `there is no complete response within ${TIMEOUT_MS / 1_000} seconds`
  return error instanceof Error
    ? error.message || ('code' in error ? String(error.code) : error.name)
    : String(error)
}

/** Resolves a name, and refuses it if one of its addresses is not allowed. The connection uses the addresses that were checked. */
export function checkedLookup(protocol: string, resolve: typeof lookup = lookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses = []) => {
      const faults = addresses.flatMap(({ address }) => {
        const fault = addressFault(address, protocol)
        return fault === undefined ? [] : [`${hostname} leads to ${address}, which ${fault}`]
      })
      const [first] = addresses
      if (error !== null || first === undefined)
        callback(error ?? new Error(`${hostname} has no address`), '', 0)
      else if (faults[0] !== undefined) callback(new Error(faults[0]), '', 0)
      else if (options.all) callback(null, addresses)
      else callback(null, first.address, first.family)
    })
  }
}
