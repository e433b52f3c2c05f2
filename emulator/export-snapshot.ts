import type { Method, RestApi, Snapshot } from './rest-api.ts'

export interface ExportOptions {
  readonly api: RestApi
  readonly stageName: string
  readonly exportType: 'oas30' | 'swagger'
  readonly region: string
  /** As in the query: `integrations` or `apigateway`, and `authorizers`. */
  readonly extensions: readonly string[]
}

const API_KEY = { type: 'apiKey', name: 'x-api-key', in: 'header' }
const SIGV4 = {
  type: 'apiKey',
  name: 'Authorization',
  in: 'header',
  'x-amazon-apigateway-authtype': 'awsSigv4',
}

/**
 * Returns a deployment as an OpenAPI 3.0 or 2.0 document. As with API Gateway, what the standards do not know (the source
 * of the key, integrations) is in it only with the extensions `apigateway` or `integrations`. The source HEADER is not in it
 * (recorded by LocalStack); whether AUTHORIZER is, is unknown.
 */
export function exportSnapshot(snapshot: Snapshot, options: ExportOptions) {
  const { api, stageName, exportType, region, extensions } = options
  const withOwn = extensions.includes('apigateway') || extensions.includes('integrations')
  const methods = [...snapshot.methods.values()].flatMap((own) => [...own.values()])
  const schemes = {
    ...(methods.some(({ apiKeyRequired }) => apiKeyRequired) ? { api_key: API_KEY } : {}),
    ...(methods.some(({ authorizationType }) => authorizationType === 'AWS_IAM') ? { sigv4: SIGV4 } : {}),
  }
  const hasSchemes = Object.keys(schemes).length > 0
  const host = `${api.id}.execute-api.${region}.amazonaws.com`
  const info = { title: api.name, version: api.version ?? new Date(api.createdAt).toISOString() }
  const paths = Object.fromEntries(
    [...snapshot.methods].map(([path, own]) => [
      path,
      Object.fromEntries(
        [...own].map(([name, method]) => [
          name === 'ANY' ? 'x-amazon-apigateway-any-method' : name.toLowerCase(),
          operation(method, withOwn),
        ]),
      ),
    ]),
  )
  const isShown = withOwn && snapshot.apiKeySource === 'AUTHORIZER'
  const own = isShown ? { 'x-amazon-apigateway-api-key-source': snapshot.apiKeySource } : {}
  return exportType === 'oas30'
    ? {
        openapi: '3.0.1',
        info,
        servers: [{ url: `https://${host}/{basePath}`, variables: { basePath: { default: stageName } } }],
        paths,
        components: hasSchemes ? { securitySchemes: schemes } : {},
        ...own,
      }
    : {
        swagger: '2.0',
        info,
        host,
        basePath: `/${stageName}`,
        schemes: ['https'],
        paths,
        ...(hasSchemes ? { securityDefinitions: schemes } : {}),
        ...own,
      }
}

function operation(method: Method, withOwn: boolean) {
  const security = [
    ...(method.apiKeyRequired ? [{ api_key: [] }] : []),
    ...(method.authorizationType === 'AWS_IAM' ? [{ sigv4: [] }] : []),
  ]
  const statuses = Object.keys(method.methodResponses ?? {})
  return {
    ...(method.operationName === undefined ? {} : { operationId: method.operationName }),
    responses: Object.fromEntries(statuses.map((code) => [code, { description: `${code} response` }])),
    ...(security.length === 0 ? {} : { security }),
    ...(withOwn ? { 'x-amazon-apigateway-integration': integration(method) } : {}),
  }
}

function integration({ methodIntegration }: Method) {
  if (methodIntegration === undefined) return undefined
  const { type, integrationResponses, cacheNamespace: _, cacheKeyParameters: __, ...rest } = methodIntegration
  const responses = Object.values(integrationResponses ?? {}).map(({ selectionPattern, ...response }) => [
    selectionPattern ?? 'default',
    response,
  ])
  return {
    ...rest,
    type: type.toLowerCase(),
    passthroughBehavior: rest.passthroughBehavior.toLowerCase(),
    ...(responses.length === 0 ? {} : { responses: Object.fromEntries(responses) }),
  }
}
