import type { Identities } from './identities.ts'
import { linksOf } from './links.ts'

/** The grant that exchanges an identity token for an access token (RFC 7523, section 2.1). */
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

/**
 * Returns the metadata of this service as an authorization server (RFC 8414). Its access tokens are good for one
 * registration, also as the initial access token of a client registration (RFC 7591). There is one public client,
 * `firstkey`; the clients that register have an API key and take part in no grant. The member `identity_token_audience` is
 * firstkey's own.
 */
export function authorizationServerMetadata(publicUrl: string, { audience, hasLogin }: Identities) {
  const links = linksOf(publicUrl)
  return {
    issuer: publicUrl,
    ...(hasLogin ? { authorization_endpoint: links.authorize } : {}),
    token_endpoint: links.token,
    registration_endpoint: links.connect,
    grant_types_supported: [...(hasLogin ? ['authorization_code'] : []), JWT_BEARER],
    response_types_supported: hasLogin ? ['code'] : [],
    code_challenge_methods_supported: ['S256'],
    ...(hasLogin ? { authorization_response_iss_parameter_supported: true } : {}),
    token_endpoint_auth_methods_supported: ['none'],
    service_documentation: links.llms,
    identity_token_audience: audience,
  }
}

/**
 * Returns the same metadata for clients that look for it at `/.well-known/openid-configuration` (RFC 8414, section 5), with
 * the members without which they reject it (OpenID Connect Discovery 1.0, section 3). This service issues no ID tokens.
 */
export function openidConfiguration(publicUrl: string, identities: Identities) {
  return {
    ...authorizationServerMetadata(publicUrl, identities),
    jwks_uri: linksOf(publicUrl).jwks,
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: [],
  }
}
