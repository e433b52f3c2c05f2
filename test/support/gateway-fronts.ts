import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'

// Real HTTP proxies that change requests and responses as AWS's do, by the developer guide ("Amazon API Gateway important
// notes", "Quotas") and the user guide of Application Load Balancers. They run on Linux: each has a loopback address of its own.

/** A proxy between a client and the service. */
export type Hop = 'cloudfront' | 'rest-api' | 'http-api' | 'alb'

export interface FrontOptions {
  /** The path at which clients reach the gateway, its stage: `/prod`. '' is a domain of its own. */
  readonly publicPath?: string
  /** The path that the gateway puts before that of the request. Default: the public one, as private integrations do. */
  readonly sentPath?: string
  /** The load balancers write the port of their client, too. */
  readonly hasPorts?: boolean
  /** The time (ms) after which the gateway ends a request itself. Default: 29,000 for a REST API, 30,000 for an HTTP API. */
  readonly timeoutMs?: number
}

export interface Front {
  /** The address at which clients reach the service. */
  readonly url: string
  /** The addresses from which the hops connect, in their order. */
  readonly addresses: readonly string[]
  /** The base URL of the service. Set it before the first request. */
  target: string
  /** Each exchange with a client, as the client saw it. */
  readonly exchanges: Exchange[]
}

export interface Exchange {
  readonly method: string
  readonly url: string
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

interface Sent {
  readonly method: string
  readonly path: string
  readonly headers: Record<string, string>
}

interface Answer {
  readonly status: number
  readonly headers: Record<string, string | string[]>
  readonly body: Buffer
}

type Rules = {
  /** Changes a request on its way to the service, or answers it. */
  request(incoming: IncomingMessage, body: Buffer, toward: Target): Sent | Answer
  response?(answer: Answer): Answer
  /** The answer when the service takes too long. */
  timeout?: { readonly ms: number; readonly answer: Answer }
}

interface Target {
  /** The host of the next hop. */
  readonly host: string
  /** The address from which it is asked. */
  readonly from: string
}

const GATEWAY_BODY_LIMIT = 10 * 1_024 * 1_024
/** The most bytes of the request line and the headers. */
const GATEWAY_HEAD_LIMIT = 10_240

/** Starts the hops in front of a service, the first nearest to the clients, until the test ends. */
export async function startFront(
  t: TestContext,
  hops: readonly [Hop, ...Hop[]],
  options: FrontOptions = {},
): Promise<Front> {
  const { publicPath = '/prod' } = options
  const exchanges: Exchange[] = []
  const addresses = hops.map((_, i) => `127.0.1.${i + 1}`)
  const ports: number[] = []
  const front: Front = { url: '', addresses, target: '', exchanges }
  for (const [i, hop] of [...hops.entries()].reverse()) {
    const next = () => (i === hops.length - 1 ? front.target : `http://127.0.0.1:${ports[i + 1]}`)
    ports[i] = await startHop(t, RULES[hop](options), next, addresses[i] ?? '', (exchange) => {
      if (i === 0) exchanges.push(exchange)
    })
  }
  return Object.assign(front, { url: `http://localhost:${ports[0]}${publicPath}` })
}

async function startHop(
  t: TestContext,
  rules: Rules,
  next: () => string,
  from: string,
  record: (exchange: Exchange) => void,
): Promise<number> {
  const server = createServer({ maxHeaderSize: 64 * 1_024 }, async (incoming, outgoing) => {
    const { method = 'GET', url = '/' } = incoming
    const body = Buffer.concat(await incoming.toArray())
    const { host } = new URL(next())
    const sent = rules.request(incoming, body, { host, from })
    const answer = 'status' in sent ? sent : await answerOf(sent, body, next(), from, rules)
    const { status, headers } = answer
    outgoing.writeHead(status, {
      ...headers,
      ...(method === 'HEAD' || status === 204 ? {} : { 'content-length': String(answer.body.length) }),
    })
    outgoing.end(method === 'HEAD' ? undefined : answer.body)
    record({ method, url, status, headers, body: answer.body.toString() })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** Asks the next hop, from this one's address. */
async function answerOf(sent: Sent, body: Buffer, next: string, from: string, rules: Rules): Promise<Answer> {
  const { timeout, response = (answer) => answer } = rules
  const { hostname, port } = new URL(next)
  const onward = request({
    ...{ host: hostname, port, localAddress: from, agent: false },
    ...{ method: sent.method, path: sent.path },
    headers: {
      ...sent.headers,
      ...(body.length > 0 || sent.method === 'POST' ? { 'content-length': String(body.length) } : {}),
    },
    ...(timeout === undefined ? {} : { signal: AbortSignal.timeout(timeout.ms) }),
  })
  try {
    onward.end(body)
    const [answer] = (await once(onward, 'response')) as [IncomingMessage]
    return response({
      status: answer.statusCode ?? 502,
      headers: withoutUndefined(answer.headers),
      body: Buffer.concat(await answer.toArray()),
    })
  } catch (error) {
    if (timeout !== undefined && (error as Error).name === 'AbortError') return timeout.answer
    return json(502, 'Internal server error')
  }
}

const RULES: Record<Hop, (options: FrontOptions) => Rules> = {
  'rest-api': ({ publicPath = '/prod', sentPath = publicPath, timeoutMs = 29_000 }) => ({
    request(incoming, body, { host }) {
      const refused = refusal(incoming, body)
      if (refused !== undefined) return refused
      const { method = 'GET', url = '/' } = incoming
      const path = below(url, publicPath)
      if (path === undefined) return json(403, 'Missing Authentication Token')
      // "The plain text pipe character and the curly brace character are not supported."
      if (/\?.*[|{}]/.test(url)) return json(400, 'Bad Request')
      const headers = without(incoming.headers, REST_DROPS)
      return {
        method: incoming.headers['x-http-method-override']?.toString() ?? method,
        path: targetOf(sentPath, decodeQuery(path)),
        headers: {
          'content-type': 'application/json',
          ...headers,
          host,
          'x-forwarded-for': appended(headers['x-forwarded-for'], addressOf(incoming)),
          'x-forwarded-port': '443',
          'x-forwarded-proto': 'https',
          'x-amzn-trace-id': `Root=1-${randomUUID()}`,
          'x-amzn-apigateway-api-id': 'a1b2c3d4e5',
        },
      }
    },
    response: ({ status, headers, body }) => ({
      status,
      headers: {
        'content-type': 'application/json',
        ...remapped(headers),
        'x-amzn-requestid': randomUUID(),
        'x-amz-apigw-id': 'FAKE5EXAMPLE=',
      },
      // Without binaryMediaTypes every body is a text.
      body: Buffer.from(body.toString()),
    }),
    timeout: { ms: timeoutMs, answer: json(504, 'Endpoint request timed out') },
  }),
  'http-api': ({ publicPath = '/prod', sentPath = publicPath, timeoutMs = 30_000 }) => ({
    request(incoming, body, { host, from }) {
      const refused = refusal(incoming, body)
      if (refused !== undefined) return refused
      const { method = 'GET', url = '/' } = incoming
      const path = below(url, publicPath)
      if (path === undefined) return json(404, 'Not Found')
      const { headers } = incoming
      // "HTTP APIs translate incoming X-Forwarded-* headers into a standard Forwarded header."
      const earlier = String(headers['x-forwarded-for'] ?? '')
        .split(',')
        .flatMap((address) => (address.trim() === '' ? [] : [`for=${node(address.trim())}`]))
      const own = `for=${node(addressOf(incoming))};by=${from};host=${headers.host};proto=https`
      return {
        method,
        path: targetOf(sentPath, path),
        headers: {
          // "API Gateway adds the Content-type header to your request if there is no payload and the Content-Length is 0."
          ...(body.length === 0 && headers['content-length'] === '0'
            ? { 'content-type': 'application/octet-stream' }
            : {}),
          ...without(headers, [...HOP_BY_HOP, 'x-forwarded-for', 'x-forwarded-port', 'x-forwarded-proto']),
          host,
          forwarded: [headers.forwarded, ...earlier, own].filter((one) => one !== undefined).join(','),
          via: 'HTTP/1.1 AmazonAPIGateway',
          'x-amzn-trace-id': `Root=1-${randomUUID()}`,
        },
      }
    },
    response: ({ status, headers, body }) => ({
      status,
      headers: { ...withoutHops(headers), 'apigw-requestid': randomUUID() },
      body,
    }),
    timeout: { ms: timeoutMs, answer: json(503, 'Service Unavailable') },
  }),
  alb: ({ hasPorts = false }) => ({
    request(incoming) {
      const headers = without(incoming.headers, HOP_BY_HOP)
      const { method = 'GET', url = '/' } = incoming
      const port = hasPorts ? `:${incoming.socket.remotePort}` : ''
      return {
        method,
        path: url,
        headers: {
          ...headers,
          'x-forwarded-for': appended(headers['x-forwarded-for'], addressOf(incoming) + port),
          'x-forwarded-port': '80',
          'x-forwarded-proto': 'http',
          'x-amzn-trace-id': `Self=1-${randomUUID()};${headers['x-amzn-trace-id'] ?? ''}`,
        },
      }
    },
    response: ({ status, headers, body }) => ({ status, headers: withoutHops(headers), body }),
  }),
  /** With the origin request policy AllViewerExceptHostHeader. */
  cloudfront: () => ({
    request(incoming, _body, { host }) {
      const headers = without(incoming.headers, HOP_BY_HOP)
      const { method = 'GET', url = '/' } = incoming
      const xff = appended(headers['x-forwarded-for'], addressOf(incoming))
      return {
        method,
        path: url,
        headers: { ...headers, host, 'x-forwarded-for': xff, via: '2.0 a.cloudfront.net (CloudFront)' },
      }
    },
    response: ({ status, headers, body }) => ({ status, headers: withoutHops(headers), body }),
  }),
}

const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
  'te',
  'trailer',
  'expect',
  'content-length',
]
/** The request headers that a REST API does not send to an HTTP proxy integration. */
const REST_DROPS = [
  ...HOP_BY_HOP,
  ...[
    'content-md5',
    'content-encoding',
    'max-forwards',
    'proxy-authenticate',
    'server',
    'via',
    'www-authenticate',
  ],
]
/** The response headers that a REST API renames, as its clients see it. */
const REST_REMAPS = [
  ...[
    'authorization',
    'connection',
    'content-length',
    'content-md5',
    'date',
    'max-forwards',
    'server',
    'user-agent',
  ],
  ...['www-authenticate', 'x-amzn-requestid'],
]
const REST_RESPONSE_DROPS = [
  'expect',
  'host',
  'proxy-authenticate',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'via',
  'keep-alive',
]

function remapped(headers: Answer['headers']): Answer['headers'] {
  return Object.fromEntries(
    Object.entries(headers)
      .filter(([name]) => !REST_RESPONSE_DROPS.includes(name))
      .map(([name, value]) => [REST_REMAPS.includes(name) ? `x-amzn-remapped-${name}` : name, value]),
  )
}

/** The gateway's own limits. */
function refusal({ rawHeaders, url = '' }: IncomingMessage, body: Buffer): Answer | undefined {
  if (body.length > GATEWAY_BODY_LIMIT) return json(413, 'Request Too Long')
  if (url.length + rawHeaders.join('').length > GATEWAY_HEAD_LIMIT) return json(431, null)
  return undefined
}

function json(status: number, message: string | null): Answer {
  return {
    status,
    headers: { 'content-type': 'application/json', 'x-amzn-requestid': randomUUID() },
    body: Buffer.from(JSON.stringify({ message })),
  }
}

/** Returns the part of a request's path below the stage, with its query; `undefined` outside it. */
function below(url: string, publicPath: string): string | undefined {
  if (publicPath === '') return url
  if (!url.startsWith(publicPath) || !/^(?:[/?]|$)/.test(url.slice(publicPath.length))) return undefined
  return url.slice(publicPath.length)
}

/** Joins a path and what follows it, which may be a query alone. */
const targetOf = (path: string, rest: string) => (path + rest).replace(/^(?=\?|$)/, '/')

/**
 * "REST APIs decode URL-encoded request parameters before passing them to backend integrations", and encode the percent sign.
 * What separates parameters stays encoded here: without that no parameter could hold it.
 */
function decodeQuery(path: string): string {
  const start = path.indexOf('?')
  if (start === -1) return path
  const query = path.slice(start).replaceAll(/(?:%[\da-f]{2})+/gi, (run) => {
    try {
      return decodeURIComponent(run).replaceAll(/[\s%&+#=;]/g, encodeURIComponent)
    } catch {
      return run
    }
  })
  // Node.js writes a target byte by byte.
  return path.slice(0, start) + Buffer.from(query).toString('latin1')
}

const appended = (list: string | undefined, address: string) =>
  list === undefined ? address : `${list}, ${address}`

const addressOf = ({ socket }: IncomingMessage) => (socket.remoteAddress ?? '').replace(/^::ffff:/, '')

/** A node of RFC 7239, section 6. */
const node = (address: string) => (/^[\w.]+$/.test(address) ? address : `"${address}"`)

function without(headers: IncomingHttpHeaders, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined || names.includes(name) ? [] : [[name, [value].flat().join(', ')]],
    ),
  )
}

function withoutUndefined(headers: IncomingHttpHeaders): Answer['headers'] {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  )
}

const withoutHops = (headers: Answer['headers']) =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP_BY_HOP.includes(name)))
