import { z } from 'zod'
import type { ApiKey } from '../account.ts'
import { notFound } from '../api-error.ts'
import { spoils } from '../faults.ts'
import { type Operation, on } from '../operation.ts'
import { page, serialOf } from '../page.ts'
import { invalidPath, read, readPatches } from '../read-input.ts'
import { listed } from './listed.ts'

const attachment = z.object({ keyId: z.string(), keyType: z.literal('API_KEY') })
const usageQuery = z.object({ startDate: z.iso.date(), endDate: z.iso.date(), keyId: z.string().optional() })

/** The keys of a usage plan, and how much they used of it. */
export const usagePlanKeyOperations = {
  CreateUsagePlanKey: {
    ...on('POST', '/usageplans/:planId/keys', 201),
    run({ account, params, body, fault }) {
      const key = account.attach(params['planId'] ?? '', read(attachment, body).keyId)
      if (spoils(fault, 'unattached', key)) key.planIds.clear()
      return planKeyBody(key)
    },
  },
  GetUsagePlanKeys: {
    ...on('GET', '/usageplans/:planId/keys', 200),
    // API Gateway returns an empty list for an unknown usage plan, not 404.
    run: ({ account, params, query, fault }) =>
      page(
        listed(account.keysOn(params['planId'] ?? '', query['name']), fault, (key) => key),
        query,
        serialOf,
        planKeyBody,
      ),
  },
  GetUsagePlanKey: {
    ...on('GET', '/usageplans/:planId/keys/:keyId', 200),
    run: ({ account, params }) => {
      const key = account.key(params['keyId'] ?? '')
      if (!key.planIds.has(params['planId'] ?? '')) throw notFound('Invalid API Key identifier specified')
      return planKeyBody(key)
    },
  },
  DeleteUsagePlanKey: {
    ...on('DELETE', '/usageplans/:planId/keys/:keyId', 202),
    run: ({ account, params }) => account.detach(params['planId'] ?? '', params['keyId'] ?? ''),
  },
  GetUsage: {
    ...on('GET', '/usageplans/:planId/usage', 200),
    run: ({ account, usage, params, query }) => {
      const plan = account.plan(params['planId'] ?? '')
      const range = read(usageQuery, query)
      const onPlan = account
        .keysOn(plan.id)
        .filter(({ id }) => range.keyId === undefined || id === range.keyId)
      const { item: keys, ...next } = page(onPlan, query, serialOf, (key) => key)
      return { usagePlanId: plan.id, ...range, values: usage.report(plan, keys, range), ...next }
    },
  },
  UpdateUsage: {
    ...on('PATCH', '/usageplans/:planId/keys/:keyId/usage', 200),
    run: ({ account, usage, params, body }) => {
      const plan = account.plan(params['planId'] ?? '')
      const key = account.key(params['keyId'] ?? '')
      if (!key.planIds.has(plan.id)) throw notFound('Invalid API Key identifier specified')
      for (const one of readPatches(body)) {
        if (one.op !== 'replace' || one.path !== '/remaining' || !/^\d+$/.test(one.value))
          throw invalidPath(one)
        usage.setRemaining(plan, key, Number(one.value))
      }
      return { usagePlanId: plan.id, values: usage.today(plan, key) }
    },
  },
} satisfies Record<string, Operation>

function planKeyBody(key: ApiKey) {
  return { id: key.id, type: 'API_KEY', name: key.name, value: key.value }
}
