/**
 * The syntax of a redirect URI on the caller's own computer (RFC 8252, section 7.3): plain http to a loopback address with any
 * port, and a path and a query as sent. The pattern reads the text itself, so that what no two URL parsers agree about
 * (user info, a backslash, white space, a fragment) has no place in it.
 */
const LOOPBACK =
  /^http:\/\/(127\.0\.0\.1|\[::1\]|localhost)(?::([1-9]\d{0,4}))?((?:\/[\w\-.~!$&'()*+,;=:%]*)*)(?:\?([\w\-.~!$&'()*+,;=:%/]*))?$/
/** The longest redirect URI, in characters: it is kept in a cookie. */
const LONGEST = 512
/** The parameters of a response, which a redirect URI must not have already. */
const RESPONSE_PARAMETERS = ['code', 'state', 'iss', 'error', 'error_description', 'error_uri']

/** The receiver of a code: a program on the caller's computer, or one of this service's own pages. */
export type Target =
  | { readonly kind: 'program'; readonly host: string; readonly port: number }
  | { readonly kind: 'page' }

/**
 * Reads a redirect URI.
 * @param ownPages the URLs of this service's pages that take a code
 * @returns `undefined`: a login must not end there
 */
export function targetOf(redirectUri: string, ownPages: readonly string[]): Target | undefined {
  if (ownPages.includes(redirectUri)) return { kind: 'page' }
  if (redirectUri.length > LONGEST) return undefined
  const [, host, port = '80', path = '', query = ''] = redirectUri.match(LOOPBACK) ?? []
  if (host === undefined || Number(port) > 65_535) return undefined
  const url = URL.parse(redirectUri)
  // A path that a browser would change is none as sent: `..`, `//` after which a host could be read.
  if (url === null || url.pathname !== (path || '/') || path.includes('//')) return undefined
  const parameters = new URLSearchParams(query)
  if (RESPONSE_PARAMETERS.some((name) => parameters.has(name))) return undefined
  return { kind: 'program', host, port: Number(port) }
}

/** Returns a redirect URI with parameters added to its query (RFC 6749, section 3.1.2); those that are `undefined` are left out. */
export function withParameters(
  redirectUri: string,
  parameters: Readonly<Record<string, string | undefined>>,
): string {
  const added = new URLSearchParams()
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) added.append(name, value)
  return `${redirectUri}${redirectUri.includes('?') ? '&' : '?'}${added}`
}
