import { BlockList, isIP } from 'node:net'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { type Config, forwardingHeaders } from '../config.ts'
import { canonicalAddress, parseRange } from '../ip-address.ts'

/** The most proxies that a request is followed through. */
const MOST_PROXIES = 100
/** The longest text that a proxy writes for an address: of IPv6, with a zone and a port. */
const LONGEST = 128
/** A port after an address, or the name that stands for one (RFC 7239, section 6.3). */
const PORT = /:(?:\d{1,5}|_[\w.-]+)$/
/**
 * A pair of `Forwarded`, which may be empty (RFC 7239, section 4). A value with a colon or brackets should be quoted, and
 * often is not.
 */
const PAIR = /\s*(?:([\w!#$%&'*+.^`|~-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s";,]*))\s*)?(?:;|$)/y

/** Reads the addresses that the proxies of a request report, from the last proxy to the first. */
const readers = {
  'x-forwarded-for': (element: string) => addressIn(element),
  forwarded: (element: string) => addressIn(forParameter(element)),
} satisfies Record<string, (element: string) => string | undefined>

/** The addresses of requests, from their arrival: the address of a socket is not known any more after it was closed. */
const addresses = new WeakMap<FastifyRequest, string>()

/** Returns the address of the client: an IP address in its canonical form, or `unknown` if the connection is closed. */
export function clientAddress(request: FastifyRequest): string {
  return addresses.get(request) ?? 'unknown'
}

/**
 * Notes the address of every request's client, for {@link clientAddress}: the peer of the connection or, if that is a trusted
 * proxy, the address that it reports, and so on. A report that is not an IP address counts as the address of its reporter.
 *
 * A proxy appends to one of the two headers and lets the client's own version of the other pass. If `trustProxyHeader` does
 * not name the right one, and both are present and differ, the client counts as its proxy: it cannot choose its address by
 * sending the other header. Applies to routes added afterwards.
 */
export function noteClientAddresses(
  app: FastifyInstance,
  { trustProxy, trustProxyHeader }: Pick<Config, 'trustProxy' | 'trustProxyHeader'>,
): void {
  const isTrusted = trustOf(trustProxy)
  const names = trustProxyHeader === undefined ? forwardingHeaders : [trustProxyHeader]
  let isReported = false

  function clientOf(request: FastifyRequest): string {
    const peer = canonicalAddress(request.socket.remoteAddress ?? '') ?? 'unknown'
    if (!isTrusted(peer, 0)) return peer
    const clients = new Set<string>()
    for (const name of names) {
      const header = [request.headers[name] ?? []].flat().join()
      if (header !== '') clients.add(follow(peer, header, readers[name], isTrusted))
    }
    const [client = peer] = clients
    if (clients.size < 2) return client
    if (!isReported)
      app.log.warn(
        'X-Forwarded-For and Forwarded name different clients: such requests count as those of the proxy. Set ' +
          'TRUST_PROXY_HEADER to the header that your proxy writes. This is logged once',
      )
    isReported = true
    return peer
  }

  app.addHook('onRequest', async (request) => {
    addresses.set(request, clientOf(request))
  })
}

/** Reports whether an address is a trusted proxy. `hop` 0 is the peer of the connection. */
type IsTrusted = (address: string, hop: number) => boolean

function trustOf(trusted: Config['trustProxy']): IsTrusted {
  if (trusted === false) return () => false
  if (typeof trusted === 'number') return (_address, hop) => hop < trusted
  // One list for each version: Node.js would find an IPv4 address in a range of IPv6, too.
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() }
  for (const text of trusted) {
    const range = parseRange(text)
    if (range !== undefined) lists[range.family].addSubnet(range.address, range.bits, range.family)
  }
  return (address, hop) => {
    if (hop >= MOST_PROXIES || isIP(address) === 0) return false
    const family = isIP(address) === 4 ? 'ipv4' : 'ipv6'
    return lists[family].check(address, family)
  }
}

/** Follows the reports from the peer to the first address that is no trusted proxy. */
function follow(
  peer: string,
  header: string,
  read: (element: string) => string | undefined,
  isTrusted: IsTrusted,
): string {
  let client = peer
  let hop = 0
  for (const element of elementsFromEnd(header)) {
    const reported = isTrusted(client, hop++) ? read(element) : undefined
    if (reported === undefined) break
    client = reported
  }
  return client
}

/**
 * Yields the elements of a list from the last to the first, without empty ones. What a client wrote is at the beginning, so a
 * quote that it left open cannot hide what its proxies appended.
 */
function* elementsFromEnd(list: string): Generator<string> {
  let end = list.length
  let isQuoted = false
  for (let i = list.length - 1; i >= -1; i--) {
    if (list[i] === '"' && list[i - 1] !== '\\') isQuoted = !isQuoted
    if (i >= 0 && (list[i] !== ',' || isQuoted)) continue
    const element = list.slice(i + 1, end).trim()
    end = i
    if (element !== '') yield element
  }
}

/** Returns the parameter `for` of an element of `Forwarded`; '' if there is none, or more than one, or it is malformed. */
function forParameter(element: string): string {
  const found: string[] = []
  for (PAIR.lastIndex = 0; PAIR.lastIndex < element.length; ) {
    const pair = PAIR.exec(element)
    if (pair === null) return ''
    const [, name = '', quoted, plain = ''] = pair
    if (name.toLowerCase() === 'for') found.push(quoted?.replaceAll(/\\(.)/g, '$1') ?? plain)
  }
  return found.length === 1 ? (found[0] ?? '') : ''
}

/** Returns the IP address in a proxy's report: without a port and brackets. */
function addressIn(report: string): string | undefined {
  if (report.length > LONGEST) return undefined
  const withoutPort = report.replace(PORT, '')
  const [, bracketed = ''] = withoutPort.match(/^\[([^\]]*)\]$/) ?? []
  return canonicalAddress(report) ?? canonicalAddress(withoutPort) ?? canonicalAddress(bracketed)
}
