import { badRequest, conflict, notFound } from './api-error.ts'
import type { BasePathMapping, DomainName } from './domain-name.ts'
import type { RestApis } from './rest-apis.ts'

/** The custom domain names of an account in one Region, with API Gateway's rules. */
export class DomainNames {
  readonly all = new Map<string, DomainName>()
  readonly #restApis: RestApis
  #serial = 0

  constructor(restApis: RestApis) {
    this.#restApis = restApis
  }

  add(order: Omit<DomainName, 'serial' | 'mappings'>): DomainName {
    const domain = { ...order, serial: ++this.#serial, mappings: new Map() }
    this.all.set(domain.domainName, domain)
    return domain
  }

  get(name: string): DomainName {
    const domain = this.all.get(name)
    if (domain === undefined) throw notFound('Invalid domain name identifier specified')
    return domain
  }

  /** @throws ApiError 400, 409 */
  map(domain: DomainName, order: Omit<BasePathMapping, 'serial'>): BasePathMapping {
    const mapping = { ...order, serial: ++this.#serial }
    this.#require(domain, mapping)
    domain.mappings.set(mapping.basePath, mapping)
    return mapping
  }

  /** @throws ApiError 400, 409 */
  remap(domain: DomainName, before: BasePathMapping, after: BasePathMapping): BasePathMapping {
    domain.mappings.delete(before.basePath)
    try {
      this.#require(domain, after)
    } catch (error) {
      domain.mappings.set(before.basePath, before)
      throw error
    }
    domain.mappings.set(after.basePath, after)
    return after
  }

  #require(domain: DomainName, { basePath, restApiId, stage }: BasePathMapping): void {
    if (basePath.includes('/'))
      throw badRequest(
        "API Gateway V1 doesn't support the slash character (/) in base path mappings. To create a multi-level base path mapping, use API Gateway V2.",
      )
    if (basePath !== '(none)' && !/^[a-zA-Z0-9$_.+!*'()-]+$/.test(basePath))
      throw badRequest("Base path may only contain letters, numbers and one of $-_.+!*'()")
    const api = this.#restApis.all.get(restApiId)
    if (api === undefined) throw badRequest('Invalid REST API identifier specified')
    if (stage !== undefined && !api.stages.has(stage)) throw badRequest('Invalid stage identifier specified')
    if (domain.mappings.has(basePath)) throw conflict('Base path already exists for this domain name')
  }

  /**
   * Refuses to delete what a base path is mapped to. @param what names it in the message
   * @throws ApiError 400 with the domain names
   */
  requireUnmapped(what: string, isIt: (mapping: BasePathMapping) => boolean): void {
    const domains = [...this.all.values()].filter(({ mappings }) => [...mappings.values()].some(isIt))
    if (domains.length === 0) return
    const names = domains.map(({ domainName }) => domainName).join(', ')
    throw badRequest(
      `Deleting ${what} failed. Please remove all base path mappings related to the ${what.split(' ')[0]} in your domains: ${names}`,
    )
  }
}
