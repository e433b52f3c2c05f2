import type { FastifyInstance } from 'fastify'
import type { Account, ApiKey } from './account.ts'
import type { GatewayOptions, UsagePlan } from './options.ts'
import type { Usage } from './usage.ts'

export interface DataPlane {
  readonly options: GatewayOptions
  readonly account: Account
  readonly usage: Usage
}

/**
 * Adds the protected demo API under `/execute-api/{apiId}/{stage}/…`. Like a method with `apiKeyRequired`, it returns 200
 * for a key whose plan covers the stage, 403 for any other key or none, and 429 above the plan's limits.
 */
export async function dataPlane(app: FastifyInstance, { options, account, usage }: DataPlane): Promise<void> {
  app.all<{ Params: { apiId: string; stage: string; '*': string } }>(
    '/execute-api/:apiId/:stage/*',
    async (request, reply) => {
      const { apiId, stage } = request.params
      const key = account.keyByValue(String(request.headers['x-api-key'] ?? ''))
      const plan = key && usablePlan(account, key, apiId, stage, options.propagationMs)
      if (key === undefined || plan === undefined) return reply.code(403).send({ message: 'Forbidden' })
      const verdict = usage.count(plan, key)
      if (verdict === 'throttled') return reply.code(429).send({ message: 'Too Many Requests' })
      if (verdict === 'over quota') return reply.code(429).send({ message: 'Limit Exceeded' })
      return {
        message: 'Hello from the demo API',
        path: `/${request.params['*']}`,
        key: key.name,
        plan: plan.name,
      }
    },
  )
}

function usablePlan(
  account: Account,
  key: ApiKey,
  apiId: string,
  stage: string,
  propagationMs: number,
): UsagePlan | undefined {
  if (!key.enabled || Date.now() < key.createdAt + propagationMs) return undefined
  return [...key.planIds]
    .map((id) => account.plan(id))
    .find((plan) => plan.apiStages.some((own) => own.apiId === apiId && own.stage === stage))
}
