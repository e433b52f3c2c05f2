import { z } from 'zod'
import { badRequest } from '../api-error.ts'
import { type Operation, on } from '../operation.ts'
import { page, serialOf } from '../page.ts'
import { count, invalidChange, type Patch, read, readBoolean, readPatches, tags } from '../read-input.ts'
import { replaceFields } from '../replace-fields.ts'
import { isPolicy } from '../resource-policy.ts'
import type { RestApi } from '../rest-api.ts'
import { listed } from './listed.ts'

const endpointType = z.enum(['REGIONAL', 'EDGE', 'PRIVATE'])
const ipAddressType = z.enum(['ipv4', 'dualstack'])
const apiKeySource = z.enum(['HEADER', 'AUTHORIZER'])
const newRestApi = z.object({
  name: z.string().min(1),
  description: z.string().exactOptional(),
  version: z.string().exactOptional(),
  binaryMediaTypes: z.array(z.string()).exactOptional(),
  minimumCompressionSize: z.int().min(0).max(10_485_760).exactOptional(),
  apiKeySource: apiKeySource.default('HEADER'),
  endpointConfiguration: z
    .object({
      types: z
        .array(endpointType)
        .length(1, 'Cannot create an api with multiple Endpoint Types.')
        .default(['EDGE']),
      ipAddressType: ipAddressType.optional(),
      vpcEndpointIds: z.array(z.string()).exactOptional(),
    })
    .default({ types: ['EDGE'] }),
  policy: z.string().exactOptional(),
  tags: tags.default({}),
  disableExecuteApiEndpoint: z.boolean().default(false),
})

export const restApiOperations = {
  CreateRestApi: {
    ...on('POST', '/restapis', 201),
    run({ account, body }) {
      const order = read(newRestApi, body)
      if (order.description === '') throw badRequest('Description cannot be an empty string')
      if (order.policy !== undefined) requirePolicy(order.policy)
      const { ipAddressType, ...endpoint } = order.endpointConfiguration
      const isPrivate = endpoint.types.includes('PRIVATE')
      const endpointConfiguration = {
        ...endpoint,
        ipAddressType: ipAddressType ?? (isPrivate ? 'dualstack' : 'ipv4'),
      }
      requireDualstack(endpointConfiguration)
      return restApiBody(account.restApis.create({ ...order, endpointConfiguration }))
    },
  },
  GetRestApis: {
    ...on('GET', '/restapis', 200),
    run: ({ account, query, fault }) =>
      page(
        listed([...account.restApis.all.values()], fault, (api) => api),
        query,
        serialOf,
        restApiBody,
      ),
  },
  GetRestApi: {
    ...on('GET', '/restapis/:apiId', 200),
    run: ({ account, params }) => restApiBody(account.restApis.get(params['apiId'] ?? '')),
  },
  UpdateRestApi: {
    ...on('PATCH', '/restapis/:apiId', 200),
    run({ account, params, body }) {
      const api = account.restApis.get(params['apiId'] ?? '')
      // Tried on a copy first: all changes are made, or none.
      const { resources, deployments, stages, ...rest } = api
      const copy = { ...structuredClone(rest), resources, deployments, stages }
      for (const one of readPatches(body)) patchRestApi(copy, one)
      requireDualstack(copy.endpointConfiguration)
      return restApiBody(replaceFields(api, copy))
    },
  },
  DeleteRestApi: {
    ...on('DELETE', '/restapis/:apiId', 202),
    run: ({ account, params }) => account.deleteRestApi(params['apiId'] ?? ''),
  },
} satisfies Record<string, Operation>

/** @throws ApiError 400 */
function patchRestApi(api: RestApi, patch: Patch): void {
  const { op, path, value } = patch
  const { endpointConfiguration: endpoint } = api
  const [, list = '', rest = ''] =
    path.match(/^\/(binaryMediaTypes|endpointConfiguration\/vpcEndpointIds)(?:\/(.+))?$/) ?? []
  const item = rest === '' ? value : rest.replaceAll('~1', '/')
  if (list === 'binaryMediaTypes') api.binaryMediaTypes = patchList(api.binaryMediaTypes, item, patch)
  else if (list !== '') endpoint.vpcEndpointIds = patchList(endpoint.vpcEndpointIds, item, patch)
  else if (op === 'remove' && path === '/policy') delete api.policy
  else if (op === 'remove' && path === '/minimumCompressionSize') delete api.minimumCompressionSize
  else if (op !== 'replace') throw invalidChange(patch)
  else if (path === '/name') api.name = read(z.string().min(1), value)
  else if (path === '/description') api.description = value
  else if (path === '/apiKeySource') api.apiKeySource = read(apiKeySource, value)
  else if (path === '/disableExecuteApiEndpoint') api.disableExecuteApiEndpoint = readBoolean(patch)
  else if (path === '/minimumCompressionSize') api.minimumCompressionSize = read(count, value)
  else if (path === '/policy') api.policy = requirePolicy(value)
  else if (path === '/endpointConfiguration/ipAddressType')
    endpoint.ipAddressType = read(ipAddressType, value)
  else if (/^\/endpointConfiguration\/types\/(0|EDGE|REGIONAL|PRIVATE)$/.test(path))
    patchEndpointType(endpoint, value)
  else throw invalidChange(patch)
}

function patchList(items: readonly string[] = [], item: string, patch: Patch): string[] {
  if (patch.op === 'add') return [...items, item]
  if (patch.op === 'remove' && items.includes(item)) return items.filter((own) => own !== item)
  throw invalidChange(patch)
}

/** A private API becomes one with two address types. */
function patchEndpointType(endpoint: RestApi['endpointConfiguration'], type: string): void {
  if (!endpointType.safeParse(type).success)
    throw badRequest('Invalid EndpointTypes specified. Valid options are REGIONAL,EDGE,PRIVATE')
  endpoint.types = [type]
  if (type === 'PRIVATE') endpoint.ipAddressType = 'dualstack'
}

function requireDualstack({ types, ipAddressType }: RestApi['endpointConfiguration']): void {
  if (types.includes('PRIVATE') && ipAddressType !== 'dualstack')
    throw badRequest('Only dualstack ipAddressType is supported for Private APIs.')
}

function requirePolicy(text: string): string {
  if (isPolicy(text)) return text
  throw badRequest(
    'Invalid policy document. Please check the policy syntax and ensure that Principals are valid.',
  )
}

function restApiBody(api: RestApi) {
  const { serial: _, createdAt, policy, resources, deployments, stages, defaultEndpointIsOff, ...rest } = api
  return {
    ...rest,
    createdDate: Math.floor(createdAt / 1_000),
    // API Gateway escapes the quotes of the policy once more than JSON does (terraform-provider-aws unquotes it).
    ...(policy === undefined ? {} : { policy: JSON.stringify(policy).slice(1, -1) }),
  }
}
