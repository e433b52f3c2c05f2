import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Meter, MeteredOperation, MeteredRequest } from '../meter.ts'
import { failureOf } from './request-log.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The operation of the route's requests, if they are counted. */
    readonly counted?: MeteredOperation
  }
}

const plans = new WeakMap<FastifyRequest, string>()

/** Notes the plan of the key that a request is for. */
export function notePlan(request: FastifyRequest, plan: string): void {
  plans.set(request, plan)
}

/**
 * Reports the end of each request to a route that names its operation in `config.counted`. Applies to routes added afterwards.
 */
export function countRequests(app: FastifyInstance, meter: Meter): void {
  app.addHook('onRequest', async (request, reply) => {
    const operation = request.routeOptions.config.counted
    if (operation === undefined) return
    reply.raw.once('close', () => {
      const plan = plans.get(request) ?? null
      meter.request({ operation, plan, ...endOf(request, reply), ms: reply.elapsedTime })
    })
  })
}

function endOf(request: FastifyRequest, reply: FastifyReply): Pick<MeteredRequest, 'outcome' | 'code'> {
  const code = failureOf(request, reply).code ?? null
  if (code === 'client_closed') return { outcome: 'left', code }
  if (reply.statusCode >= 500) return { outcome: 'failed', code }
  if (reply.statusCode >= 400) return { outcome: 'refused', code }
  return { outcome: reply.hasHeader('idempotency-replayed') ? 'replayed' : 'succeeded', code }
}
