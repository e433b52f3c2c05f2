import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { gcpClaims } from './claims.ts'
import type { Claims, TestIssuer } from './issuer.ts'

const IDENTITY = '/computeMetadata/v1/instance/service-accounts/default/identity'
const FLAVOR = { 'metadata-flavor': 'Google' }

/**
 * Starts a local metadata server of Google Cloud that issues identity tokens, until the end of the test. As Google's, it wants
 * the header `Metadata-Flavor` and returns the same token again for the same audience.
 * @param claims claims of the service account, over those of {@link gcpClaims}
 * @returns its host and port
 */
export async function startMetadataServer(
  t: TestContext,
  issuer: TestIssuer,
  claims: Claims = {},
): Promise<string> {
  const cached = new Map<string, string>()
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://metadata.google.internal')
    const audience = url.searchParams.get('audience') ?? ''
    if (request.headers['metadata-flavor'] !== 'Google') return void response.writeHead(403).end()
    if (url.pathname !== IDENTITY) return void response.writeHead(404, FLAVOR).end()
    if (audience === '')
      return void response.writeHead(400, FLAVOR).end('non-empty audience parameter required')
    const isFull = url.searchParams.get('format') === 'full'
    const key = `${audience} ${isFull}`
    const all = {
      ...gcpClaims(isFull ? {} : { google: undefined, email: undefined }),
      ...claims,
      aud: audience,
    }
    const token = cached.get(key) ?? issuer.sign(all)
    cached.set(key, token)
    response.writeHead(200, { ...FLAVOR, 'content-type': 'text/html' }).end(token)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}
