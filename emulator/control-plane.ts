import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { z } from 'zod'
import type { Account } from './account.ts'
import { ApiError, badRequest, concurrentChange } from './api-error.ts'
import { type Faults, faultError } from './faults.ts'
import { type Call, RawAnswer } from './operation.ts'
import type { OperationName } from './operation-names.ts'
import { operations } from './operations.ts'
import type { GatewayOptions } from './options.ts'
import type { Quotas } from './quotas.ts'
import { verifySignature } from './sigv4.ts'
import type { Usage } from './usage.ts'

/** The operations of which API Gateway runs only one at a time in a Region. */
const EXCLUSIVE = new Set<OperationName>(['CreateUsagePlanKey', 'ImportApiKeys'])

/** The time between two bytes of a response that drips (ms). */
const DRIP_MS = 50

/** Called for every call, when it arrives and when it has taken effect. The call waits for a promise that it returns. */
export type CallListener = (operation: OperationName, moment: 'arrived' | 'effective') => unknown

export interface ControlPlane {
  readonly options: GatewayOptions
  readonly account: Account
  readonly usage: Usage
  readonly faults: Faults
  readonly quotas: Quotas
  /** Called for every request. @returns a function for the status of its response, which some do not get */
  readonly onRequest: (operation: OperationName, method: string, path: string) => (status: number) => void
  /** @throws ApiError 403 if the policy does not allow the call */
  readonly authorize: (
    operation: OperationName,
    request: { readonly method: string; readonly path: string; readonly body: Buffer },
  ) => void
  readonly onCall: CallListener
  /** Called for every response, with the milliseconds from the request's last byte to the response's last byte. */
  readonly onAnswer: (operation: OperationName, status: number, ms: number) => void
  /** Called for every call that is rejected because another change is in progress. */
  readonly onConcurrentChange: () => void
}

const record = z.record(z.string(), z.string())
const queryString = z.record(z.string(), z.union([z.string(), z.array(z.string())]))

/** Adds the control plane's routes. Each call is verified, counted, delayed and made to fail as the options and faults say. */
export async function controlPlane(app: FastifyInstance, plane: ControlPlane): Promise<void> {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  app.setErrorHandler((error, _request, reply) => answerError(reply, error))
  app.setNotFoundHandler((request, reply) => {
    reply.header('x-amzn-requestid', request.id)
    return answerError(reply, new ApiError(404, 'UnknownOperationException', 'Unknown operation'))
  })
  /** The exclusive operation in progress, if any. */
  const running = new Set<OperationName>()

  for (const name of Object.keys(operations) as OperationName[]) {
    if (name === 'ImportApiKeys') continue // CreateApiKey's handler serves it: both have the same path.
    const { method, path } = operations[name]
    app.route({
      method,
      url: path,
      handler: async (request, reply) => {
        const arrivedAt = performance.now()
        const { query, lists } = readQuery(request.query)
        const operation = name === 'CreateApiKey' && query['mode'] === 'import' ? 'ImportApiKeys' : name
        const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
        reply.header('x-amzn-requestid', request.id)
        const note = plane.onRequest(operation, method, request.url.split('?')[0] ?? '')
        reply.raw.once('finish', () => {
          note(reply.statusCode)
          plane.onAnswer(operation, reply.statusCode, performance.now() - arrivedAt)
        })
        await verifySignature({ method, url: request.url, headers: request.headers, body }, plane.options)
        plane.authorize(operation, { method, path: request.url.split('?')[0] ?? '', body })
        await answer(
          { ...plane, running },
          operation,
          { params: record.parse(request.params), query, lists, headers: request.headers, body },
          reply,
        )
        return reply
      },
    })
  }
}

async function answer(
  plane: ControlPlane & { running: Set<OperationName> },
  operation: OperationName,
  input: Pick<Call, 'params' | 'query' | 'lists' | 'headers'> & { body: Buffer },
  reply: FastifyReply,
): Promise<void> {
  plane.quotas(operation)
  await plane.onCall(operation, 'arrived')
  const fault = plane.faults.next(operation, input.body.toString())
  if (fault?.when === 'before' && breakAnswer(fault.kind, reply)) return

  const parsed = operation === 'ImportApiKeys' ? input.body.toString() : parseJson(input.body)
  const exclusive = EXCLUSIVE.has(operation) && plane.options.oneAttachAtATime
  if (exclusive && plane.running.size > 0) {
    plane.onConcurrentChange()
    throw concurrentChange()
  }
  if (exclusive) plane.running.add(operation)
  let result: unknown
  try {
    const latency = latencyOf(plane.options, operation, parsed)
    if (latency > 0) await sleep(latency) // Sleeping for 0 ms takes 1 ms.
    result = operations[operation].run({ ...plane, ...input, body: parsed, fault })
  } finally {
    if (exclusive) plane.running.delete(operation)
  }
  await plane.onCall(operation, 'effective')
  if (fault?.when === 'after' && breakAnswer(fault.kind, reply)) return
  reply.code(operations[operation].status)
  if (result instanceof RawAnswer) reply.headers(result.headers).send(Buffer.from(result.body))
  else reply.send(result ?? '')
}

function readQuery(input: unknown): Pick<Call, 'query' | 'lists'> {
  const entries = Object.entries(queryString.parse(input)).map(
    ([name, value]) => [name, [value].flat()] as const,
  )
  return {
    query: Object.fromEntries(entries.map(([name, values]) => [name, values.at(-1) ?? ''])),
    lists: Object.fromEntries(entries),
  }
}

/** Applies a fault to the response. @returns `true`: none is to be sent @throws ApiError if the fault is an error response */
function breakAnswer(kind: Parameters<typeof faultError>[0], reply: FastifyReply): boolean {
  const error = faultError(kind)
  if (error !== undefined) throw error
  if (kind === 'garbled') {
    reply.type('text/html').send('<!doctype html><title>Welcome</title>')
    return true
  }
  if (kind !== 'hang' && kind !== 'half' && kind !== 'drip' && kind !== 'cut') return false
  reply.hijack()
  if (kind === 'cut') reply.raw.destroy()
  if (kind === 'half') startAnswer(reply)
  if (kind === 'drip') {
    startAnswer(reply)
    const dripping = setInterval(() => reply.raw.write(' '), DRIP_MS)
    reply.raw.once('close', () => clearInterval(dripping))
  }
  return true
}

/** Sends the headers and the first five bytes of a response that has more. */
function startAnswer({ raw }: FastifyReply): void {
  raw.writeHead(200, { 'content-type': 'application/json', 'content-length': 1_000_000 })
  raw.write('{"id"')
}

function latencyOf(options: GatewayOptions, operation: OperationName, body: unknown): number {
  const rows = operation === 'ImportApiKeys' ? String(body).trim().split('\n').length - 1 : 0
  const mean = (options.latency[operation] ?? 0) + rows * options.importPerKeyMs
  return mean * (1 + (Math.random() * 2 - 1) * options.latencyJitter)
}

function parseJson(body: Buffer): unknown {
  try {
    return body.length === 0 ? {} : JSON.parse(body.toString())
  } catch {
    throw badRequest('Could not parse request body into json')
  }
}

function answerError(reply: FastifyReply, error: unknown): FastifyReply {
  const known = error instanceof ApiError ? error : new ApiError(500, 'InternalFailure', String(error))
  if (known.retryAfter !== undefined) reply.header('retry-after', String(known.retryAfter))
  if (known.type !== '') reply.header('x-amzn-errortype', known.type)
  return reply.code(known.status).send({ message: known.message })
}
