import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Federation } from '../auth/federation/federation.ts'
import type { ClockCheck } from '../clock-check.ts'
import { tagged } from '../http/openapi.ts'
import { problemResponses, STORE_ERRORS, UPSTREAM_ERRORS } from '../http/openapi-errors.ts'
import type { Pool } from '../registration/pool/pool.ts'
import type { ServiceReadiness } from '../registration/queries/service-readiness.ts'
import type { RestoreStore } from '../store/restores.ts'

const liveSchema = z.object({ status: z.literal('live').describe('Always `live`') })
const poolLevelSchema = z.object({
  ready: z.int().min(0).describe('Keys that a registration can have at once'),
  size: z.int().min(0).describe('Keys that are to be ready'),
})
const readySchema = z.object({
  status: z.literal('ready').describe('Always `ready`; otherwise an error is returned'),
  clock_ahead_seconds: z
    .int()
    .optional()
    .describe(
      "Only while the clock of the machine is wrong: by how much it is ahead of AWS's. Negative: behind. Until it is set " +
        'right, expired keys are not deleted.',
    ),
  restored_as_of: z.iso
    .datetime()
    .optional()
    .describe(
      'Only after the store was restored, until an operator has dealt with that: the time of the backup. What was ' +
        'unfinished in it is left alone.',
    ),
  pool: z
    .record(z.string(), poolLevelSchema)
    .optional()
    .describe(
      'Only where keys are made beforehand: how many of each plan are ready, and how many are to be, in the whole service. An ' +
        'empty pool is no fault: registrations take longer.',
    ),
  trust_file_refused_at: z.iso
    .datetime()
    .optional()
    .describe(
      'Only while the trust file has faults: when it was read and refused. The rules before it stay in force; the log has ' +
        'the faults.',
    ),
})

/** `GET /livez` and `GET /readyz`, for monitoring. Only failed requests are logged; rate limits do not count them. */
export const healthRoutes: FastifyPluginAsyncZod<{
  store: RestoreStore
  readiness: ServiceReadiness
  clockCheck: Pick<ClockCheck, 'ahead'>
  federation: Pick<Federation, 'state'> | null
  pool: Pick<Pool, 'levels'> | null
}> = async (app, { store, readiness, clockCheck, federation, pool }) => {
  app.route({
    method: 'GET',
    url: '/livez',
    logLevel: 'warn',
    config: { rateLimit: false },
    schema: {
      operationId: 'livez',
      summary: 'Liveness check',
      description: 'Reports that the process is running. It uses neither the store nor API Gateway.',
      tags: tagged('Health'),
      security: [],
      response: {
        200: {
          description: 'The process is running.',
          content: { 'application/json': { schema: liveSchema, example: { status: 'live' } } },
        },
        ...problemResponses(),
      },
    },
    handler: async () => ({ status: 'live' as const }),
  })
  app.route({
    method: 'GET',
    url: '/readyz',
    logLevel: 'warn',
    config: { rateLimit: false },
    schema: {
      operationId: 'readyz',
      summary: 'Readiness check',
      description:
        'Checks that a registration can succeed: the store can be written to, every usage plan exists and has an API ' +
        'stage, and the latest registrations did not show a fault that lasts, such as a used-up key quota. The store ' +
        'and the plans are looked at every 10 seconds at most.',
      tags: tagged('Health'),
      security: [],
      response: {
        200: {
          description: 'A registration can succeed.',
          content: { 'application/json': { schema: readySchema, example: { status: 'ready' } } },
        },
        ...problemResponses('key_quota_reached', ...STORE_ERRORS, ...UPSTREAM_ERRORS),
      },
    },
    handler: async () => {
      await readiness.check()
      const restoredAsOf = await store.findRestore()
      const refused = federation?.state().refused ?? null
      const time = (ms: number) => new Date(ms).toISOString()
      const aheadS = Math.round(clockCheck.ahead() / 1_000)
      return {
        status: 'ready' as const,
        ...(aheadS === 0 ? {} : { clock_ahead_seconds: aheadS }),
        ...(restoredAsOf === null ? {} : { restored_as_of: time(restoredAsOf) }),
        ...(pool === null ? {} : { pool: levelsOf(pool) }),
        ...(refused === null ? {} : { trust_file_refused_at: time(refused.at) }),
      }
    },
  })
}

function levelsOf(pool: Pick<Pool, 'levels'>): Record<string, { ready: number; size: number }> {
  return Object.fromEntries(
    pool.levels().map(({ plan, size, counts }) => [plan, { ready: counts.ready, size }]),
  )
}
