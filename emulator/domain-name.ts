/** The API and stage that a path below a custom domain leads to. */
export interface BasePathMapping {
  readonly serial: number
  /** `(none)` for the whole domain. */
  basePath: string
  restApiId: string
  /** Without it, the segment after the base path names the stage. */
  stage?: string
}

/** A custom domain name, with API Gateway's fields. */
export interface DomainName {
  readonly domainName: string
  readonly serial: number
  certificateArn?: string
  regionalCertificateArn?: string
  securityPolicy: string
  endpointConfiguration: { types: string[]; ipAddressType: string }
  tags: Record<string, string>
  readonly mappings: Map<string, BasePathMapping>
}

/** The destination of a request to a custom domain. */
export interface MappedRequest {
  readonly apiId: string
  readonly stage: string
  readonly path: string
}

/** Finds the mapping for a path: that of its first segment, or that of the whole domain. */
export function mapRequest({ mappings }: DomainName, path: string): MappedRequest | undefined {
  const segments = path.split('/').filter((segment) => segment !== '')
  const own = mappings.get(segments[0] ?? '')
  const mapping = own ?? mappings.get('(none)')
  if (mapping === undefined) return undefined
  const rest = own === undefined ? segments : segments.slice(1)
  const [stage, below] = mapping.stage === undefined ? [rest[0] ?? '', rest.slice(1)] : [mapping.stage, rest]
  return { apiId: mapping.restApiId, stage, path: `/${below.join('/')}` }
}
