import { isIP } from 'node:net'
import { canonicalAddress } from './ip-address.ts'

/** The 16-bit groups of an IPv6 address that name its network: a /64, of which one client can use every address. */
const NETWORK_GROUPS = 4
const GROUPS = 8

/**
 * Returns the network of a client's address, by which clients are told apart: the address itself for IPv4, the /64 for IPv6,
 * as in `2001:db8:0:1::/64`. An IPv4 address in the form of IPv6 is an IPv4 address. Any other text is returned as it is.
 */
export function networkOf(address: string): string {
  const canonical = canonicalAddress(address) ?? address
  if (isIP(canonical) !== 6) return canonical
  const [start = '', end] = canonical.split('::')
  const before = groupsOf(start)
  const after = groupsOf(end ?? '')
  const zeros = Array.from({ length: GROUPS - before.length - after.length }, () => '0')
  return `${[...before, ...zeros, ...after].slice(0, NETWORK_GROUPS).join(':')}::/64`
}

/** Splits a part of an IPv6 address into groups; an IPv4 address at its end takes the place of two. */
function groupsOf(part: string): string[] {
  if (part === '') return []
  return part.split(':').flatMap((group) => (group.includes('.') ? ['0', '0'] : [group]))
}
