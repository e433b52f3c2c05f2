import type { Identities } from './identities.ts'
import { linksOf } from './links.ts'

/** The media type of a link set, with the profile of an API catalog (RFC 9727, appendix A). */
export const CATALOG_TYPE = 'application/linkset+json; profile="https://www.rfc-editor.org/info/rfc9727"'

/**
 * Returns the API catalog (RFC 9727) as a link set (RFC 9264, application/linkset+json).
 * @param identities `null`: the service is no authorization server
 */
export function apiCatalog(publicUrl: string, identities: Identities | null): object {
  const links = linksOf(publicUrl)
  return {
    linkset: [
      {
        anchor: links.register,
        'service-desc': [{ href: links.openapi, type: 'application/json' }],
        'service-doc': [
          { href: links.docs, type: 'text/html' },
          { href: links.llms, type: 'text/plain' },
        ],
        'service-meta': [
          { href: links.onboarding, type: 'application/json' },
          { href: links.resource, type: 'application/json' },
          ...(identities === null ? [] : [{ href: links.authorizationServer, type: 'application/json' }]),
        ],
        status: [{ href: links.ready, type: 'application/json' }],
      },
    ],
  }
}

/**
 * Returns the metadata of this service as a protected resource (RFC 9728). It issues its bearer tokens itself. The member
 * `identity_token_audience` is firstkey's own.
 * @param identities `null`: only bootstrap tokens are accepted, which no authorization server issues
 * @param path the path of the resource below `PUBLIC_URL`
 */
export function resourceMetadata(publicUrl: string, identities: Identities | null, path = ''): object {
  const links = linksOf(publicUrl)
  return {
    resource: publicUrl + path,
    resource_name: 'firstkey',
    ...(identities === null ? {} : { authorization_servers: [publicUrl] }),
    bearer_methods_supported: ['header'],
    resource_documentation: links.llms,
    ...(identities === null ? {} : { identity_token_audience: identities.audience }),
  }
}

/** Returns the `Link` header (RFC 8288), by which a client that has only the base URL finds all other documents. */
export function linkHeader(publicUrl: string): string {
  const links = linksOf(publicUrl)
  const relations = [
    [links.catalog, 'api-catalog'],
    [links.openapi, 'service-desc'],
    [links.docs, 'service-doc'],
    [links.llms, 'service-doc'],
    [links.onboarding, 'service-meta'],
    [links.ready, 'status'],
  ]
  return relations.map(([href, rel]) => `<${href}>; rel="${rel}"`).join(', ')
}
