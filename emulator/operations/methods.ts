import { z } from 'zod'
import { badRequest, conflict, notFound } from '../api-error.ts'
import { type Call, type Operation, on } from '../operation.ts'
import { invalidChange, type Patch, read, readBoolean, readPatches, readText } from '../read-input.ts'
import { replaceFields } from '../replace-fields.ts'
import type { Method } from '../rest-api.ts'
import { resource } from '../rest-apis.ts'

const VERBS = ['GET', 'PUT', 'POST', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD', 'ANY']
const authorizationType = z.enum(['NONE', 'AWS_IAM', 'CUSTOM', 'COGNITO_USER_POOLS'])
const texts = z.record(z.string(), z.string())
const flags = z.record(z.string(), z.boolean())
const newMethod = z.object({
  authorizationType,
  authorizerId: z.string().exactOptional(),
  apiKeyRequired: z.boolean().default(false),
  operationName: z.string().exactOptional(),
  requestParameters: flags.exactOptional(),
  requestModels: texts.exactOptional(),
  requestValidatorId: z.string().exactOptional(),
  authorizationScopes: z.array(z.string()).exactOptional(),
})
const newMethodResponse = z.object({
  responseParameters: flags.exactOptional(),
  responseModels: texts.exactOptional(),
})
const newIntegration = z.object({
  type: z.enum(['HTTP', 'AWS', 'MOCK', 'HTTP_PROXY', 'AWS_PROXY']),
  httpMethod: z.string().exactOptional(),
  uri: z.string().exactOptional(),
  connectionType: z.string().exactOptional(),
  connectionId: z.string().exactOptional(),
  credentials: z.string().exactOptional(),
  requestParameters: texts.exactOptional(),
  requestTemplates: texts.exactOptional(),
  passthroughBehavior: z.enum(['WHEN_NO_MATCH', 'WHEN_NO_TEMPLATES', 'NEVER']).default('WHEN_NO_MATCH'),
  contentHandling: z.string().exactOptional(),
  timeoutInMillis: z.int().min(50).default(29_000),
  cacheNamespace: z.string().exactOptional(),
  cacheKeyParameters: z.array(z.string()).default([]),
})
const newIntegrationResponse = z.object({
  selectionPattern: z.string().exactOptional(),
  responseParameters: texts.exactOptional(),
  responseTemplates: texts.exactOptional(),
  contentHandling: z.string().exactOptional(),
})

const METHOD = '/restapis/:apiId/resources/:resourceId/methods/:httpMethod'

export const methodOperations = {
  PutMethod: {
    ...on('PUT', METHOD, 201),
    run(call) {
      const own = resourceOf(call)
      const httpMethod = call.params['httpMethod'] ?? ''
      if (!VERBS.includes(httpMethod))
        throw badRequest(`Invalid HttpMethod specified. Valid options are ${VERBS.join(',')}`)
      const order = read(newMethod, call.body)
      if (own.methods.has(httpMethod)) throw conflict('Method already exists for this resource')
      requireAuthorizer(order)
      const made: Method = { httpMethod, ...order }
      own.methods.set(httpMethod, made)
      return made
    },
  },
  GetMethod: { ...on('GET', METHOD, 200), run: (call) => methodOf(call) },
  UpdateMethod: {
    ...on('PATCH', METHOD, 200),
    run(call) {
      const own = methodOf(call)
      // Tried on a copy first: all changes are made, or none.
      const copy = structuredClone(own)
      for (const one of readPatches(call.body)) patchMethod(copy, one)
      requireAuthorizer(copy)
      return replaceFields(own, copy)
    },
  },
  DeleteMethod: {
    ...on('DELETE', METHOD, 204),
    run(call) {
      const { httpMethod } = methodOf(call)
      resourceOf(call).methods.delete(httpMethod)
    },
  },
  PutMethodResponse: {
    ...on('PUT', `${METHOD}/responses/:statusCode`, 201),
    run(call) {
      const own = methodOf(call)
      const statusCode = statusOf(call)
      if (own.methodResponses?.[statusCode] !== undefined)
        throw conflict('Response already exists for this resource')
      const made = { statusCode, ...read(newMethodResponse, call.body) }
      own.methodResponses = { ...own.methodResponses, [statusCode]: made }
      return made
    },
  },
  PutIntegration: {
    ...on('PUT', `${METHOD}/integration`, 201),
    run(call) {
      const own = methodOf(call)
      const order = read(newIntegration, call.body)
      if (order.type !== 'MOCK' && order.httpMethod === undefined)
        throw badRequest('Enumeration value for HttpMethod must be non-empty')
      if (order.type !== 'MOCK' && order.uri === undefined)
        throw badRequest('Invalid HTTP endpoint specified for URI')
      const { httpMethod, ...rest } = order
      own.methodIntegration = {
        ...(order.type === 'MOCK' || httpMethod === undefined ? rest : { ...rest, httpMethod }),
        cacheNamespace: order.cacheNamespace ?? call.params['resourceId'] ?? '',
      }
      return own.methodIntegration
    },
  },
  GetIntegration: { ...on('GET', `${METHOD}/integration`, 200), run: (call) => integrationOf(call) },
  PutIntegrationResponse: {
    ...on('PUT', `${METHOD}/integration/responses/:statusCode`, 201),
    run(call) {
      const own = integrationOf(call)
      const statusCode = statusOf(call)
      const order = read(newIntegrationResponse, call.body)
      if (methodOf(call).methodResponses?.[statusCode] === undefined)
        throw notFound('Invalid Response status code specified')
      const made = { statusCode, ...order }
      own.integrationResponses = { ...own.integrationResponses, [statusCode]: made }
      return made
    },
  },
} satisfies Record<string, Operation>

/** For the operations on methods, API Gateway names the resource also if the API is unknown (recorded by LocalStack). */
function resourceOf({ account, params }: Call) {
  const api = account.restApis.all.get(params['apiId'] ?? '')
  if (api === undefined) throw notFound('Invalid Resource identifier specified')
  return resource(api, params['resourceId'] ?? '')
}

function methodOf(call: Call): Method {
  const found = resourceOf(call).methods.get(call.params['httpMethod'] ?? '')
  if (found === undefined) throw notFound('Invalid Method identifier specified')
  return found
}

function integrationOf(call: Call) {
  const { methodIntegration } = methodOf(call)
  if (methodIntegration === undefined) throw notFound('Invalid Integration identifier specified')
  return methodIntegration
}

function statusOf({ params }: Call): string {
  const statusCode = params['statusCode'] ?? ''
  if (!/^[1-5]\d\d$/.test(statusCode)) throw badRequest('Invalid status code specified')
  return statusCode
}

function requireAuthorizer(own: Pick<Method, 'authorizationType' | 'authorizerId'>): void {
  const needsOne = own.authorizationType === 'CUSTOM' || own.authorizationType === 'COGNITO_USER_POOLS'
  if (needsOne && own.authorizerId === undefined)
    throw badRequest(
      'Invalid authorizer ID specified. Setting the authorization type to CUSTOM or COGNITO_USER_POOLS requires a valid authorizer.',
    )
}

/** @throws ApiError 400 */
function patchMethod(own: Method, patch: Patch): void {
  const { op, path, value } = patch
  if (path === '/authorizerId') {
    const id = readText(patch)
    if (id === undefined) delete own.authorizerId
    else own.authorizerId = id
  } else if (op !== 'replace') throw invalidChange(patch)
  else if (path === '/apiKeyRequired') own.apiKeyRequired = readBoolean(patch)
  else if (path === '/authorizationType') own.authorizationType = read(authorizationType, value)
  else if (path === '/operationName') own.operationName = value
  else if (path === '/requestValidatorId') own.requestValidatorId = value
  else throw invalidChange(patch)
}
