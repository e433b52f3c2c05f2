import type { FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Deps } from '../deps.ts'
import { authorizationServerMetadata, openidConfiguration } from '../discovery/authorization-server.ts'
import { apiCatalog, CATALOG_TYPE, linkHeader, resourceMetadata } from '../discovery/catalog.ts'
import { linksOf } from '../discovery/links.ts'
import { llmsText } from '../discovery/llms.ts'
import { onboardingDescriptor } from '../discovery/onboarding.ts'
import { registerScript } from '../discovery/register-script.ts'
import { ServiceError } from '../errors.ts'
import { OPEN } from '../http/openapi.ts'
import { problemResponses } from '../http/openapi-errors.ts'
import { problemStatus } from '../http/problem.ts'
import { headersOf } from '../http/response-headers.ts'
import { identitiesOf } from './accepted-identities.ts'

const ERRORS = problemResponses('rate_limited')
const RESOURCE = '/.well-known/oauth-protected-resource'
const AUTHORIZATION_SERVER = '/.well-known/oauth-authorization-server'

/**
 * The documents from which a client that has only the base URL finds everything else: well-known documents, a guide for
 * language models, and the registration script.
 */
export const discoveryRoutes: FastifyPluginAsyncZod<{ deps: Pick<Deps, 'config' | 'federation'> }> = async (
  app,
  { deps: { config, federation } },
) => {
  const { publicUrl } = config
  const identities = () => identitiesOf(federation)
  const document = (description: string, example: object) => ({
    200: { description, content: { 'application/json': { schema: z.looseObject({}), example } } },
    ...ERRORS,
  })
  app.route({
    method: 'GET',
    url: '/.well-known/api-onboarding',
    schema: {
      operationId: 'onboarding',
      ...OPEN,
      summary: 'API Onboarding Descriptor',
      description:
        'Everything that a generic engine needs to turn a bootstrap token, or a login, into a working API key ' +
        '(apionboarding.org).',
      response: document('The API Onboarding Descriptor (AOD 0.1).', {
        aod: '0.1',
        provider: { name: 'api.example.com', url: 'https://api.example.com/v1' },
        maturity: 'bootstrap-token',
      }),
    },
    handler: async () => ({ ...onboardingDescriptor(config, identities()) }),
  })
  app.route({
    method: 'GET',
    url: '/.well-known/api-catalog',
    schema: {
      operationId: 'apiCatalog',
      ...OPEN,
      summary: 'API catalog',
      description:
        'Links to the OpenAPI document, the guide, the onboarding descriptor and the status of the service.',
      response: {
        200: {
          description: 'The API catalog (RFC 9727).',
          headers: headersOf('Link'),
          content: {
            'application/linkset+json': { schema: z.looseObject({}), example: apiCatalog(publicUrl, null) },
          },
        },
        ...ERRORS,
      },
    },
    handler: async (_request, reply) => {
      reply.header('link', `<${linksOf(publicUrl).catalog}>; rel="api-catalog"`)
      return reply.type(CATALOG_TYPE).send({ ...apiCatalog(publicUrl, identities()) })
    },
  })
  app.route({
    method: 'GET',
    url: RESOURCE,
    schema: {
      operationId: 'protectedResource',
      ...OPEN,
      summary: 'OAuth protected resource metadata',
      description:
        'The challenge of every 401 response refers to this document. It describes how to send a token and links to the ' +
        'guide. While identity tokens are accepted, it names the authorization server, which is this service, and ' +
        '`identity_token_audience`, the audience to request an identity token for.',
      response: document('The protected resource metadata (RFC 9728).', resourceMetadata(publicUrl, null)),
    },
    handler: async () => ({ ...resourceMetadata(publicUrl, identities()) }),
  })
  // A client that knows only the URL of a resource inserts the well-known path into it (RFC 9728, section 3.1).
  const { basePath } = linksOf(publicUrl)
  const resources = new Map(
    ['', '/register', '/connect/register'].flatMap((path) => [
      [path, path],
      [basePath + path, path],
    ]),
  )
  app.route({
    method: 'GET',
    url: `${RESOURCE}/*`,
    schema: { hide: true, params: z.object({ '*': z.string() }) },
    handler: async (request) => {
      const path = resources.get(`/${request.params['*']}`)
      if (path === undefined) throw new ServiceError('not_found', 'This path does not exist.')
      return { ...resourceMetadata(publicUrl, identities(), path) }
    },
  })
  const readAuthorizationServer = ({ headers }: FastifyRequest) => {
    const accepted = identities()
    if (accepted === null)
      throw new ServiceError(
        'not_found',
        'This service is no authorization server: it accepts no identity tokens.',
      )
    // MCP's SDK for TypeScript fails on metadata without an authorization endpoint. Without metadata it tries to register,
    // and that error has the next step.
    if (!accepted.hasLogin && headers['mcp-protocol-version'] !== undefined)
      throw new ServiceError('not_found', 'This authorization server has no authorization endpoint.')
    return authorizationServerMetadata(publicUrl, accepted)
  }
  app.route({
    method: 'GET',
    url: AUTHORIZATION_SERVER,
    schema: {
      operationId: 'authorizationServer',
      ...OPEN,
      summary: 'OAuth authorization server metadata',
      description:
        'Describes the endpoints that turn an identity token or a login into a bootstrap token for one registration. It ' +
        'exists only while the service accepts identity tokens.',
      response: {
        ...document(
          'The authorization server metadata (RFC 8414).',
          authorizationServerMetadata(publicUrl, { audience: publicUrl, kinds: [], hasLogin: true }),
        ),
        ...problemResponses('not_found', 'rate_limited'),
      },
    },
    handler: async (request) => readAuthorizationServer(request),
  })
  app.route({
    method: 'GET',
    url: `${AUTHORIZATION_SERVER}/*`,
    schema: { hide: true, params: z.object({ '*': z.string() }) },
    handler: async (request) => {
      // The issuer's path follows the well-known path (RFC 8414, section 3.1).
      if (`/${request.params['*']}` !== basePath)
        throw new ServiceError('not_found', 'This path does not exist.')
      return readAuthorizationServer(request)
    },
  })
  // Below a stage, clients reach only a path that follows it. Many look there for this document alone.
  app.route({
    method: 'GET',
    url: '/.well-known/openid-configuration',
    schema: { hide: true },
    handler: async () => {
      const accepted = identities()
      if (!accepted?.hasLogin) throw new ServiceError('not_found', 'People cannot log in at this service.')
      return openidConfiguration(publicUrl, accepted)
    },
  })
  app.route({
    method: 'GET',
    url: '/.well-known/jwks.json',
    schema: { hide: true },
    handler: async () => ({ keys: [] }),
  })
  app.route({
    method: 'GET',
    url: '/register.mjs',
    schema: {
      operationId: 'registerScript',
      ...OPEN,
      summary: 'Registration script for Node.js',
      description:
        'One file without dependencies. Run it with `FIRSTKEY_TOKEN=… node register.mjs --name acme-agent`.',
      response: {
        200: {
          description: 'The script, as JavaScript.',
          content: {
            'text/javascript': { schema: z.string(), example: firstLines(registerScript(publicUrl, null)) },
          },
        },
        ...ERRORS,
      },
    },
    handler: async (_request, reply) =>
      reply.type('text/javascript; charset=utf-8').send(registerScript(publicUrl, identities())),
  })
  app.route({
    method: 'GET',
    url: '/llms.txt',
    schema: {
      operationId: 'llms',
      ...OPEN,
      summary: 'Guide for language models',
      description: 'The request, the response, and the next step for every error, on one page (llmstxt.org).',
      response: {
        200: {
          description: 'The guide, as Markdown.',
          headers: headersOf('Link'),
          content: {
            'text/plain': { schema: z.string(), example: firstLines(llmsText(config, problemStatus, null)) },
          },
        },
        ...ERRORS,
      },
    },
    handler: async (_request, reply) => {
      reply.header('link', linkHeader(publicUrl))
      return reply.type('text/plain; charset=utf-8').send(llmsText(config, problemStatus, identities()))
    },
  })
}

/** Returns the first lines of a text, as an example of it. */
function firstLines(text: string): string {
  return text.split('\n').slice(0, 4).join('\n')
}
