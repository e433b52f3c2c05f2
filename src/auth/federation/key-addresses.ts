import { BlockList, isIP } from 'node:net'
import { canonicalAddress } from '../../ip-address.ts'

/**
 * The addresses that no issuer has: link-local ones and the others at which clouds offer credentials to their machines, and those
 * that are no destination. With the forms of IPv6 that contain an address of IPv4.
 */
const forbidden = new BlockList()
const IPV4: readonly [address: string, bits: number][] = [
  ['0.0.0.0', 8],
  ['169.254.0.0', 16],
  ['100.100.100.200', 32],
  ['168.63.129.16', 32],
  ['192.0.0.192', 32],
  ['224.0.0.0', 3],
]
for (const [address, bits] of IPV4) {
  forbidden.addSubnet(address, bits, 'ipv4')
  // NAT64 (RFC 6052), IPv4-compatible (RFC 4291, section 2.5.5.1) and 6to4 (RFC 3056).
  const hex = Buffer.from(address.split('.').map(Number)).toString('hex')
  const [high, low] = [hex.slice(0, 4), hex.slice(4)]
  forbidden.addSubnet(`64:ff9b::${high}:${low}`, 96 + bits, 'ipv6')
  forbidden.addSubnet(`::${high}:${low}`, 96 + bits, 'ipv6')
  forbidden.addSubnet(`2002:${high}:${low}::`, 16 + bits, 'ipv6')
}
forbidden.addSubnet('fe80::', 10, 'ipv6')
forbidden.addSubnet('fd00:ec2::', 32, 'ipv6')
forbidden.addSubnet('fd20:ce::254', 128, 'ipv6')
forbidden.addSubnet('ff00::', 8, 'ipv6')

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

function isIn(list: BlockList, text: string): boolean {
  const address = canonicalAddress(text)
  return address !== undefined && list.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6')
}

export function isLoopback(address: string): boolean {
  return isIn(loopback, address)
}

/** Returns the reason why an address that a name leads to is not connected to; `undefined`: it is. */
export function addressFault(address: string, protocol: string): string | undefined {
  if (canonicalAddress(address) === undefined) return 'is no IP address'
  if (isLoopback(address)) return undefined
  if (isIn(forbidden, address)) return 'is link-local, that of a metadata service, or no destination'
  return protocol === 'https:' ? undefined : 'is no loopback address, which is needed without TLS'
}

/** Returns the host of a URL as a name or an IP address without brackets. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, '$1')
}

/**
 * Returns the reason why keys are not fetched from a URL, in words that follow its name; `undefined`: they are, if its name leads
 * to an address that is allowed.
 */
export function urlFault(text: string): string | undefined {
  // Parsers of URLs repair these, and then what is connected to is not what is written and compared.
  if (/[\s\\\p{Cc}]/u.test(text)) return 'must have no white space and no backslash'
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol)) return 'must be an https URL'
  const host = hostOf(url)
  if (url.protocol === 'http:' && host !== 'localhost' && !isLoopback(host))
    return 'must be an https URL: without TLS, only a loopback address is allowed'
  if (url.username !== '' || url.password !== '') return 'must have no user name and no password'
  if (url.hash !== '') return 'must have no fragment'
  const fault = isIP(host) === 0 ? undefined : addressFault(host, url.protocol)
  return fault === undefined ? undefined : `must have another host: ${host} ${fault}`
}

/** Reports whether an issuer of the network names a URL of this machine, where other services may listen that trust it. */
export function leadsInside(url: string, issuerUrl: string): boolean {
  return isLocal(url) && !isLocal(issuerUrl)
}

function isLocal(url: string): boolean {
  const host = hostOf(new URL(url))
  return host === 'localhost' || isLoopback(host)
}
