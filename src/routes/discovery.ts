import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Config } from '../config.ts'
import { apiCatalog, linkHeader, resourceMetadata } from '../discovery/catalog.ts'
import { registerScript } from '../discovery/client.ts'
import { linksOf } from '../discovery/links.ts'
import { llmsText } from '../discovery/llms.ts'
import { onboardingDescriptor } from '../discovery/onboarding.ts'
import { problemResponses, problemStatus } from '../http/problem.ts'

const ERRORS = problemResponses('rate_limited', 'internal', 'shutting_down')
/** RFC 9727, appendix A: the media type of a link set, with the profile of a catalog. */
const CATALOG_TYPE = 'application/linkset+json; profile="https://www.rfc-editor.org/info/rfc9727"'

/** How whoever knows only the base URL finds everything else: well-known documents, and a text for language models. */
export const discoveryRoutes: FastifyPluginAsyncZod<{
  config: Pick<Config, 'publicUrl' | 'apiBaseUrl' | 'apiProbeUrl' | 'plans'>
}> = async (app, { config }) => {
  const { publicUrl } = config
  const script = registerScript(publicUrl)
  const guide = llmsText(config, problemStatus)
  const document = (description: string) => ({ 200: z.looseObject({}).describe(description), ...ERRORS })
  app.route({
    method: 'GET',
    url: '/.well-known/api-onboarding',
    schema: {
      operationId: 'onboarding',
      summary: 'How to onboard, for a generic engine',
      response: document('An API Onboarding Descriptor, AOD 0.1'),
    },
    handler: async () => ({ ...onboardingDescriptor(config) }),
  })
  app.route({
    method: 'GET',
    url: '/.well-known/api-catalog',
    schema: {
      operationId: 'apiCatalog',
      summary: 'What there is, as links',
      response: {
        200: {
          description: 'An API catalog (RFC 9727)',
          content: { 'application/linkset+json': { schema: z.looseObject({}) } },
        },
        ...ERRORS,
      },
    },
    handler: async (_request, reply) => {
      reply.header('link', `<${linksOf(publicUrl).catalog}>; rel="api-catalog"`)
      return reply.type(CATALOG_TYPE).send({ ...apiCatalog(publicUrl) })
    },
  })
  app.route({
    method: 'GET',
    url: '/.well-known/oauth-protected-resource',
    schema: {
      operationId: 'protectedResource',
      summary: 'This service as an OAuth protected resource',
      response: document('Protected resource metadata (RFC 9728)'),
    },
    handler: async () => ({ ...resourceMetadata(publicUrl) }),
  })
  app.route({
    method: 'GET',
    url: '/register.mjs',
    schema: {
      operationId: 'registerScript',
      summary: 'A script that registers, for Node.js',
      description: 'One file without dependencies: FIRSTKEY_TOKEN=… node register.mjs --name acme-agent',
      response: {
        200: { description: 'JavaScript', content: { 'text/javascript': { schema: z.string() } } },
        ...ERRORS,
      },
    },
    handler: async (_request, reply) => reply.type('text/javascript; charset=utf-8').send(script),
  })
  for (const url of ['/', '/llms.txt'])
    app.route({
      method: 'GET',
      url,
      schema: {
        operationId: url === '/' ? 'home' : 'llms',
        summary: 'What this is and how to use it, for a language model',
        response: {
          200: { description: 'Markdown', content: { 'text/plain': { schema: z.string() } } },
          ...ERRORS,
        },
      },
      handler: async (_request, reply) => {
        reply.header('link', linkHeader(publicUrl))
        return reply.type('text/plain; charset=utf-8').send(guide)
      },
    })
}
