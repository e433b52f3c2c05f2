import { randomUUID } from 'node:crypto'
import Fastify from 'fastify'
import { Account } from './account.ts'
import { type CallListener, controlPlane } from './control-plane.ts'
import { customDomainUrl, dataPlane } from './data-plane.ts'
import { createFaults, type Faults } from './faults.ts'
import { createAuthorizer, type Permission, type PolicyDocument, permissionsFor } from './iam-policy.ts'
import { localRoutes } from './local-routes.ts'
import type { OperationName } from './operation-names.ts'
import { defaultGatewayOptions, type GatewayOptions } from './options.ts'
import { createQuotas } from './quotas.ts'
import { createUsage } from './usage.ts'

/** A request to the control plane. */
export interface GatewayCall {
  readonly operation: OperationName
  readonly method: string
  /** As it was sent, without the query. */
  readonly path: string
  /** The time of its arrival in milliseconds since the epoch. */
  readonly at: number
  /** `null` until the response was sent, and for a request that got none. */
  readonly status: number | null
}

/** The number of requests in {@link Gateway.calls}. */
const MAX_CALLS = 10_000

export interface Gateway {
  /** `http://127.0.0.1:PORT`: the endpoint for the SDK, and the base of the demo API. */
  readonly url: string
  /** The account's current APIs, keys and usage plans. */
  readonly account: Account
  readonly faults: Faults
  /** The last requests to the control plane, in the order of their arrival. */
  readonly calls: readonly GatewayCall[]
  /** The number of responses so far, by operation and status. */
  readonly answers: Record<string, Record<number, number>>
  /** The milliseconds that calls took so far, by operation, measured in the emulator. */
  readonly busyMs: Record<string, number>
  /** The number of 409s so far because another change was in progress. */
  readonly concurrentChanges: number
  /** The permissions of the credentials; `null`: everything. A new document takes effect at once. @throws ZodError if it is not valid */
  policy: PolicyDocument | null
  /** Tests replace it to act at an exact moment. */
  onCall: CallListener
  close(): Promise<void>
}

/**
 * Starts the emulator of API Gateway: the real protocol over a real socket, for the unmodified SDK. Other processes read
 * its state at `/_local/state`, its calls at `/_local/calls`, and inject failures at `/_local/faults`; PATCH of the state sets what no operation sets. All state is kept in memory.
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
    rewriteUrl: ({ url = '/', headers }) => customDomainUrl(account, headers.host) + url,
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
  let { policy } = options
  let requirePermission: (needed: Permission) => void =
    policy === null ? () => undefined : createAuthorizer(policy)
  const calls: { -readonly [K in keyof GatewayCall]: GatewayCall[K] }[] = []

  await app.register(controlPlane, {
    options,
    account,
    usage,
    faults,
    quotas: options.quotas ? createQuotas() : () => undefined,
    onRequest: (operation, method, path) => {
      const call = { operation, method, path, at: Date.now(), status: null as number | null }
      calls.push(call)
      if (calls.length > MAX_CALLS) calls.shift()
      return (status) => {
        call.status = status
      }
    },
    authorize: (operation, request) => {
      for (const needed of permissionsFor(options.region, operation, request)) requirePermission(needed)
    },
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
  await app.register(localRoutes, {
    ...{ account, faults, calls },
    figures: () => ({ answers, busyMs, concurrentChanges }),
  })

  const url = await app.listen({ host, port })
  return {
    url,
    account,
    faults,
    calls,
    answers,
    busyMs,
    get concurrentChanges() {
      return concurrentChanges
    },
    get policy() {
      return policy
    },
    set policy(document) {
      requirePermission = document === null ? () => undefined : createAuthorizer(document)
      policy = document
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
