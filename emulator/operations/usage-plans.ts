import { z } from 'zod'
import { type Operation, on } from '../operation.ts'
import { page } from '../page.ts'
import { read, readPatches, tags } from '../read-input.ts'
import { replaceFields } from '../replace-fields.ts'
import { listed } from './listed.ts'
import { patchPlan } from './usage-plan-patches.ts'

const throttle = z.object({ rateLimit: z.number().min(0), burstLimit: z.int().min(0) }).partial()
const newPlan = z.object({
  name: z.string().min(1),
  description: z.string().exactOptional(),
  apiStages: z
    .array(
      z.object({
        apiId: z.string(),
        stage: z.string(),
        throttle: z.record(z.string(), throttle).exactOptional(),
      }),
    )
    .default([]),
  throttle: throttle.exactOptional(),
  quota: z
    .object({ limit: z.int().min(0), offset: z.int().min(0), period: z.enum(['DAY', 'WEEK', 'MONTH']) })
    .partial()
    .exactOptional(),
  tags: tags.exactOptional(),
})

export const usagePlanOperations = {
  CreateUsagePlan: {
    ...on('POST', '/usageplans', 201),
    run: ({ account, body }) => {
      const plan = read(newPlan, body)
      for (const stage of plan.apiStages) account.requireStage(stage)
      return account.createPlan(plan)
    },
  },
  GetUsagePlans: {
    ...on('GET', '/usageplans', 200),
    run: ({ account, query, fault }) =>
      page(
        listed(account.plansOf(query['keyId']), fault, (plan) => account.creationOf(plan)),
        query,
        (plan) => account.creationOf(plan).serial,
        (plan) => plan,
      ),
  },
  GetUsagePlan: {
    ...on('GET', '/usageplans/:planId', 200),
    run: ({ account, params }) => account.plan(params['planId'] ?? ''),
  },
  UpdateUsagePlan: {
    ...on('PATCH', '/usageplans/:planId', 200),
    run: ({ account, params, body }) => {
      const plan = account.plan(params['planId'] ?? '')
      // Tried on a copy first: all changes are made, or none.
      const copy = structuredClone(plan)
      for (const one of readPatches(body)) patchPlan(account, copy, one)
      return replaceFields(plan, copy)
    },
  },
  DeleteUsagePlan: {
    ...on('DELETE', '/usageplans/:planId', 202),
    run: ({ account, params }) => account.deletePlan(params['planId'] ?? ''),
  },
} satisfies Record<string, Operation>
