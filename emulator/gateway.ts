import { randomUUID } from 'node:crypto'
import Fastify from 'fastify'
import { z } from 'zod'
import { Account } from './account.ts'
import { controlPlane } from './control-plane.ts'
import { dataPlane } from './data-plane.ts'
import { createFaults, type FaultOrder, type Faults, faultSchema } from './faults.ts'
import { defaultGatewayOptions, type GatewayOptions, type OperationName } from './options.ts'
import { createQuotas } from './quotas.ts'
import { createUsage } from './usage.ts'

export interface Gateway {
  /** `http://127.0.0.1:PORT`: the endpoint for the SDK, and the base of the demo API. */
  readonly url: string
  /** The account's current keys and usage plans. */
  readonly account: Account
  readonly faults: Faults
  /** The number of responses so far, by operation and status. */
  readonly answers: Record<string, Record<number, number>>
  /** The milliseconds that calls took so far, by operation, measured in the emulator. */
  readonly busyMs: Record<string, number>
  /** The number of 409s so far because another change was in progress. */
  readonly concurrentChanges: number
  /** Called for every control-plane call. Tests replace it to act at an exact moment. */
  onCall: (operation: OperationName, moment: 'arrived' | 'effective') => void
  close(): Promise<void>
}

/**
 * Starts the emulator of API Gateway: the real protocol over a real socket, for the unmodified SDK. Other processes read
 * its state at `/_local/state` and inject failures at `/_local/faults`. All state is kept in memory.
 * @param host `127.0.0.1` by default, so that only this machine reaches it
 * @param port 0 for any free port
 */
export async function startGateway(
  overrides: Partial<GatewayOptions> = {},
  { host = '127.0.0.1', port = 0 } = {},
): Promise<Gateway> {
  const options = { ...defaultGatewayOptions, ...overrides }
  const account = new Account(options)
  const usage = createUsage(options.clock)
  const faults = createFaults()
  const answers: Gateway['answers'] = {}
  const app = Fastify({
    forceCloseConnections: true,
    bodyLimit: 32 * 1_024 * 1_024,
    genReqId: () => randomUUID(),
    routerOptions: { maxParamLength: 1_024 },
  })
  app.addHook('onRequest', async (_request, reply) => {
    reply.header('date', new Date(options.clock()).toUTCString())
  })
  let onCall: Gateway['onCall'] = () => undefined
  const busyMs: Gateway['busyMs'] = {}
  let concurrentChanges = 0

  await app.register(controlPlane, {
    options,
    account,
    usage,
    faults,
    quotas: options.quotas ? createQuotas() : () => undefined,
    onCall: (operation, moment) => onCall(operation, moment),
    onAnswer: (operation, status, ms) => {
      busyMs[operation] = (busyMs[operation] ?? 0) + ms
      const byStatus = answers[operation] ?? {}
      answers[operation] = { ...byStatus, [status]: (byStatus[status] ?? 0) + 1 }
    },
    onConcurrentChange: () => {
      concurrentChanges += 1
    },
  })
  await app.register(dataPlane, { options, account, usage })
  app.get('/_local/state', () => ({
    keys: [...account.keys.values()].map(({ value: _, planIds, ...key }) => ({
      ...key,
      planIds: [...planIds],
    })),
    plans: [...account.plans.values()],
    answers,
    busyMs,
    concurrentChanges,
  }))
  app.post<{ Body: FaultOrder }>('/_local/faults', async ({ body }, reply) => {
    const order = faultSchema.safeParse(body)
    if (!order.success) return reply.code(400).send({ message: z.prettifyError(order.error) })
    faults.order(order.data)
    return reply.code(204).send()
  })
  app.delete('/_local/faults', async (_request, reply) => {
    faults.clear()
    return reply.code(204).send()
  })

  const url = await app.listen({ host, port })
  return {
    url,
    account,
    faults,
    answers,
    busyMs,
    get concurrentChanges() {
      return concurrentChanges
    },
    get onCall() {
      return onCall
    },
    set onCall(listener) {
      onCall = listener
    },
    close: () => app.close(),
  }
}
