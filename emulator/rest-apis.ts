import { badRequest, conflict, notFound } from './api-error.ts'
import { randomId } from './random-id.ts'
import type { Deployment, Resource, RestApi, RestApiSeed, Snapshot, Stage } from './rest-api.ts'

/** The account's number, that of AWS's documentation. */
export const ACCOUNT_ID = '123456789012'

type NewRestApi = Pick<RestApi, 'name' | 'apiKeySource' | 'endpointConfiguration' | 'tags'> &
  Partial<
    Pick<RestApi, 'description' | 'version' | 'binaryMediaTypes' | 'minimumCompressionSize' | 'policy'>
  > & {
    readonly disableExecuteApiEndpoint: boolean
  }

/** The REST APIs of an account in one Region, with API Gateway's rules. */
export class RestApis {
  readonly all = new Map<string, RestApi>()
  #serial = 0

  constructor(seeds: readonly RestApiSeed[]) {
    for (const seed of seeds) this.#plant(seed)
  }

  get(id: string): RestApi {
    const api = this.all.get(id)
    if (api === undefined) throw notFound(`Invalid API identifier specified ${ACCOUNT_ID}:${id}`)
    return api
  }

  create(order: NewRestApi, id = randomId(10)): RestApi {
    const root: Resource = { id: randomId(10), serial: ++this.#serial, path: '/', methods: new Map() }
    const api: RestApi = {
      ...order,
      id,
      serial: ++this.#serial,
      defaultEndpointIsOff: order.disableExecuteApiEndpoint,
      createdAt: Date.now(),
      rootResourceId: root.id,
      resources: new Map([[root.id, root]]),
      deployments: new Map(),
      stages: new Map(),
    }
    this.all.set(id, api)
    return api
  }

  /** @throws ApiError 400, 404, 409 */
  addResource(api: RestApi, parentId: string, pathPart: string): Resource {
    const parent = resource(api, parentId)
    if (!/^([a-zA-Z0-9._:-]+|\{[a-zA-Z0-9._:-]+\+?\})$/.test(pathPart))
      throw badRequest(
        "Resource's path part only allow a-zA-Z0-9._-: or a valid greedy path variable and curly braces at the beginning and the end.",
      )
    const siblings = [...api.resources.values()].filter((other) => other.parentId === parentId)
    if (siblings.some((other) => other.pathPart === pathPart))
      throw conflict(`Another resource with the same parent already has this name: ${pathPart}`)
    const variable = siblings.find((other) => other.pathPart?.startsWith('{'))
    if (pathPart.startsWith('{') && variable !== undefined)
      throw badRequest(
        `A sibling (${variable.pathPart}) of this resource already has a variable path part -- only one is allowed`,
      )
    if (parent.pathPart?.endsWith('+}'))
      throw badRequest(`Cannot create a child of a resource with a greedy path variable: ${parent.pathPart}`)
    const path = parent.path === '/' ? `/${pathPart}` : `${parent.path}/${pathPart}`
    const made: Resource = {
      id: randomId(6),
      serial: ++this.#serial,
      parentId,
      pathPart,
      path,
      methods: new Map(),
    }
    api.resources.set(made.id, made)
    return made
  }

  /** Takes a snapshot of the API. @throws ApiError 400 if it has no method, or one without an integration */
  deploy(api: RestApi, description?: string): Deployment {
    const deployment: Deployment = {
      id: randomId(6),
      serial: ++this.#serial,
      ...(description === undefined ? {} : { description }),
      createdAt: Date.now(),
      snapshot: snapshotOf(api),
    }
    api.deployments.set(deployment.id, deployment)
    return deployment
  }

  /** @throws ApiError 400, 404, 409 */
  addStage(api: RestApi, order: Pick<Stage, 'stageName' | 'deploymentId'> & Partial<Stage>): Stage {
    requireStageName(order.stageName)
    if (api.stages.has(order.stageName)) throw conflict('Stage already exists')
    deployment(api, order.deploymentId)
    const now = Date.now()
    const made: Stage = {
      cacheClusterEnabled: false,
      methodSettings: {},
      tracingEnabled: false,
      tags: {},
      ...order,
      serial: ++this.#serial,
      createdAt: now,
      updatedAt: now,
    }
    api.stages.set(made.stageName, made)
    changedStage(api, made)
    return made
  }

  #plant(seed: RestApiSeed): void {
    const api = this.create(
      {
        name: seed.name,
        apiKeySource: 'HEADER',
        endpointConfiguration: { types: ['REGIONAL'], ipAddressType: 'ipv4' },
        tags: {},
        disableExecuteApiEndpoint: false,
      },
      seed.id,
    )
    for (const { path, httpMethod, apiKeyRequired } of seed.methods) {
      let at = resource(api, api.rootResourceId)
      for (const part of path.split('/').filter((text) => text !== '')) {
        const parent = at
        at =
          [...api.resources.values()].find((own) => own.parentId === parent.id && own.pathPart === part) ??
          this.addResource(api, parent.id, part)
      }
      at.methods.set(httpMethod, {
        httpMethod,
        authorizationType: 'NONE',
        apiKeyRequired,
        methodIntegration: {
          type: 'HTTP_PROXY',
          httpMethod: 'ANY',
          uri: 'https://backend.example.com/',
          passthroughBehavior: 'WHEN_NO_MATCH',
          timeoutInMillis: 29_000,
          cacheNamespace: at.id,
          cacheKeyParameters: [],
        },
      })
    }
    for (const stageName of seed.stages) this.addStage(api, { stageName, deploymentId: this.deploy(api).id })
  }
}

/** @throws ApiError 404 */
export function resource(api: RestApi, id: string): Resource {
  const found = api.resources.get(id)
  if (found === undefined) throw notFound('Invalid Resource identifier specified')
  return found
}

/** @throws ApiError 404 */
export function deployment(api: RestApi, id: string): Deployment {
  const found = api.deployments.get(id)
  if (found === undefined) throw notFound('Invalid Deployment identifier specified')
  return found
}

/** @throws ApiError 404 */
export function stage(api: RestApi, name: string): Stage {
  const found = api.stages.get(name)
  if (found === undefined) throw notFound('Invalid stage identifier specified')
  return found
}

/** @throws ApiError 400 */
export function requireStageName(name: string): void {
  if (!/^[a-zA-Z0-9_-]{1,128}$/.test(name)) throw badRequest('Stage name only allows a-zA-Z0-9_-')
}

/** Deletes a resource with all below it. @throws ApiError 400 for the root */
export function deleteResource(api: RestApi, id: string): void {
  const { path } = resource(api, id)
  if (id === api.rootResourceId) throw badRequest('Unable to delete the root resource of an API')
  for (const other of [...api.resources.values()])
    if (other.path === path || other.path.startsWith(`${path}/`)) api.resources.delete(other.id)
}

/** Notes a change of a stage, with which a change of `disableExecuteApiEndpoint` takes effect. */
export function changedStage(api: RestApi, changed: Stage): void {
  changed.updatedAt = Date.now()
  api.defaultEndpointIsOff = api.disableExecuteApiEndpoint
}

/** @throws ApiError 400 */
function snapshotOf(api: RestApi): Snapshot {
  const used = [...api.resources.values()].filter(({ methods }) => methods.size > 0)
  const methods = used.flatMap((own) => [...own.methods.values()])
  if (methods.length === 0) throw badRequest("The REST API doesn't contain any methods")
  if (methods.some(({ methodIntegration }) => methodIntegration === undefined))
    throw badRequest('No integration defined for method')
  if (api.endpointConfiguration.types.includes('PRIVATE') && api.policy === undefined)
    throw badRequest("Private REST API doesn't have a resource policy attached to it")
  return {
    apiKeySource: api.apiKeySource,
    policy: api.policy,
    methods: new Map(used.map((own) => [own.path, structuredClone(own.methods)])),
  }
}
