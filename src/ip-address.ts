import { isIP, SocketAddress } from 'node:net'

const MAPPED_BITS = 96

/**
 * Returns an IP address in its canonical form (RFC 5952): without a zone, and IPv4 in the form of IPv6 as IPv4. Returns
 * `undefined` for any other text.
 */
export function canonicalAddress(text: string): string | undefined {
  if (isIP(text) !== 6) return isIP(text) === 4 ? text : undefined
  const [withoutZone = ''] = text.split('%', 1)
  const { address } = new SocketAddress({ address: withoutZone, family: 'ipv6' })
  const mapped = address.replace(/^::ffff:/, '')
  return isIP(mapped) === 4 ? mapped : address
}

/** The addresses whose first `bits` bits are those of `address`. */
export interface AddressRange {
  readonly address: string
  readonly bits: number
  readonly family: 'ipv4' | 'ipv6'
}

/** Parses an address, or a range as in `10.0.0.0/8`. Returns `undefined` for any other text. */
export function parseRange(text: string): AddressRange | undefined {
  const [, written = '', suffix] = text.match(/^([^/%]+)(?:\/(\d{1,3}))?$/) ?? []
  const address = canonicalAddress(written)
  if (address === undefined) return undefined
  const longest = isIP(written) === 4 ? 32 : 128
  const bits = Number(suffix ?? longest)
  if (bits > longest) return undefined
  if (isIP(address) === 6) return { address, bits, family: 'ipv6' }
  if (longest === 32) return { address, bits, family: 'ipv4' }
  return bits < MAPPED_BITS
    ? { address: '::', bits, family: 'ipv6' }
    : { address, bits: bits - MAPPED_BITS, family: 'ipv4' }
}
