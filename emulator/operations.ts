import { z } from 'zod'
import type { Account, ApiKey } from './account.ts'
import { badRequest, notFound } from './api-error.ts'
import { type Fault, spoils } from './faults.ts'
import { importKeys } from './import-keys.ts'
import type { GatewayOptions, OperationName, UsagePlan } from './options.ts'
import type { Usage } from './usage.ts'

/** The input of an operation. */
export interface Call {
  readonly options: GatewayOptions
  readonly account: Account
  readonly usage: Usage
  readonly params: Readonly<Record<string, string>>
  readonly query: Readonly<Record<string, string>>
  /** The parsed JSON, or the CSV text of an import. */
  readonly body: unknown
  readonly fault: Fault | undefined
}

export interface Operation {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly status: number
  run(call: Call): unknown
}

/** The text of a tag: letters, digits, spaces and some signs. */
const TAG_TEXT = /^[\p{L}\p{N}\p{Zs}_.:/=+@-]*$/u
/** AWS's own tags. */
const RESERVED = /^aws:/i
const MAX_TAGS = 50
const tags = z
  .record(
    z
      .string()
      .min(1)
      .max(128)
      .regex(TAG_TEXT)
      .refine((key) => !RESERVED.test(key), 'Tag keys must not start with aws:'),
    z.string().max(256).regex(TAG_TEXT),
  )
  .refine((all) => Object.keys(all).length <= MAX_TAGS, `At most ${MAX_TAGS} tags are allowed`)
const stages = z.array(z.object({ apiId: z.string(), stage: z.string() })).default([])
const throttle = z.object({ rateLimit: z.number(), burstLimit: z.number() }).partial()
const quota = z
  .object({ limit: z.int(), offset: z.int(), period: z.enum(['DAY', 'WEEK', 'MONTH']) })
  .partial()
const newKey = z.object({
  name: z.string().optional(),
  description: z.string().optional(),
  customerId: z.string().optional(),
  enabled: z.boolean().optional(),
  value: z.string().optional(),
  tags: tags.optional(),
})
const newPlan = z.object({
  name: z.string().min(1),
  description: z.string().exactOptional(),
  apiStages: stages,
  throttle: throttle.exactOptional(),
  quota: quota.exactOptional(),
  tags: tags.exactOptional(),
})
const patch = z.object({
  patchOperations: z.array(
    z.object({
      op: z.enum(['add', 'remove', 'replace', 'move', 'copy', 'test']),
      path: z.string(),
      value: z.string().default(''),
    }),
  ),
})
const attachment = z.object({ keyId: z.string(), keyType: z.literal('API_KEY') })
const usageQuery = z.object({ startDate: z.iso.date(), endDate: z.iso.date(), keyId: z.string().optional() })

/** The operations of the control plane. Each `run` is synchronous, so that it takes effect completely or not at all. */
export const operations: Record<OperationName, Operation> = {
  CreateApiKey: {
    ...on('POST', '/apikeys', 201),
    run({ account, body, fault }) {
      const key = account.createKey(read(newKey, body))
      if (spoils(fault, 'disabled', key)) key.enabled = false
      return keyBody(key, true)
    },
  },
  ImportApiKeys: {
    ...on('POST', '/apikeys', 201),
    run({ account, query, body, fault, options: { importOverQuota: overQuota } }) {
      if (query['format'] !== 'csv') throw badRequest('The format must be csv')
      const failOnWarnings = query['failonwarnings'] === 'true'
      const result = importKeys(account, String(body), { failOnWarnings, overQuota })
      for (const id of result.ids) {
        const key = account.key(id)
        if (spoils(fault, 'disabled', key)) key.enabled = false
        if (spoils(fault, 'unattached', key)) key.planIds.clear()
      }
      return result
    },
  },
  GetApiKeys: {
    ...on('GET', '/apikeys', 200),
    run: ({ account, query, fault }) => {
      const { customerId } = query
      const found = account
        .keysNamed(query['name'] ?? '')
        .filter((key) => customerId === undefined || key.customerId === customerId)
      return page(listed(found, fault), query, serialOf, (key) =>
        keyBody(key, query['includeValues'] === 'true'),
      )
    },
  },
  GetApiKey: {
    ...on('GET', '/apikeys/:keyId', 200),
    run: ({ account, params, query }) =>
      keyBody(account.key(params['keyId'] ?? ''), query['includeValue'] === 'true'),
  },
  UpdateApiKey: {
    ...on('PATCH', '/apikeys/:keyId', 200),
    run: ({ account, params, body }) => {
      const key = account.key(params['keyId'] ?? '')
      const { patchOperations } = read(patch, body)
      for (const one of patchOperations) requireKeyPatch(one)
      for (const { path, value } of patchOperations) patchKey(account, key, path, value)
      key.updatedAt = Date.now()
      return keyBody(key, false)
    },
  },
  DeleteApiKey: {
    ...on('DELETE', '/apikeys/:keyId', 202),
    run: ({ account, params }) => account.deleteKey(params['keyId'] ?? ''),
  },
  CreateUsagePlan: {
    ...on('POST', '/usageplans', 201),
    run: ({ account, body }) => account.createPlan(read(newPlan, body)),
  },
  GetUsagePlans: {
    ...on('GET', '/usageplans', 200),
    run: ({ account, query }) =>
      page(
        account.plansOf(query['keyId']),
        query,
        (plan) => account.serialOf(plan),
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
      for (const { op, path, value } of read(patch, body).patchOperations) patchPlan(copy, op, path, value)
      return Object.assign(plan, copy)
    },
  },
  DeleteUsagePlan: {
    ...on('DELETE', '/usageplans/:planId', 202),
    run: ({ account, params }) => account.deletePlan(params['planId'] ?? ''),
  },
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
        listed(account.keysOn(params['planId'] ?? '', query['name']), fault),
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
      for (const { op, path, value } of read(patch, body).patchOperations) {
        if (op !== 'replace' || path !== '/remaining' || !/^\d+$/.test(value))
          throw badRequest(`Invalid patch path '${path}' specified for op '${op}'.`)
        usage.setRemaining(plan, key, Number(value))
      }
      return { usagePlanId: plan.id, values: usage.today(plan, key) }
    },
  },
}

function on<M extends Operation['method']>(method: M, path: string, status: number) {
  return { method, path, status }
}

function read<T>(schema: z.ZodType<T>, data: unknown): T {
  const result = schema.safeParse(data)
  if (!result.success) throw badRequest(`Invalid request input: ${z.prettifyError(result.error)}`)
  return result.data
}

/** Returns the keys that a list shows: without those that it shows late. */
function listed(keys: readonly ApiKey[], fault: Fault | undefined): ApiKey[] {
  const youngest = Date.now() - (fault?.ms ?? 0)
  return keys.filter((key) => !(spoils(fault, 'late', key) && key.createdAt > youngest))
}

/**
 * Returns a page of `items`: `limit` defaults to 25, at most 500; `position` is where the next page begins. A page goes on
 * where the last one ended, also if items were added or removed in between.
 * @param serialOf returns the place of an item in the order of the list
 * @throws ApiError 400
 */
function page<T, B>(
  items: readonly T[],
  query: Call['query'],
  serialOf: (item: T) => number,
  body: (item: T) => B,
) {
  const { limit, position } = read(pageQuery, query)
  const after = position === undefined ? 0 : readPosition(position)
  const left = items.filter((item) => serialOf(item) > after).sort((a, b) => serialOf(a) - serialOf(b))
  const shown = left.slice(0, Math.min(limit, MAX_PAGE))
  const last = shown.at(-1)
  return {
    item: shown.map(body),
    ...(last === undefined || shown.length === left.length ? {} : { position: toPosition(serialOf(last)) }),
  }
}

const MAX_PAGE = 500
const pageQuery = z.object({
  limit: z.coerce.number().int().min(1).default(25),
  position: z.string().optional(),
})

const toPosition = (serial: number) => Buffer.from(`after ${serial}`).toString('base64url')

function readPosition(text: string): number {
  const [, serial] =
    Buffer.from(text, 'base64url')
      .toString()
      .match(/^after (\d+)$/) ?? []
  if (serial === undefined) throw badRequest('Invalid position parameter specified')
  return Number(serial)
}

const serialOf = ({ serial }: ApiKey) => serial

type Patch = z.infer<typeof patch>['patchOperations'][number]

const invalidPath = ({ op, path }: Pick<Patch, 'op' | 'path'>) =>
  badRequest(`Invalid patch path '${path}' specified for op '${op}'.`)

/** @throws ApiError 400 for a change that {@link patchKey} cannot make */
function requireKeyPatch(one: Patch): void {
  if (one.op !== 'replace' || !['/name', '/description', '/customerId', '/enabled'].includes(one.path))
    throw invalidPath(one)
  if (one.path === '/enabled' && !/^(true|false)$/i.test(one.value))
    throw badRequest(
      `Invalid patch value  '${one.value}' specified for '/enabled'. Must be one of: [true, false]`,
    )
  if (one.path === '/name' && one.value.length > 1_024)
    throw badRequest('API Key name must be at most 1024 characters')
}

function patchKey(account: Account, key: ApiKey, path: string, value: string): void {
  if (path === '/name') account.rename(key, value)
  else if (path === '/description') key.description = value
  else if (path === '/customerId') key.customerId = value
  else key.enabled = value.toLowerCase() === 'true'
}

/** @throws ApiError 400 */
function patchPlan(plan: UsagePlan, op: Patch['op'], path: string, value: string): void {
  const [apiId = '', stage = '', ...rest] = value.split(':')
  const isStage = path === '/apiStages' && apiId !== '' && stage !== '' && rest.length === 0
  if (isStage && op === 'add') plan.apiStages.push({ apiId, stage })
  else if (isStage && op === 'remove')
    plan.apiStages = plan.apiStages.filter((own) => own.apiId !== apiId || own.stage !== stage)
  else if (op === 'remove' && path === '/throttle') delete plan.throttle
  else if (op === 'remove' && path === '/quota') delete plan.quota
  else if (op !== 'replace') throw invalidPath({ op, path })
  else if (path === '/name') plan.name = read(z.string().min(1), value)
  else if (path === '/description') plan.description = value
  else if (path === '/throttle/rateLimit')
    plan.throttle = { ...plan.throttle, rateLimit: read(amount, value) }
  else if (path === '/throttle/burstLimit')
    plan.throttle = { ...plan.throttle, burstLimit: read(count, value) }
  else if (path === '/quota/limit') plan.quota = { ...plan.quota, limit: read(count, value) }
  else if (path === '/quota/offset') plan.quota = { ...plan.quota, offset: read(count, value) }
  else if (path === '/quota/period') plan.quota = { ...plan.quota, period: read(period, value) }
  else throw invalidPath({ op, path })
}

const amount = z
  .string()
  .regex(/^\d+(\.\d+)?$/)
  .transform(Number)
const count = z.string().regex(/^\d+$/).transform(Number)
const period = z.enum(['DAY', 'WEEK', 'MONTH'])

function keyBody(key: ApiKey, withValue: boolean) {
  return {
    id: key.id,
    ...(withValue ? { value: key.value } : {}),
    name: key.name,
    ...(key.description === undefined ? {} : { description: key.description }),
    ...(key.customerId === undefined ? {} : { customerId: key.customerId }),
    enabled: key.enabled,
    createdDate: Math.floor(key.createdAt / 1_000),
    lastUpdatedDate: Math.floor(key.updatedAt / 1_000),
    stageKeys: [],
    tags: key.tags,
  }
}

function planKeyBody(key: ApiKey) {
  return { id: key.id, type: 'API_KEY', name: key.name, value: key.value }
}
