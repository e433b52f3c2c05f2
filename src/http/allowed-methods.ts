import type { FastifyInstance } from 'fastify'
import { ServiceError } from '../errors.ts'

/** The target of an OPTIONS request that concerns the whole server (RFC 9112, section 3.2.4). */
const WHOLE_SERVER = '*'

/** The methods that each path supports. */
export interface MethodsInUse {
  /**
   * Adds routes to every path: OPTIONS returns 204 with `Allow` (RFC 9110, section 9.3.7), and each method that the path does
   * not support 405 with `Allow` (section 15.5.6). Call it after the last route is added.
   */
  answerOthers(): void
}

/** Starts to collect the methods of every path. Call it before the first route is added. */
export function watchMethods(app: FastifyInstance): MethodsInUse {
  const inUse = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method }) => {
    const methods = inUse.get(url) ?? new Set()
    for (const name of [method].flat()) methods.add(name)
    inUse.set(url, methods)
  })

  function answerOptions(url: string, allow: string): void {
    app.route({
      method: 'OPTIONS',
      url,
      schema: { hide: true },
      // A web page could not tell the refusal of its preflight from a broken connection.
      config: { rateLimit: false },
      // Before the body is parsed: an OPTIONS request may have one of any kind.
      onRequest: async (request, reply) => {
        if (url === WHOLE_SERVER && request.url !== WHOLE_SERVER)
          throw new ServiceError('not_found', 'This path does not exist.')
        return reply.code(204).header('allow', allow).send()
      },
      handler: () => undefined,
    })
  }

  return {
    answerOthers() {
      const all = new Set(['OPTIONS'])
      for (const [url, methods] of [...inUse]) {
        const names = [...methods, 'OPTIONS'].sort()
        for (const name of names) all.add(name)
        const allow = names.join(', ')
        answerOptions(url, allow)
        app.route({
          method: app.supportedMethods.filter((method) => !names.includes(method)),
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
      answerOptions(WHOLE_SERVER, [...all].sort().join(', '))
    },
  }
}
