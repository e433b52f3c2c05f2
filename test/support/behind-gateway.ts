import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { type Front, type FrontOptions, type Hop, startFront } from './gateway-fronts.ts'
import { type LoginService, type LoginServiceOptions, startLoginService } from './identity/login.ts'
import type { Service } from './service.ts'

export type Hops = readonly [Hop, ...Hop[]]

/** The variables of a service behind these hops, as docs/for-operators.md says. */
export const WIRINGS: readonly {
  /** Its row in the document. */
  readonly name: string
  readonly hops: Hops
  readonly trustProxy: string
  readonly header: 'X-Forwarded-For' | 'Forwarded'
}[] = [
  { name: 'REST API, Regional', hops: ['rest-api'], trustProxy: '1', header: 'X-Forwarded-For' },
  {
    name: 'REST API, Regional → VPC link v2 → ALB',
    hops: ['rest-api', 'alb'],
    trustProxy: '2',
    header: 'X-Forwarded-For',
  },
  {
    name: 'REST API, edge-optimised, or behind CloudFront',
    hops: ['cloudfront', 'rest-api'],
    trustProxy: '2',
    header: 'X-Forwarded-For',
  },
  {
    name: 'REST API, edge-optimised, or behind CloudFront → VPC link v2 → ALB',
    hops: ['cloudfront', 'rest-api', 'alb'],
    trustProxy: '3',
    header: 'X-Forwarded-For',
  },
  { name: 'HTTP API', hops: ['http-api'], trustProxy: '1', header: 'Forwarded' },
  { name: 'HTTP API → VPC link → ALB', hops: ['http-api', 'alb'], trustProxy: '1', header: 'Forwarded' },
  {
    name: 'HTTP API behind CloudFront → VPC link → ALB',
    hops: ['cloudfront', 'http-api', 'alb'],
    trustProxy: '2',
    header: 'Forwarded',
  },
  { name: 'ALB alone', hops: ['alb'], trustProxy: '1', header: 'X-Forwarded-For' },
  { name: 'CloudFront → ALB', hops: ['cloudfront', 'alb'], trustProxy: '2', header: 'X-Forwarded-For' },
]

/** A service that its clients reach through hops: its `url` is that of the first. */
export type Behind<Inner> = Inner & { readonly front: Front; readonly publicUrl: string }

/**
 * Starts a service behind hops. At the end of the test, each URL that a client received must lead through them.
 * @param start starts the service, with the variables of its wiring
 */
export async function startBehind<Inner extends Service>(
  t: TestContext,
  hops: Hops,
  start: (env: Record<string, string>, publicUrl: string) => Promise<Inner>,
  options: FrontOptions = {},
): Promise<Behind<Inner>> {
  const front = await startFront(t, hops, options)
  const { url } = front
  const wiring = WIRINGS.find((one) => one.hops.join() === hops.join())
  assert.ok(wiring)
  const { trustProxy, header } = wiring
  const env = {
    PUBLIC_URL: url,
    TRUST_PROXY: trustProxy,
    TRUST_PROXY_HEADER: header,
    API_PROBE_PATH: '/probe',
  }
  const inner = await start(env, url)
  front.target = new URL(inner.url).origin.replace('localhost', '127.0.0.1')
  t.after(() => assert.deepEqual(strayUrls(front), []))
  return {
    ...inner,
    ...{ front, url, publicUrl: url },
    register: (secret, body = { name: 'acme-agent' }, headers = {}) =>
      fetch(`${url}/register`, {
        method: 'POST',
        headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      }),
  }
}

/** Starts a service with a login behind hops. */
export const startLoginBehind = (
  t: TestContext,
  hops: Hops,
  options: LoginServiceOptions = {},
): Promise<Behind<LoginService>> =>
  startBehind(t, hops, (env, url) =>
    startLoginService(t, {
      provider: { redirectUris: [`${url}/connect/callback`] },
      ...options,
      env: { ...env, ...options.env },
    }),
  )

/**
 * Returns the URLs that clients of a front received and that do not lead back through it: those of the service itself, those
 * of the gateway outside its public path, and in pages the paths outside it.
 */
function strayUrls({ url, target, exchanges }: Front): string[] {
  const { origin, pathname } = new URL(url)
  const base = pathname === '/' ? '' : pathname
  const hosts = [
    origin,
    origin.replace('localhost', '127.0.0.1'),
    target,
    target.replace('127.0.0.1', 'localhost'),
  ]
  return exchanges.flatMap(({ method, url: path, headers, body }) => {
    // A policy names origins.
    const { 'content-security-policy': _, ...others } = headers
    const texts = [...Object.values(others).flat().map(String), body]
    const absolute = texts
      .flatMap((text) => hosts.flatMap((host) => text.match(RegExp(`${host}[^\\s"'<>)\`,;&]*`, 'g')) ?? []))
      .filter((found) => !isBelow(found, url))
    const isPage = /^text\/html/.test(String(headers['content-type']))
    const relative = isPage
      ? [...body.matchAll(/ (?:href|src|action|data-\w+)="(\/[^"]*)"/g)].map(([, link = '']) => link)
      : []
    const outside = relative.filter((link) => !isBelow(link, base))
    return [...absolute, ...outside].map((found) => `${method} ${path}: ${found}`)
  })
}

const isBelow = (found: string, base: string) =>
  found.startsWith(base) && /^(?:[/?#.:]|$)/.test(found.slice(base.length))
