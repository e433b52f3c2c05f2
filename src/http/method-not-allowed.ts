import type { FastifyInstance } from 'fastify'
import { ServiceError } from '../errors.ts'

/**
 * Answers 405 with `Allow` on every path that exists for other methods (RFC 9110, section 15.5.6).
 * Call {@link MethodsInUse.refuseOthers} after the last route was added.
 */
export interface MethodsInUse {
  refuseOthers(): void
}

/** Call before the first route is added. */
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
          // Before the body is looked at: a wrong method with a wrong body is a wrong method.
          onRequest: async (_request, reply) => {
            reply.header('allow', allow)
            throw new ServiceError('method_not_allowed', `This path has: ${allow}.`)
          },
          handler: () => undefined,
        })
      }
    },
  }
}
