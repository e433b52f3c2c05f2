import type { OAuthClientProvider } from '@modelcontextprotocol/sdk/client/auth.js'

/** Creates the host of an MCP client, with what the SDK left in it. */
export function createMcpHost(clientId?: string, redirectUrl = 'http://localhost:3334/oauth/callback') {
  const left: { authorizationUrl?: URL; verifier: string; accessToken: string } = {
    verifier: '',
    accessToken: '',
  }
  const provider: OAuthClientProvider = {
    redirectUrl,
    clientMetadata: { client_name: 'acme-agent', redirect_uris: [redirectUrl] },
    clientInformation: () => (clientId === undefined ? undefined : { client_id: clientId }),
    saveClientInformation: () => undefined,
    tokens: () => undefined,
    saveTokens: ({ access_token }) => {
      left.accessToken = access_token
    },
    redirectToAuthorization: (url) => {
      left.authorizationUrl = url
    },
    saveCodeVerifier: (verifier) => {
      left.verifier = verifier
    },
    codeVerifier: () => left.verifier,
  }
  return { left, provider }
}
