import { lookup } from 'node:dns'
import { readFile, stat } from 'node:fs/promises'
import http from 'node:http'
import https from 'node:https'
import type { LookupFunction } from 'node:net'
import { z } from 'zod'
import { createRoutes, type ProxyVariables, throughProxy } from '../../egress-proxy.ts'
import { addressFault, hostOf, isLoopback, urlFault } from './key-addresses.ts'
import { type KeySet, parseKeySet } from './key-set.ts'
import type { Issuer } from './trust-file.ts'

/** The time limit of each request (ms). */
const TIMEOUT_MS = 5_000
const MAX_BYTES = 256 * 1_024

const discoverySchema = z.object({ issuer: z.string(), jwks_uri: z.string() })

/**
 * Reads the keys of an issuer: from its file, or from the network as its discovery document says (OpenID Connect Discovery 1.0,
 * section 4). Redirects are not followed, and addresses of metadata services are not connected to.
 * @throws Error with the reason, which contains nothing of the responses but the names in the documents
 */
export async function readKeys(issuer: Issuer, proxies: ProxyVariables): Promise<KeySet> {
  const { jwksFile, jwksUri } = issuer.keys
  const place = jwksFile ?? jwksUri ?? (await discover(issuer, proxies))
  const text = jwksFile === null ? await get(place, issuer, proxies) : await readBounded(jwksFile)
  try {
    return parseKeySet(text, issuer.algorithms)
  } catch (error) {
    throw new Error(`${place}: ${error instanceof Error ? error.message : error}`, { cause: error })
  }
}

async function discover(issuer: Issuer, proxies: ProxyVariables): Promise<string> {
  const place = `${issuer.url.replace(/\/$/, '')}/.well-known/openid-configuration`
  const { data } = discoverySchema.safeParse(parseJson(await get(place, issuer, proxies)))
  if (data === undefined) throw new Error(`${place}: it is no discovery document with issuer and jwks_uri`)
  if (data.issuer !== issuer.url)
    throw new Error(
      `${place}: it names the issuer ${JSON.stringify(data.issuer.slice(0, 200))} instead of ${issuer.url}`,
    )
  const fault = urlFault(data.jwks_uri)
  if (fault !== undefined) throw new Error(`${place}: its jwks_uri ${fault}`)
  // An issuer of the network must not lead this service to one that only listens on this machine.
  const leadsInside = isLocal(data.jwks_uri) && !isLocal(issuer.url)
  if (leadsInside) throw new Error(`${place}: its jwks_uri must not have a loopback address`)
  return data.jwks_uri
}

function isLocal(url: string): boolean {
  const host = hostOf(new URL(url))
  return host === 'localhost' || isLoopback(host)
}

/** Sends a GET request. @throws Error with the reason */
async function get(place: string, { keys }: Issuer, proxies: ProxyVariables): Promise<string> {
  const url = new URL(place)
  const { protocol } = url
  const ca = keys.caFile === null ? undefined : await readFile(keys.caFile, 'utf8')
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
  const token =
    keys.bearerTokenFile === null ? undefined : (await readFile(keys.bearerTokenFile, 'utf8')).trim()
  const headers = {
    accept: 'application/json',
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  }
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  try {
    const response = await new Promise<http.IncomingMessage>((done, failed) => {
      const send = protocol === 'https:' ? https.request : http.request
      send(url, { agent, headers, signal }).once('response', done).once('error', failed).end()
    })
    try {
      return await bodyOf(response)
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
  if (statusCode !== 200) throw new Error(`the response has the status ${statusCode}`)
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
function checkedLookup(protocol: string): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses = []) => {
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

async function readBounded(path: string): Promise<string> {
  const { size } = await stat(path)
  if (size > MAX_BYTES) throw new Error(`${path}: it has more than ${MAX_BYTES / 1_024} KiB`)
  return readFile(path, 'utf8')
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
