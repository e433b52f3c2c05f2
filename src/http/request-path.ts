import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'

/** The beginning of a target in absolute form, which a server has to accept (RFC 9112, section 3.2.2). */
const ORIGIN = /^https?:\/\/[^/?#]*/i

/** Turns the targets of requests into paths of this service. */
export interface RequestPaths {
  /** Notes which paths there are. Call it before the first route is added. */
  watch(app: FastifyInstance): void
  /**
   * Returns the target of a request without repeated slashes, and without the path of `PUBLIC_URL`, the end of it, or the
   * stage: some gateways remove it before they forward a request, some do not, and some send their stage, which may be its
   * last segment. It stays if what follows it is no path of this service.
   */
  rewrite(request: Pick<IncomingMessage, 'url'>): string
}

/** @param stage the name of a stage that requests have before their path; `null`: none, or the end of `basePath` */
export function createRequestPaths(basePath: string, stage: string | null): RequestPaths {
  const segments = basePath.split('/').slice(1)
  /** The ends of the base path, the longest first: `/v1/prod`, `/prod`; and the stage. */
  const prefixes = segments.map((_, i) => `/${segments.slice(i).join('/')}`)
  if (stage !== null) prefixes.push(`/${stage}`)
  const first = (path: string) => path.split('/', 2).at(1) ?? ''
  const own = new Set<string>()
  const isOwn = (path: string) => own.has(first(path))
  return {
    watch(app) {
      app.addHook('onRoute', ({ url }) => void own.add(first(url)))
    },
    rewrite({ url = '' }) {
      const target = url.replace(ORIGIN, '')
      const end = target.search(/[?#]|$/)
      const path = target.slice(0, end).replaceAll(/\/{2,}/g, '/') || '/'
      const query = target.slice(end)
      for (const prefix of prefixes) {
        if (!`${path}/`.startsWith(`${prefix}/`)) continue
        const rest = path.slice(prefix.length) || '/'
        if (rest === '/' ? !isOwn(prefix) : isOwn(rest)) return rest + query
      }
      return path + query
    },
  }
}
