import { type APIGatewayClient, ImportApiKeysCommand } from '@aws-sdk/client-api-gateway'
import { ServiceError } from '../errors.ts'
import type { ChangeQueue } from './change-queue.ts'
import { answeredError, type FaultKind, isUnsupported, kindOf, toServiceError } from './errors.ts'
import type { KeyToCreate } from './keys.ts'

export interface KeyToImport extends KeyToCreate {
  readonly usagePlanId: string
}

/**
 * The outcome of an import. `imported`: API Gateway reported success after `ms` milliseconds, with the keys' `ids` in an order
 * that is unknown; the caller has to check that the keys are on their usage plans. `refused`: API Gateway rejected these keys and created none of them.
 * `unsupported`: the endpoint has no such operation. `late`: no response in time, and `unclear`: another failure that says
 * nothing of the keys, such as a 500; the keys may exist or not.
 */
export type ImportOutcome =
  | { readonly outcome: 'imported'; readonly ms: number; readonly ids: readonly string[] }
  | { readonly outcome: 'refused' | 'unsupported' | 'late' | 'unclear'; readonly error: ServiceError }

/** The kinds of failures that are about the keys. After any other, the same call may succeed, or none would. */
const ABOUT_THE_KEYS = new Set<FaultKind>(['quota', 'conflict', 'missing', 'rejected'])

/**
 * Imports keys as CSV with their usage plans (ImportApiKeys). A repeated import overwrites the same keys, because the
 * caller chooses their values. It waits in `queue` for the other changes of this process. An import that takes too long is
 * not retried: the caller may try fewer keys.
 * @param ready as in {@link ChangeQueue.run}
 * @throws ServiceError of a failure that is not about imports, see {@link toServiceError}; the keys may then exist or not
 */
export async function importKeys(
  client: APIGatewayClient,
  queue: ChangeQueue,
  keys: readonly KeyToImport[],
  signal: AbortSignal,
  ready?: () => Promise<void>,
): Promise<ImportOutcome> {
  const body = Buffer.from(toCsv(keys))
  const { conflict: _, ...result } = await queue.run(signal, () => tryImport(client, body, signal), ready)
  return result
}

async function tryImport(
  client: APIGatewayClient,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<ImportOutcome & { conflict?: string }> {
  const startedAt = performance.now()
  // All or nothing: a warning for one row must not leave a partial import.
  const command = new ImportApiKeysCommand({ body, format: 'csv', failOnWarnings: true })
  command.middlewareStack.add((next) => (args) => next(args).catch(finallyLate), {
    name: 'doNotRetryLateImport',
    step: 'deserialize',
  })
  try {
    const { ids } = await client.send(command, { abortSignal: signal })
    if (ids !== undefined) return { outcome: 'imported', ms: performance.now() - startedAt, ids }
    return { outcome: 'unsupported', error: withoutIds() }
  } catch (cause) {
    const error = toServiceError(cause, 'import API keys', 'plan')
    if (isUnsupported(cause)) return { outcome: 'unsupported', error }
    const kind = kindOf(cause)
    const answered = answeredError(cause)
    if (answered !== undefined && ABOUT_THE_KEYS.has(kind))
      return { outcome: 'refused', error, ...(kind === 'conflict' ? { conflict: answered.message } : {}) }
    if (kind !== 'unclear' || signal.aborted) throw error
    return { outcome: cause instanceof LateError ? 'late' : 'unclear', error }
  }
}

/** A time-out that the SDK does not retry. */
class LateError extends Error {
  override readonly name = 'LateError'
}

function finallyLate(error: unknown): never {
  if (error instanceof Error && error.name === 'TimeoutError') throw new LateError(error.message)
  throw error
}

/** Another operation answered, such as CreateApiKey at the same path. */
function withoutIds(): ServiceError {
  const cause = new Error('the response to ImportApiKeys has no ids')
  return new ServiceError('upstream_unavailable', 'API Gateway did not import API keys.', {
    cause,
    retryAfter: 5,
    effect: 'possible',
  })
}

/** Formats keys as CSV. `Enabled` is true by default; the column states it explicitly. */
function toCsv(keys: readonly KeyToImport[]): string {
  const rows = keys.map(
    ({ name, value, description, usagePlanId }) =>
      `${quote(name)},${value},${quote(description)},true,${usagePlanId}\n`,
  )
  return `Name,Key,Description,Enabled,UsagePlanIds\n${rows.join('')}`
}

/** Quotes a CSV field (RFC 4180, section 2). */
function quote(text: string): string {
  return `"${text.replaceAll('"', '""')}"`
}
