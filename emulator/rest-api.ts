/** A method of a resource, with API Gateway's fields. */
export interface Method {
  readonly httpMethod: string
  authorizationType: string
  authorizerId?: string
  apiKeyRequired: boolean
  operationName?: string
  requestParameters?: Record<string, boolean>
  requestModels?: Record<string, string>
  requestValidatorId?: string
  authorizationScopes?: string[]
  methodResponses?: Record<string, MethodResponse>
  methodIntegration?: Integration
}

export interface MethodResponse {
  readonly statusCode: string
  readonly responseParameters?: Record<string, boolean>
  readonly responseModels?: Record<string, string>
}

export interface Integration {
  readonly type: 'HTTP' | 'AWS' | 'MOCK' | 'HTTP_PROXY' | 'AWS_PROXY'
  readonly httpMethod?: string
  readonly uri?: string
  readonly requestTemplates?: Record<string, string>
  readonly passthroughBehavior: string
  readonly timeoutInMillis: number
  readonly cacheNamespace: string
  readonly cacheKeyParameters: string[]
  integrationResponses?: Record<string, IntegrationResponse>
}

export interface IntegrationResponse {
  readonly statusCode: string
  readonly selectionPattern?: string
  readonly responseParameters?: Record<string, string>
  readonly responseTemplates?: Record<string, string>
}

export interface Resource {
  readonly id: string
  readonly serial: number
  readonly parentId?: string
  readonly pathPart?: string
  /** `/` for the root. */
  readonly path: string
  readonly methods: Map<string, Method>
}

/** The part of an API that a deployment keeps: the data plane obeys it, whatever is changed later. */
export interface Snapshot {
  readonly apiKeySource: RestApi['apiKeySource']
  readonly policy: string | undefined
  /** The resources that have methods, by path. */
  readonly methods: ReadonlyMap<string, ReadonlyMap<string, Method>>
}

export interface Deployment {
  readonly id: string
  readonly serial: number
  readonly description?: string
  readonly createdAt: number
  readonly snapshot: Snapshot
}

export interface CanarySettings {
  percentTraffic: number
  deploymentId?: string
  stageVariableOverrides?: Record<string, string>
  useStageCache: boolean
}

export interface Stage {
  readonly stageName: string
  readonly serial: number
  deploymentId: string
  description?: string
  clientCertificateId?: string
  cacheClusterEnabled: boolean
  cacheClusterSize?: string
  variables?: Record<string, string>
  documentationVersion?: string
  /** By `path/METHOD` without the first slash of the path; the method and the path may be `*`. */
  methodSettings: Record<string, Record<string, string | number | boolean>>
  accessLogSettings?: { format?: string; destinationArn?: string }
  canarySettings?: CanarySettings
  tracingEnabled: boolean
  /** AWS WAF sets it, and no operation of API Gateway does. */
  webAclArn?: string
  tags: Record<string, string>
  readonly createdAt: number
  updatedAt: number
}

export interface RestApi {
  readonly id: string
  readonly serial: number
  name: string
  description?: string
  version?: string
  binaryMediaTypes?: string[]
  minimumCompressionSize?: number
  apiKeySource: 'HEADER' | 'AUTHORIZER'
  endpointConfiguration: { types: string[]; ipAddressType: string; vpcEndpointIds?: string[] }
  policy?: string
  tags: Record<string, string>
  disableExecuteApiEndpoint: boolean
  /** The value of `disableExecuteApiEndpoint` that is in force: a change waits for one of a stage (developer guide). */
  defaultEndpointIsOff: boolean
  readonly createdAt: number
  readonly rootResourceId: string
  readonly resources: Map<string, Resource>
  readonly deployments: Map<string, Deployment>
  readonly stages: Map<string, Stage>
}

/** An API that exists at the start, deployed to its stages. */
export interface RestApiSeed {
  readonly id: string
  readonly name: string
  readonly stages: readonly string[]
  /** Each with an integration that is not called: the emulator answers in its place. */
  readonly methods: readonly {
    readonly path: string
    readonly httpMethod: string
    readonly apiKeyRequired: boolean
  }[]
}
