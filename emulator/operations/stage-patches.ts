import { badRequest } from '../api-error.ts'
import { amount, count, invalidPath, type Patch, read, readBoolean, readText } from '../read-input.ts'
import type { RestApi, Stage } from '../rest-api.ts'
import { deployment } from '../rest-apis.ts'

/** The settings of a method in a stage: the patch's path below the method → the field of GetStage, and what it holds. */
const SETTINGS: Record<string, readonly [field: string, holds: 'flag' | 'text' | 'amount' | 'count']> = {
  'metrics/enabled': ['metricsEnabled', 'flag'],
  'logging/loglevel': ['loggingLevel', 'text'],
  'logging/dataTrace': ['dataTraceEnabled', 'flag'],
  'throttling/burstLimit': ['throttlingBurstLimit', 'count'],
  'throttling/rateLimit': ['throttlingRateLimit', 'amount'],
  'caching/enabled': ['cachingEnabled', 'flag'],
  'caching/ttlInSeconds': ['cacheTtlInSeconds', 'count'],
  'caching/dataEncrypted': ['cacheDataEncrypted', 'flag'],
  'caching/requireAuthorizationForCacheControl': ['requireAuthorizationForCacheControl', 'flag'],
  'caching/unauthorizedCacheControlHeaderStrategy': ['unauthorizedCacheControlHeaderStrategy', 'text'],
}

/** The settings that a method gets with the first that is set (recorded by LocalStack). */
const DEFAULTS = {
  metricsEnabled: false,
  dataTraceEnabled: false,
  throttlingBurstLimit: 5_000,
  throttlingRateLimit: 10_000,
  cachingEnabled: false,
  cacheTtlInSeconds: 300,
  cacheDataEncrypted: false,
  requireAuthorizationForCacheControl: true,
  unauthorizedCacheControlHeaderStrategy: 'SUCCEED_WITH_RESPONSE_HEADER',
}

/** Makes one change of UpdateStage. @throws ApiError 400, 404 */
export function patchStage(api: RestApi, stage: Stage, patch: Patch): void {
  const { op, path, value } = patch
  const [, root = '', name = ''] =
    path.match(/^\/(variables|canarySettings|accessLogSettings)\/([^/]+)/) ?? []
  if (path === '/deploymentId' && op === 'replace') stage.deploymentId = deployment(api, value).id
  else if (path === '/deploymentId' && op === 'copy') promoteCanary(stage, patch)
  else if (root === 'variables') patchVariables(stage, name, patch)
  else if (root === 'canarySettings') patchCanary(api, stage, patch)
  else if (path === '/canarySettings' && op === 'remove') delete stage.canarySettings
  else if (path === '/accessLogSettings' && op === 'remove') delete stage.accessLogSettings
  else if (root === 'accessLogSettings' && (name === 'format' || name === 'destinationArn'))
    stage.accessLogSettings = { ...stage.accessLogSettings, [name]: readText(patch, false) ?? '' }
  else if (path === '/description' && op !== 'add') stage.description = readText(patch) ?? ''
  else if (path === '/tracingEnabled' && op === 'replace') stage.tracingEnabled = readBoolean(patch)
  else if (path === '/cacheClusterEnabled' && op === 'replace') stage.cacheClusterEnabled = readBoolean(patch)
  else if (path === '/cacheClusterSize' && op === 'replace') stage.cacheClusterSize = value
  else if (path === '/clientCertificateId' && op === 'replace') stage.clientCertificateId = value
  else if (path === '/documentationVersion' && op === 'replace') stage.documentationVersion = value
  else patchSetting(stage, patch)
}

function patchVariables(stage: Stage, name: string, patch: Patch): void {
  const { [name]: before, ...others } = stage.variables ?? {}
  if (patch.op === 'remove' && before !== undefined) stage.variables = others
  else stage.variables = { ...others, [name]: readText(patch, false) ?? '' }
}

function patchCanary(api: RestApi, stage: Stage, patch: Patch): void {
  const { path, value } = patch
  const canary = { percentTraffic: 0, useStageCache: false, ...stage.canarySettings }
  const [, override] = path.match(/^\/canarySettings\/stageVariableOverrides\/([^/]+)$/) ?? []
  if (patch.op !== 'replace') throw invalidPath(patch)
  if (path === '/canarySettings/percentTraffic') canary.percentTraffic = read(amount, value)
  else if (path === '/canarySettings/deploymentId') {
    if (!api.deployments.has(value)) throw badRequest('Deployment id does not exist')
    canary.deploymentId = value
  } else if (path === '/canarySettings/useStageCache') canary.useStageCache = readBoolean(patch)
  else if (override !== undefined)
    canary.stageVariableOverrides = { ...canary.stageVariableOverrides, [override]: value }
  else throw invalidPath(patch)
  if (canary.percentTraffic > 100) throw badRequest('Canary percentTraffic must be between 0.0 and 100.0')
  stage.canarySettings = canary
}

/** Makes the canary's deployment the stage's: a copy from `/canarySettings/deploymentId`. */
function promoteCanary(stage: Stage, patch: Patch): void {
  const promoted = stage.canarySettings?.deploymentId
  if (patch.from !== '/canarySettings/deploymentId') throw invalidPath(patch)
  if (promoted === undefined) throw badRequest('Promotion not available. Canary does not exist.')
  stage.deploymentId = promoted
}

const invalidSetting = ({ path }: Patch) =>
  badRequest(
    `Invalid method setting path: ${path}. Must be one of: [/deploymentId, /description, /cacheClusterEnabled, /cacheClusterSize, /clientCertificateId, /accessLogSettings, /accessLogSettings/destinationArn, /accessLogSettings/format, ${Object.keys(
      SETTINGS,
    )
      .map((leaf) => `/{resourcePath}/{httpMethod}/${leaf}`)
      .join(', ')}, /variables/{variable_name}, /tracingEnabled]`,
  )

/** Changes a setting at `/{path}/{METHOD}/…`, where the slashes of the path are `~1`, or slashes. Both may be `*`. */
function patchSetting(stage: Stage, patch: Patch): void {
  const parts = patch.path.slice(1).split('/')
  const leaf = parts.slice(-2).join('/')
  const whole = patch.op === 'remove' && SETTINGS[leaf] === undefined
  const at = (whole ? parts : parts.slice(0, -2)).join('/').replaceAll('~1', '/').replaceAll('~0', '~')
  const key = at.replace(/^\/(?=[^/])/, '')
  if (!/\/(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|ANY|\*)$/.test(key)) throw invalidSetting(patch)
  if (whole) {
    if (stage.methodSettings[key] === undefined)
      throw badRequest(
        `Cannot remove method setting ${key} because there is no method setting for this method `,
      )
    delete stage.methodSettings[key]
    return
  }
  const [field, holds] = SETTINGS[leaf] ?? []
  if (field === undefined || patch.op !== 'replace') throw invalidSetting(patch)
  const value =
    holds === 'flag'
      ? readBoolean(patch)
      : holds === 'text'
        ? patch.value
        : read(holds === 'count' ? count : amount, patch.value)
  stage.methodSettings[key] = {
    ...DEFAULTS,
    ...stage.methodSettings['*/*'],
    ...stage.methodSettings[key],
    [field]: value,
  }
}
