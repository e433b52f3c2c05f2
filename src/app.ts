import type { FastifyInstance } from 'fastify'
import type { Deps } from './deps.ts'
import { watchMethods } from './http/allowed-methods.ts'
import { prepareAuthentication } from './http/authenticate.ts'
import { noteClientAddresses } from './http/client-address.ts'
import { countRequests } from './http/count-requests.ts'
import { explainNoFlow } from './http/oauth-fallbacks.ts'
import { describeApi } from './http/openapi.ts'
import { answerProblems } from './http/problem.ts'
import { createRateLimits } from './http/rate-limit.ts'
import { recordRefusals } from './http/record-refusals.ts'
import { limitRequests } from './http/request-deadline.ts'
import { logRequests } from './http/request-log.ts'
import { createHttpServer } from './http/server.ts'
import { identitiesOf } from './routes/accepted-identities.ts'
import { connectRoutes } from './routes/connect.ts'
import { discoveryRoutes } from './routes/discovery.ts'
import { documentRoutes } from './routes/documents.ts'
import { healthRoutes } from './routes/health.ts'
import { loginRoutes } from './routes/login.ts'
import { pageRoutes } from './routes/pages.ts'
import { registerRoute } from './routes/register.ts'
import { registrationRoutes } from './routes/registration.ts'
import { tokenRoute } from './routes/token.ts'

/** Builds the HTTP service with all plugins and routes. It does not listen yet; closing it does not close `deps`. */
export async function buildApp(deps: Deps): Promise<FastifyInstance> {
  const { config, log } = deps
  const app = createHttpServer(config, log)
  answerProblems(app, config.publicUrl)
  noteClientAddresses(app, config)
  prepareAuthentication(app)
  logRequests(app)
  if (deps.meter !== null) countRequests(app, deps.meter)
  recordRefusals(app, deps.refusals.record)
  limitRequests(app, config.registerTimeoutMs)
  const methods = watchMethods(app)
  await describeApi(app, config.publicUrl)
  const limits = await createRateLimits(app, config.rateLimitPerIp, deps)

  app.addHook('onRequest', limits.byAddress) // On the root instance, so that unknown paths are counted, too.
  await app.register(healthRoutes, {
    store: deps.store,
    readiness: deps.readiness,
    clockCheck: deps.clockCheck,
    federation: deps.federation,
    pool: deps.pool,
  })
  await app.register(pageRoutes, { deps })
  await app.register(documentRoutes, { config })
  await app.register(discoveryRoutes, { deps })
  await app.register(registerRoute, { deps, limits })
  await app.register(registrationRoutes, { deps, limits })
  await app.register(connectRoutes, { deps, limits })
  await app.register(tokenRoute, { deps, limits })
  await app.register(loginRoutes, { deps })
  await explainNoFlow(app, config.publicUrl, () => identitiesOf(deps.federation))
  methods.answerOthers()
  app.addHook('preClose', async () => deps.keyProbe?.stopWaiting())
  return app
}
