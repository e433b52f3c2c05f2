/** A part of firstkey that needs AWS credentials. `doctor`, `setup` and `smoke` are commands. */
export type Caller = 'service' | 'doctor' | 'setup' | 'smoke'

interface Call {
  readonly verb: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** The path as IAM knows it, without the `/v2` of API Gateway's second API. Braces name members of the command's input. */
  readonly path: string
  readonly callers: readonly Caller[]
  /** It sets tags, for which AWS wants `PUT` below `/tags/` too. */
  readonly setsTags?: true
}

/**
 * Every operation of API Gateway's control plane that the files of this folder call. The IAM policies and the permissions that
 * error messages name come from it.
 */
export const calls = {
  CreateApiKey: { verb: 'POST', path: '/apikeys', callers: ['service', 'smoke'] },
  CreateUsagePlanKey: {
    verb: 'POST',
    path: '/usageplans/{usagePlanId}/keys',
    callers: ['service', 'smoke'],
  },
  DeleteApiKey: { verb: 'DELETE', path: '/apikeys/{apiKey}', callers: ['service', 'smoke'] },
  GetApiKey: { verb: 'GET', path: '/apikeys/{apiKey}', callers: ['service', 'smoke'] },
  GetApiKeys: { verb: 'GET', path: '/apikeys', callers: ['service', 'doctor', 'setup', 'smoke'] },
  GetUsage: {
    verb: 'GET',
    path: '/usageplans/{usagePlanId}/usage',
    callers: ['service', 'doctor', 'setup', 'smoke'],
  },
  GetUsagePlan: {
    verb: 'GET',
    path: '/usageplans/{usagePlanId}',
    callers: ['service', 'doctor', 'setup', 'smoke'],
  },
  GetUsagePlanKeys: {
    verb: 'GET',
    path: '/usageplans/{usagePlanId}/keys',
    callers: ['service', 'setup', 'smoke'],
  },
  GetUsagePlans: { verb: 'GET', path: '/usageplans', callers: ['service', 'doctor', 'setup', 'smoke'] },
  GetAccount: { verb: 'GET', path: '/account', callers: ['doctor', 'setup'] },
  GetApi: { verb: 'GET', path: '/apis/{ApiId}', callers: ['doctor', 'setup'] },
  GetBasePathMappings: {
    verb: 'GET',
    path: '/domainnames/{domainName}/basepathmappings',
    callers: ['doctor', 'setup'],
  },
  GetDeployment: {
    verb: 'GET',
    path: '/restapis/{restApiId}/deployments/{deploymentId}',
    callers: ['doctor', 'setup'],
  },
  GetDomainName: { verb: 'GET', path: '/domainnames/{domainName}', callers: ['doctor', 'setup'] },
  GetExport: {
    verb: 'GET',
    path: '/restapis/{restApiId}/stages/{stageName}/exports/{exportType}',
    callers: ['doctor', 'setup'],
  },
  GetMethod: {
    verb: 'GET',
    path: '/restapis/{restApiId}/resources/{resourceId}/methods/{httpMethod}',
    callers: ['setup'],
  },
  GetResources: { verb: 'GET', path: '/restapis/{restApiId}/resources', callers: ['doctor', 'setup'] },
  GetRestApi: { verb: 'GET', path: '/restapis/{restApiId}', callers: ['doctor', 'setup'] },
  GetRestApis: { verb: 'GET', path: '/restapis', callers: ['setup'] },
  GetStages: { verb: 'GET', path: '/restapis/{restApiId}/stages', callers: ['doctor', 'setup'] },
  ImportApiKeys: { verb: 'POST', path: '/apikeys', callers: ['service', 'smoke'] },
  UpdateApiKey: { verb: 'PATCH', path: '/apikeys/{apiKey}', callers: ['service', 'smoke'] },
  UpdateUsage: {
    verb: 'PATCH',
    path: '/usageplans/{usagePlanId}/keys/{keyId}/usage',
    callers: ['service', 'smoke'],
  },
  CreateDeployment: { verb: 'POST', path: '/restapis/{restApiId}/deployments', callers: ['setup'] },
  CreateResource: { verb: 'POST', path: '/restapis/{restApiId}/resources/{parentId}', callers: ['setup'] },
  CreateRestApi: { verb: 'POST', path: '/restapis', callers: ['setup'], setsTags: true },
  DeleteRestApi: { verb: 'DELETE', path: '/restapis/{restApiId}', callers: ['setup'] },
  DeleteUsagePlan: { verb: 'DELETE', path: '/usageplans/{usagePlanId}', callers: ['setup'] },
  PutIntegration: {
    verb: 'PUT',
    path: '/restapis/{restApiId}/resources/{resourceId}/methods/{httpMethod}/integration',
    callers: ['setup'],
  },
  PutIntegrationResponse: {
    verb: 'PUT',
    path: '/restapis/{restApiId}/resources/{resourceId}/methods/{httpMethod}/integration/responses/{statusCode}',
    callers: ['setup'],
  },
  PutMethod: {
    verb: 'PUT',
    path: '/restapis/{restApiId}/resources/{resourceId}/methods/{httpMethod}',
    callers: ['setup'],
  },
  PutMethodResponse: {
    verb: 'PUT',
    path: '/restapis/{restApiId}/resources/{resourceId}/methods/{httpMethod}/responses/{statusCode}',
    callers: ['setup'],
  },
  UpdateAccount: { verb: 'PATCH', path: '/account', callers: ['setup'] },
  UpdateMethod: {
    verb: 'PATCH',
    path: '/restapis/{restApiId}/resources/{resourceId}/methods/{httpMethod}',
    callers: ['setup'],
  },
  UpdateRestApi: { verb: 'PATCH', path: '/restapis/{restApiId}', callers: ['setup'] },
  UpdateUsagePlan: { verb: 'PATCH', path: '/usageplans/{usagePlanId}', callers: ['setup'] },
  CreateUsagePlan: { verb: 'POST', path: '/usageplans', callers: ['setup'], setsTags: true },
} as const satisfies Record<string, Call>

/** The name of an operation: that of the SDK's command without `Command`. */
export type Operation = keyof typeof calls

/** Returns the calls of one caller. */
export function callsOf(caller: Caller): readonly Call[] {
  return Object.values<Call>(calls).filter(({ callers }) => callers.includes(caller))
}

/** Returns the name of an IAM resource of API Gateway, which contains no account. @param path begins with a slash */
export function resourceArn(region: string, path: string): string {
  return `arn:${partitionOf(region)}:apigateway:${region}::${path}`
}

/**
 * Returns the permission that a call needs: `apigateway:GET on arn:aws:apigateway:eu-west-1::/restapis/abc123`.
 * @param input the input of the command; `*` stands for what it leaves out
 */
export function permissionOf(operation: Operation, region: string, input: object = {}): string {
  const { verb, path } = calls[operation]
  const members = new Map<string, unknown>(Object.entries(input))
  const named = path.replaceAll(/\{(\w+)\}/g, (_, member: string) => String(members.get(member) ?? '*'))
  return `apigateway:${verb} on ${resourceArn(region, named)}`
}

/** Returns the permission that AWS's message of a denied call says is missing. */
export function deniedPermission(message: string): string | undefined {
  const [, action, arn] =
    message.match(/not authorized to perform: (apigateway:[A-Z]+) on resource: (arn:[^\s"]+)/) ?? []
  return action === undefined ? undefined : `${action} on ${arn}`
}

/** The partitions other than `aws`, by the prefixes of their Regions; the first that fits decides. */
const PARTITIONS = [
  ['cn-', 'aws-cn'],
  ['us-gov-', 'aws-us-gov'],
  ['us-isob-', 'aws-iso-b'],
  ['us-isof-', 'aws-iso-f'],
  ['us-iso-', 'aws-iso'],
  ['eu-isoe-', 'aws-iso-e'],
  ['eusc-', 'aws-eusc'],
] as const

function partitionOf(region: string): string {
  return PARTITIONS.find(([prefix]) => region.startsWith(prefix))?.[1] ?? 'aws'
}
