import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Config } from '../config.ts'
import { apiCatalog, linkHeader, resourceMetadata } from '../discovery/catalog.ts'
import { linksOf } from '../discovery/links.ts'
import { llmsText } from '../discovery/llms.ts'
import { onboardingDescriptor } from '../discovery/onboarding.ts'
import { registerScript } from '../discovery/register-script.ts'
import { problemResponses } from '../http/error-responses.ts'
import { OPEN } from '../http/openapi.ts'
import { problemStatus } from '../http/problem.ts'
import { headersOf } from '../http/response-headers.ts'

const ERRORS = problemResponses('rate_limited')
/** RFC 9727, appendix A: the media type of a link set, with the profile of a catalog. */
const CATALOG_TYPE = 'application/linkset+json; profile="https://www.rfc-editor.org/info/rfc9727"'

/** How whoever knows only the base URL finds everything else: well-known documents, and a text for language models. */
export const discoveryRoutes: FastifyPluginAsyncZod<{
  config: Pick<Config, 'publicUrl' | 'apiBaseUrl' | 'apiProbeUrl' | 'plans'>
}> = async (app, { config }) => {
  const { publicUrl } = config
  const script = registerScript(publicUrl)
  const guide = llmsText(config, problemStatus)
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
      summary: 'How to onboard, for a generic engine',
      description: 'All that it needs to get from a bootstrap token to a working API key: apionboarding.org.',
      response: document('An API Onboarding Descriptor, AOD 0.1', {
        aod: '0.1',
        provider: { name: 'api.example.com', url: 'https://api.example.com/v1' },
        maturity: 'bootstrap-token',
      }),
    },
    handler: async () => ({ ...onboardingDescriptor(config) }),
  })
  app.route({
    method: 'GET',
    url: '/.well-known/api-catalog',
    schema: {
      operationId: 'apiCatalog',
      ...OPEN,
      summary: 'What there is, as links',
      description:
        'Where the description, the guide, the onboarding descriptor and the status of the service are.',
      response: {
        200: {
          description: 'An API catalog (RFC 9727)',
          headers: headersOf('Link'),
          content: {
            'application/linkset+json': { schema: z.looseObject({}), example: apiCatalog(publicUrl) },
          },
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
      ...OPEN,
      summary: 'This service as an OAuth protected resource',
      description: 'Where the challenge of a 401 points: who is asked for, and where to read on.',
      response: document('Protected resource metadata (RFC 9728)', resourceMetadata(publicUrl)),
    },
    handler: async () => ({ ...resourceMetadata(publicUrl) }),
  })
  app.route({
    method: 'GET',
    url: '/register.mjs',
    schema: {
      operationId: 'registerScript',
      ...OPEN,
      summary: 'A script that registers, for Node.js',
      description: 'One file without dependencies: FIRSTKEY_TOKEN=… node register.mjs --name acme-agent',
      response: {
        200: {
          description: 'JavaScript',
          content: { 'text/javascript': { schema: z.string(), example: firstLines(script) } },
        },
        ...ERRORS,
      },
    },
    handler: async (_request, reply) => reply.type('text/javascript; charset=utf-8').send(script),
  })
  app.route({
    method: 'GET',
    url: '/llms.txt',
    schema: {
      operationId: 'llms',
      ...OPEN,
      summary: 'What this is and how to use it, for a language model',
      description: 'The request, the answer, and what to do about every error, on one page (llmstxt.org).',
      response: {
        200: {
          description: 'Markdown',
          headers: headersOf('Link'),
          content: { 'text/plain': { schema: z.string(), example: firstLines(guide) } },
        },
        ...ERRORS,
      },
    },
    handler: async (_request, reply) => {
      reply.header('link', linkHeader(publicUrl))
      return reply.type('text/plain; charset=utf-8').send(guide)
    },
  })
}

/** The beginning of a text, as an example of it. */
function firstLines(text: string): string {
  return text.split('\n').slice(0, 4).join('\n')
}
