import http from 'node:http'
import https from 'node:https'
import { BlockList, isIP } from 'node:net'
import { parseRange } from './ip-address.ts'

type Variables = Readonly<Record<string, string | undefined>>

/** The destination of a request. `port`: left out for that of the protocol. */
export interface Target {
  /** `http:` or `https:` */
  readonly protocol: string
  readonly hostname: string
  readonly port?: number | undefined
}

/** The way of a request to its destination. The agents are kept, so that connections are reused. */
export interface Route {
  /** The host and port of the proxy, without its credentials; `undefined`: none is used. */
  readonly proxy: string | undefined
  readonly httpAgent: http.Agent
  readonly httpsAgent: https.Agent
}

const NAMES = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'] as const

/** The variables for outgoing proxies. Their names are in upper case, whatever they are in the environment. */
export type ProxyVariables = Readonly<Partial<Record<(typeof NAMES)[number], string>>>

/** Reads the variables for outgoing proxies. One whose name is in lower case wins. */
export function readProxies(env: Variables): ProxyVariables {
  const set = NAMES.map((name) => [name, env[name.toLowerCase()]?.trim() || env[name]?.trim()])
  return Object.fromEntries(set.filter(([, value]) => value))
}

/**
 * Applies the variables for outgoing proxies as the AWS CLI and curl do: `HTTP_PROXY` for `http:`, `HTTPS_PROXY` for `https:`,
 * by CONNECT, except to the hosts in `NO_PROXY`. Node.js itself would do so only with `NODE_USE_ENV_PROXY`, and knows fewer
 * forms of `NO_PROXY`.
 * @returns a function that chooses the route of a request
 */
export function createRoutes(
  proxies: ProxyVariables,
  options: http.AgentOptions = {},
): (target: Target) => Route {
  const httpProxy = parseProxy(proxies.HTTP_PROXY)
  const httpsProxy = parseProxy(proxies.HTTPS_PROXY)
  const isExcluded = parseExclusions(proxies.NO_PROXY)
  const openRoute = (protocol: string, proxy: URL | undefined): Route => {
    // Not left out, or a later Node.js would take the proxy from the environment.
    const proxyEnv =
      proxy === undefined ? {} : { [protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY']: proxy.href }
    const all = { keepAlive: true, ...options, proxyEnv }
    return { proxy: proxy?.host, httpAgent: new http.Agent(all), httpsAgent: new https.Agent(all) }
  }
  const direct = openRoute('', undefined)
  const throughHttp = httpProxy && openRoute('http:', httpProxy)
  const throughHttps = httpsProxy && openRoute('https:', httpsProxy)
  return (target) => {
    const proxied = target.protocol === 'https:' ? throughHttps : throughHttp
    return proxied === undefined || isExcluded(target) ? direct : proxied
  }
}

/** Lists the faults of the variables, each with the name of its variable. Not the value: it may have a password. */
export function proxyFaults(env: Variables): string[] {
  return ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY']
    .filter((name) => env[name]?.trim() && parseProxy(env[name]) === undefined)
    .map((name) => `${name} must be the URL of an HTTP proxy, for example http://proxy.example.com:3128`)
}

/** Adds the proxy that a request was sent through to the message of its failure. */
export function throughProxy(error: unknown, { proxy }: Route): unknown {
  if (proxy !== undefined && error instanceof Error) error.message += ` (through the proxy ${proxy})`
  return error
}

/** @returns `undefined`: there is none, or it is not valid */
function parseProxy(text: string | undefined): URL | undefined {
  if (text === undefined || text === '') return undefined
  const url = URL.parse(text.includes('://') ? text : `http://${text}`)
  return url !== null && /^https?:$/.test(url.protocol) ? url : undefined
}

/**
 * Parses `NO_PROXY`: names, separated by commas or spaces. `example.com`, `.example.com` and `*.example.com` mean a host and
 * all hosts below it; an address or a CIDR range means addresses; `:PORT` limits an entry to that port; `*` means all.
 */
function parseExclusions(text = ''): (target: Target) => boolean {
  const addresses = new BlockList()
  const entries = text
    .toLowerCase()
    .split(/[\s,]+/)
    .filter((entry) => entry !== '' && !addRange(addresses, entry))
    .map(parseEntry)
  return ({ protocol, hostname, port = protocol === 'https:' ? 443 : 80 }) => {
    const host = withoutBrackets(hostname.toLowerCase()).replace(/\.$/, '')
    const version = isIP(host)
    if (version !== 0 && addresses.check(host, version === 4 ? 'ipv4' : 'ipv6')) return true
    return entries.some(
      (entry) =>
        (entry.port === undefined || entry.port === port) &&
        (entry.host === '*' || host === entry.host || (version === 0 && host.endsWith(`.${entry.host}`))),
    )
  }
}

/** Adds an address or a CIDR range. @returns `false`: the entry is another */
function addRange(addresses: BlockList, entry: string): boolean {
  const range = parseRange(withoutBrackets(entry))
  if (range !== undefined) addresses.addSubnet(range.address, range.bits, range.family)
  return range !== undefined
}

function parseEntry(entry: string): { readonly host: string; readonly port: number | undefined } {
  const [, name = entry, port] = entry.match(/^(.*):(\d{1,5})$/) ?? []
  const host = withoutBrackets(name)
    .replace(/^\*?\./, '')
    .replace(/\.$/, '')
  return { host, port: port === undefined ? undefined : Number(port) }
}

const withoutBrackets = (text: string) => text.replace(/^\[(.*)\]$/, '$1')
