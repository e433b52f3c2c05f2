import { z } from 'zod'
import type { Account } from '../account.ts'
import { badRequest, conflict, notFound } from '../api-error.ts'
import type { ApiStage, UsagePlan } from '../options.ts'
import { amount, count, invalidPath, type Patch, read, readText } from '../read-input.ts'

const period = z.enum(['DAY', 'WEEK', 'MONTH'])
const methodThrottles = z.record(
  z.string(),
  z.object({ rateLimit: z.number().min(0), burstLimit: z.int().min(0) }).partial(),
)

/** Makes one change of UpdateUsagePlan. @throws ApiError 400 for one that API Gateway does not know; 404, 409 */
export function patchPlan(account: Account, plan: UsagePlan, patch: Patch): void {
  const { op, path, value } = patch
  if (path === '/apiStages') patchStages(account, plan, patch)
  else if (path.startsWith('/apiStages/')) patchMethodThrottle(plan, patch)
  else if (op === 'remove' && path === '/throttle') delete plan.throttle
  else if (op === 'remove' && path === '/quota') delete plan.quota
  else if (op === 'remove' && path === '/productCode') delete plan.productCode
  else if (op !== 'replace') throw invalidPath(patch)
  else if (path === '/name') plan.name = read(z.string().min(1), value)
  else if (path === '/description') plan.description = value
  else if (path === '/productCode') plan.productCode = value
  else if (path === '/throttle/rateLimit')
    plan.throttle = { ...plan.throttle, rateLimit: read(amount, value) }
  else if (path === '/throttle/burstLimit')
    plan.throttle = { ...plan.throttle, burstLimit: read(count, value) }
  else if (path === '/quota/limit') plan.quota = { offset: 0, ...plan.quota, limit: read(count, value) }
  else if (path === '/quota/offset') plan.quota = { ...plan.quota, offset: read(count, value) }
  else if (path === '/quota/period') plan.quota = { ...plan.quota, period: read(period, value) }
  else throw invalidPath(patch)
}

/** `value` is `apiId:stage`. */
function patchStages(account: Account, plan: UsagePlan, patch: Patch): void {
  const [apiId = '', stage = '', ...rest] = patch.value.split(':')
  if (apiId === '' || stage === '' || rest.length > 0) throw badRequest('Invalid API Stage specified')
  const at = plan.apiStages.findIndex((own) => own.apiId === apiId && own.stage === stage)
  if (patch.op === 'add') {
    account.requireStage({ apiId, stage })
    if (at >= 0) throw conflict(`API Stage ${apiId}:${stage} is already on usage plan ${plan.id}`)
    account.requireNoSharedStage(plan, { apiId, stage })
    plan.apiStages.push({ apiId, stage })
  } else if (patch.op === 'remove') {
    if (at < 0)
      throw notFound(`Invalid API Stage {api: ${apiId}, stage: ${stage}} specified for usageplan ${plan.id}`)
    plan.apiStages.splice(at, 1)
  } else throw invalidPath(patch)
}

/**
 * Changes the throttles of methods of a stage: at `/apiStages/{apiId:stage}/throttle` all of them, as JSON; below it, at
 * `/{resource path}/{METHOD}`, those of one method, and `/rateLimit` and `/burstLimit` of it. The slashes of the path are
 * `~1`, as a JSON pointer has it, or slashes, as Terraform sends them; both are read. Whether API Gateway checks that
 * the method exists is unknown.
 */
function patchMethodThrottle(plan: UsagePlan, patch: Patch): void {
  const [, stageText = '', rest] = patch.path.match(/^\/apiStages\/([^/]+)\/throttle(\/.*)?$/) ?? []
  const [apiId, stage] = unescaped(stageText).split(':')
  if (stage === undefined) throw invalidPath(patch)
  const own = plan.apiStages.find((one) => one.apiId === apiId && one.stage === stage)
  if (own === undefined)
    throw notFound(`Invalid API Stage {api: ${apiId}, stage: ${stage}} specified for usageplan ${plan.id}`)
  if (rest === undefined) {
    const text = readText(patch)
    if (text === undefined) delete own.throttle
    else own.throttle = read(methodThrottles, parseJson(text))
    return
  }
  const [, methodPath = '', limit] = rest.match(/^(\/.*?)(?:\/(rateLimit|burstLimit))?$/) ?? []
  const key = methodKey(methodPath)
  if (key === undefined) throw invalidPath(patch)
  patchOneMethod(own, key, limit, patch)
}

function patchOneMethod(own: ApiStage, key: string, limit: string | undefined, patch: Patch): void {
  const { [key]: before, ...others } = own.throttle ?? {}
  if (patch.op === 'remove') {
    if (before === undefined || limit !== undefined) throw invalidPath(patch)
    own.throttle = others
  } else if (limit !== undefined && (patch.op === 'replace' || patch.op === 'add')) {
    const value = read(limit === 'rateLimit' ? amount : count, patch.value)
    own.throttle = { ...others, [key]: { ...before, [limit]: value } }
  } else throw invalidPath(patch)
}

/** Returns `/path/METHOD`, the key of GetUsagePlan, for what a patch path has of a method. */
function methodKey(text: string): string | undefined {
  const at = text.lastIndexOf('/')
  const method = text.slice(at + 1)
  const path = unescaped(text.slice(0, at)).replace(/^\/+/, '')
  return /^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|ANY)$/.test(method) ? `/${path}/${method}` : undefined
}

const unescaped = (pointer: string) => pointer.replaceAll('~1', '/').replaceAll('~0', '~')

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw badRequest('Invalid patch value: it is no JSON')
  }
}
