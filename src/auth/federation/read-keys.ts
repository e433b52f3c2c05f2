import { readFile, stat } from 'node:fs/promises'
import { z } from 'zod'
import type { ProxyVariables } from '../../egress-proxy.ts'
import { askIssuer, MAX_BYTES } from './ask-issuer.ts'
import { leadsInside, urlFault } from './key-addresses.ts'
import { type KeySet, parseKeySet } from './key-set.ts'
import type { Issuer } from './trust-file.ts'

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
  if (leadsInside(data.jwks_uri, issuer.url))
    throw new Error(`${place}: its jwks_uri must not have a loopback address`)
  return data.jwks_uri
}

/** Sends a GET request. @throws Error with the reason */
async function get(place: string, { keys }: Issuer, proxies: ProxyVariables): Promise<string> {
  const token =
    keys.bearerTokenFile === null ? undefined : (await readFile(keys.bearerTokenFile, 'utf8')).trim()
  const headers = {
    accept: 'application/json',
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  }
  const { status, body } = await askIssuer(place, { headers }, keys, proxies)
  if (status !== 200) throw new Error(`${place}: the response has the status ${status}`)
  return body
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
