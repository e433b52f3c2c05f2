import { type APIGatewayClient, ImportApiKeysCommand } from '@aws-sdk/client-api-gateway'
import type { ServiceError } from '../errors.ts'
import type { ChangeQueue } from './change-queue.ts'
import { answeredError, type FaultKind, kindOf, toServiceError } from './errors.ts'
import type { KeyToCreate } from './keys.ts'

export interface KeyToImport extends KeyToCreate {
  readonly usagePlanId: string
}

/**
 * The outcome of an import. `imported`: API Gateway reported success after `ms` milliseconds; the caller has to check
 * that the keys are on their usage plans. `refused`: API Gateway rejected these keys and created none of them.
 * `unsupported`: API Gateway has no such operation.
 */
export type ImportOutcome =
  | { readonly outcome: 'imported'; readonly ms: number }
  | { readonly outcome: 'refused' | 'unsupported'; readonly error: ServiceError }

const UNSUPPORTED = new Set([404, 405, 501])
/** The kinds of failures that are about the keys. After any other, the same call may succeed, or none would. */
const ABOUT_THE_KEYS = new Set<FaultKind>(['quota', 'conflict', 'missing', 'rejected'])

/**
 * Imports keys as CSV with their usage plans (ImportApiKeys). A repeated import overwrites the same keys, because the
 * caller chooses their values. It waits in `queue` for the other changes of this process.
 * @throws ServiceError see {@link toServiceError}; the keys may then exist or not
 */
export async function importKeys(
  client: APIGatewayClient,
  queue: ChangeQueue,
  keys: readonly KeyToImport[],
  signal: AbortSignal,
): Promise<ImportOutcome> {
  const body = Buffer.from(toCsv(keys))
  const { conflict: _, ...result } = await queue.run(signal, () => tryImport(client, body, signal))
  return result
}

async function tryImport(
  client: APIGatewayClient,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<ImportOutcome & { conflict?: string }> {
  const startedAt = performance.now()
  try {
    // All or nothing: a warning for one row must not leave a partial import.
    const command = new ImportApiKeysCommand({ body, format: 'csv', failOnWarnings: true })
    await client.send(command, { abortSignal: signal })
    return { outcome: 'imported', ms: performance.now() - startedAt }
  } catch (cause) {
    const error = toServiceError(cause, 'import API keys', 'plan')
    const answered = answeredError(cause)
    if (answered === undefined) throw error
    const kind = kindOf(cause)
    // NotFoundException can mean a usage plan. An unsupported operation has another error name, or none.
    if (UNSUPPORTED.has(answered.status) && kind !== 'missing') return { outcome: 'unsupported', error }
    if (!ABOUT_THE_KEYS.has(kind)) throw error
    return { outcome: 'refused', error, ...(kind === 'conflict' ? { conflict: answered.message } : {}) }
  }
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
