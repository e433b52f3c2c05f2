import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Deps } from '../deps.ts'
import { apiCatalog, CATALOG_TYPE, linkHeader } from '../discovery/catalog.ts'
import { linksOf } from '../discovery/links.ts'
import { llmsText } from '../discovery/llms.ts'
import { ServiceError } from '../errors.ts'
import { OPEN, openapiOf } from '../http/openapi.ts'
import { problemResponses } from '../http/openapi-errors.ts'
import { problemStatus } from '../http/problem.ts'
import { headersOf } from '../http/response-headers.ts'
import { negotiate, pageContent, sendPage } from '../http/send-page.ts'
import { assets } from '../pages/assets.ts'
import { homePage } from '../pages/home.ts'
import { referencePage } from '../pages/reference.ts'
import { identitiesOf } from './accepted-identities.ts'
import { loginIssuers } from './login-issuers.ts'

/** The pages for people, and the assets that those pages load. */
export const pageRoutes: FastifyPluginAsyncZod<{
  deps: Pick<Deps, 'config' | 'planLimits' | 'federation'>
}> = async (app, { deps: { config, planLimits, federation } }) => {
  const { publicUrl, apiBaseUrl } = config
  const { basePath } = linksOf(publicUrl)
  let reference: string | undefined
  app.route({
    method: 'GET',
    url: '/',
    schema: {
      operationId: 'home',
      summary: 'Home page',
      description:
        'A page with a registration form if the request prefers HTML, the API catalog if it prefers JSON, otherwise the ' +
        'same text as /llms.txt. ' +
        'The Link header lists the documents that describe this service (RFC 8288).',
      ...OPEN,
      response: {
        200: {
          description: 'The page, the text, or the API catalog.',
          headers: headersOf('Link', 'Vary'),
          content: {
            ...pageContent,
            'text/plain': { schema: z.string(), example: '# firstkey' },
            'application/json': { schema: z.looseObject({}), example: apiCatalog(publicUrl, null) },
            'application/linkset+json': { schema: z.looseObject({}), example: apiCatalog(publicUrl, null) },
          },
        },
        ...problemResponses('rate_limited'),
      },
    },
    handler: async (request, reply) => {
      reply.header('link', linkHeader(publicUrl))
      const type = negotiate(request, reply, [
        'text/plain',
        'text/html',
        'application/json',
        'application/linkset+json',
      ])
      if (type === 'text/plain')
        return reply
          .type('text/plain; charset=utf-8')
          .send(llmsText(config, problemStatus, identitiesOf(federation)))
      if (type !== 'text/html')
        return reply
          .type(type === 'application/json' ? type : CATALOG_TYPE)
          .send({ ...apiCatalog(publicUrl, identitiesOf(federation)) })
      const plans = await planLimits()
      const logins = loginIssuers(federation).map(({ name, login }) => ({ name, label: login.label }))
      return sendPage(reply, homePage({ basePath, links: linksOf(publicUrl), apiBaseUrl, plans, logins }))
    },
  })
  app.route({
    method: 'GET',
    url: '/docs',
    schema: {
      operationId: 'docs',
      summary: 'API reference',
      description: 'The content of /openapi.json as a page for people.',
      ...OPEN,
      response: {
        200: { description: 'The page.', content: pageContent },
        ...problemResponses('rate_limited'),
      },
    },
    handler: async (_request, reply) => {
      reference ??= referencePage(openapiOf(app), basePath)
      return sendPage(reply, reference)
    },
  })
  app.route({
    method: 'GET',
    url: '/assets/:name',
    // A page that says that the limit is reached needs its style.
    config: { rateLimit: false },
    schema: { hide: true, params: z.object({ name: z.string() }) },
    handler: async (request, reply) => {
      const asset = assets.get(request.params.name)
      if (asset === undefined) throw new ServiceError('not_found', 'This path does not exist.')
      return reply.type(asset.type).send(asset.content)
    },
  })
}
