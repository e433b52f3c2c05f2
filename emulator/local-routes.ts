import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { Account } from './account.ts'
import { ApiError } from './api-error.ts'
import { type FaultOrder, type Faults, faultSchema } from './faults.ts'
import type { GatewayCall } from './gateway.ts'
import type { RestApi } from './rest-api.ts'
import { stage } from './rest-apis.ts'

export interface LocalRoutes {
  readonly account: Account
  readonly faults: Faults
  readonly calls: readonly GatewayCall[]
  /** Returns what else the state shows. */
  readonly figures: () => object
}

/** Settings that only AWS itself makes: the tags of CloudFormation, the ACL of AWS WAF, the age of an account. */
const planted = z.strictObject({
  restApi: z.strictObject({ id: z.string(), tags: z.record(z.string(), z.string()) }).optional(),
  stage: z.strictObject({ restApiId: z.string(), stageName: z.string(), webAclArn: z.string() }).optional(),
  account: z.strictObject({ features: z.array(z.string()) }).optional(),
})

/** Adds the routes with which other processes look into the emulator and change what no operation changes. */
export async function localRoutes(
  app: FastifyInstance,
  { account, faults, calls, figures }: LocalRoutes,
): Promise<void> {
  app.setErrorHandler((error, _request, reply) => {
    if (error instanceof z.ZodError) return reply.code(400).send({ message: z.prettifyError(error) })
    if (error instanceof ApiError) return reply.code(error.status).send({ message: error.message })
    throw error
  })
  app.get('/_local/state', () => ({
    keys: [...account.keys.values()].map(({ value: _, planIds, ...key }) => ({
      ...key,
      planIds: [...planIds],
    })),
    plans: [...account.plans.values()],
    restApis: [...account.restApis.all.values()].map(restApiState),
    domains: [...account.domains.all.values()].map(({ mappings, ...domain }) => ({
      ...domain,
      mappings: [...mappings.values()],
    })),
    account: account.settings,
    ...figures(),
  }))
  app.patch('/_local/state', async ({ body }, reply) => {
    const order = planted.parse(body)
    if (order.restApi !== undefined) account.restApis.get(order.restApi.id).tags = order.restApi.tags
    if (order.stage !== undefined) {
      const { restApiId, stageName, webAclArn } = order.stage
      stage(account.restApis.get(restApiId), stageName).webAclArn = webAclArn
    }
    if (order.account !== undefined) account.settings.features = order.account.features
    return reply.code(204).send()
  })
  app.get('/_local/calls', () => calls)
  app.post<{ Body: FaultOrder }>('/_local/faults', async ({ body }, reply) => {
    faults.order(faultSchema.parse(body))
    return reply.code(204).send()
  })
  app.delete('/_local/faults', async (_request, reply) => {
    faults.clear()
    return reply.code(204).send()
  })
}

function restApiState({ resources, deployments, stages, ...api }: RestApi) {
  return {
    ...api,
    resources: [...resources.values()].map(({ methods, ...own }) => ({
      ...own,
      methods: Object.fromEntries(methods),
    })),
    deployments: [...deployments.values()].map(({ snapshot: _, ...own }) => own),
    stages: [...stages.values()],
  }
}
