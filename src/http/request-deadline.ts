import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import { ServiceError } from '../errors.ts'

type Step = (this: FastifyInstance, request: FastifyRequest, reply: FastifyReply) => unknown

/**
 * Gives every request a deadline, `ms` milliseconds after its arrival: a hook or a handler that is not done by then, because
 * the store or AWS stalls, is answered for with a retryable error. Late work continues, and its result is dropped. The hooks
 * of the whole instance are excepted: they wait for nothing. Applies to routes added afterwards, whose steps are async.
 */
export function limitRequests(app: FastifyInstance, ms: number): void {
  const storeIsLate = () => late('store_unavailable', 'The store of the service did not respond in time.')
  const requestIsLate = () => late('upstream_unavailable', 'The request could not be finished in time.')
  app.addHook('onRoute', (route: RouteOptions) => {
    // They authenticate and count requests, and so wait for the store alone.
    const hooks = [route.onRequest ?? []].flat() as Step[]
    route.onRequest = hooks.map((hook) => inTime(hook, ms, storeIsLate))
    route.handler = inTime(route.handler as Step, ms, requestIsLate)
  })
}

function late(code: 'store_unavailable' | 'upstream_unavailable', detail: string): ServiceError {
  return new ServiceError(code, detail, { retryAfter: 5 })
}

function inTime(step: Step, ms: number, error: () => ServiceError) {
  return async function (this: FastifyInstance, request: FastifyRequest, reply: FastifyReply) {
    let timer: NodeJS.Timeout | undefined
    const over = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(error()), Math.max(0, ms - reply.elapsedTime))
    })
    try {
      return await Promise.race([step.call(this, request, reply), over])
    } finally {
      clearTimeout(timer)
    }
  }
}
