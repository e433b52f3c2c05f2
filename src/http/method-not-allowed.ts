import type { FastifyInstance } from 'fastify'
import { ServiceError } from '../errors.ts'

/** The methods that each path supports. */
export interface MethodsInUse {
  /**
   * Adds routes that respond with 405 and `Allow` to all other methods of every path (RFC 9110, section 15.5.6).
   * Call it after the last route is added.
   */
  refuseOthers(): void
}

/** Starts to collect the methods of every path. Call it before the first route is added. */
export function watchMethods(app: FastifyInstance): MethodsInUse {
  const inUse = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method }) => {
    const methods = inUse.get(url) ?? new Set()
    for (const name of [method].flat()) methods.add(name)
    inUse.set(url, methods)
  })
  return {
    refuseOthers() {
      for (const [url, methods] of [...inUse]) {
        const allow = [...methods].sort().join(', ')
        app.route({
          method: app.supportedMethods.filter((method) => !methods.has(method)),
          url,
          schema: { hide: true },
          // Before the body is parsed: an unsupported method takes precedence over an invalid body.
          onRequest: async (_request, reply) => {
            reply.header('allow', allow)
            throw new ServiceError('method_not_allowed', `This path supports: ${allow}.`)
          },
          handler: () => undefined,
        })
      }
    },
  }
}
