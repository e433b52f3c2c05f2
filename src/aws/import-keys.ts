import { type APIGatewayClient, ImportApiKeysCommand } from '@aws-sdk/client-api-gateway'
import type { ServiceError } from '../errors.ts'
import type { ChangeLine } from './change-line.ts'
import { answeredError, toServiceError } from './errors.ts'
import type { KeyToCreate } from './keys.ts'

export interface KeyToImport extends KeyToCreate {
  readonly usagePlanId: string
}

/**
 * `imported`: API Gateway says so, after `ms` milliseconds; whether the keys are on their plans is still to be looked up. `refused`: it does
 * not take these keys, and none of them is there. `unsupported`: it has no such operation.
 */
export type ImportOutcome =
  | { readonly outcome: 'imported'; readonly ms: number }
  | { readonly outcome: 'refused' | 'unsupported'; readonly error: ServiceError }

const UNSUPPORTED = new Set([404, 405, 501])
/** Refusals that mean what they say of every other call as well: they are thrown. */
const NOT_FOR_THE_KEYS = new Set([401, 403, 429])

/**
 * Imports keys as CSV with the plans they belong on (ImportApiKeys). A repeated import overwrites: the values are the
 * caller's. Stands in `line` with every other change of this process.
 * @throws ServiceError as {@link toServiceError}; the keys may then be there or not
 */
export async function importKeys(
  client: APIGatewayClient,
  line: ChangeLine,
  keys: readonly KeyToImport[],
  signal: AbortSignal,
): Promise<ImportOutcome> {
  const body = Buffer.from(toCsv(keys))
  const { conflict: _, ...result } = await line.run(signal, () => tryImport(client, body, signal))
  return result
}

async function tryImport(
  client: APIGatewayClient,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<ImportOutcome & { conflict?: string }> {
  const startedAt = performance.now()
  try {
    // Whole or not at all: a warning for one row must not leave the others half-made.
    const command = new ImportApiKeysCommand({ body, format: 'csv', failOnWarnings: true })
    await client.send(command, { abortSignal: signal })
    return { outcome: 'imported', ms: performance.now() - startedAt }
  } catch (cause) {
    const error = toServiceError(cause, 'import API keys')
    const answered = answeredError(cause)
    if (answered === undefined) throw error
    const { name, status } = answered
    // What is not found may be a plan; an operation that is not there has another name, if any.
    if (UNSUPPORTED.has(status) && name !== 'NotFoundException') return { outcome: 'unsupported', error }
    const refused = { outcome: 'refused', error } as const
    // A part of the keys may still fit.
    if (error.code === 'key_quota_reached') return refused
    if (status >= 500 || NOT_FOR_THE_KEYS.has(status)) throw error
    return status === 409 ? { ...refused, conflict: answered.message } : refused
  }
}

/** `Name,Key,Description,UsagePlanIds`; `Enabled` is true where it is left out, and said all the same. */
function toCsv(keys: readonly KeyToImport[]): string {
  const rows = keys.map(
    ({ name, value, description, usagePlanId }) =>
      `${quote(name)},${value},${quote(description)},true,${usagePlanId}\n`,
  )
  return `Name,Key,Description,Enabled,UsagePlanIds\n${rows.join('')}`
}

/** RFC 4180, section 2. */
function quote(text: string): string {
  return `"${text.replaceAll('"', '""')}"`
}
