import type { FastifyInstance } from 'fastify'
import type { ErrorCode } from '../error-catalogue.ts'
import { type Identified, identified } from './authenticate.ts'
import { toServiceError } from './problem.ts'

/**
 * Records each rejected request with a known token, or with an identity token, before the response is sent. Applies to routes
 * added afterwards.
 */
export function recordRefusals(
  app: FastifyInstance,
  record: (refusal: Identified & { code: ErrorCode }) => Promise<void>,
): void {
  app.addHook('onError', async (request, _reply, error) => {
    const refusal = toServiceError(error)
    const who = identified(request, refusal)
    const { code, clientClosed } = refusal
    // Its registration was undone because the client had left, not refused.
    if (who !== undefined && !clientClosed) await record({ ...who, code })
  })
}
