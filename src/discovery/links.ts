/** Returns the absolute URLs of this service's routes and documents, below `PUBLIC_URL`. */
export function linksOf(publicUrl: string) {
  return {
    /** The path of `PUBLIC_URL`, without a slash at the end. */
    basePath: new URL(publicUrl).pathname.replace(/\/+$/, ''),
    home: `${publicUrl}/`,
    register: `${publicUrl}/register`,
    connect: `${publicUrl}/connect/register`,
    authorize: `${publicUrl}/connect/authorize`,
    token: `${publicUrl}/connect/token`,
    /** The redirect URI of this service at the identity providers. */
    loginCallback: `${publicUrl}/connect/callback`,
    /** The page that shows the code of a login. */
    loginCode: `${publicUrl}/connect/code`,
    openapi: `${publicUrl}/openapi.json`,
    /** The API reference, for people. */
    docs: `${publicUrl}/docs`,
    onboarding: `${publicUrl}/.well-known/api-onboarding`,
    catalog: `${publicUrl}/.well-known/api-catalog`,
    resource: `${publicUrl}/.well-known/oauth-protected-resource`,
    authorizationServer: `${publicUrl}/.well-known/oauth-authorization-server`,
    /** The keys with which this service signs: it signs nothing. */
    jwks: `${publicUrl}/.well-known/jwks.json`,
    llms: `${publicUrl}/llms.txt`,
    script: `${publicUrl}/register.mjs`,
    ready: `${publicUrl}/readyz`,
    problem: (code: string) => `${publicUrl}/problems/${code}`,
  }
}
