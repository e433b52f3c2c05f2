import { parse } from 'csv-parse/sync'
import { z } from 'zod'
import type { Account, ApiKey } from './account.ts'
import { ApiError, badRequest } from './api-error.ts'
import type { GatewayOptions } from './options.ts'

const row = z.object({
  name: z.string('the column Name is missing'),
  key: z.string('the column Key is missing'),
  description: z.string().optional(),
  enabled: z.stringbool().default(true),
  usageplanids: z
    .string()
    .default('')
    .transform((text) => text.split(',').flatMap((id) => id.trim() || [])),
})

/**
 * Implements ImportApiKeys: creates or overwrites the keys of a CSV file and attaches them to their usage plans.
 * @param failOnWarnings `true`: one invalid row rejects the whole import; `false`: invalid rows are skipped
 * @returns the ids; as in API Gateway, their order is unrelated to the rows
 * @param overQuota see {@link GatewayOptions.importOverQuota}
 * @throws ApiError 400 for invalid CSV, and for an invalid row with `failOnWarnings`; 429 if the quota has no room
 */
export function importKeys(
  account: Account,
  csv: string,
  { failOnWarnings, overQuota }: { failOnWarnings: boolean; overQuota: GatewayOptions['importOverQuota'] },
): { ids: string[]; warnings: string[] } {
  const ids: string[] = []
  const warnings: string[] = []
  const undo: (() => void)[] = []
  for (const [index, record] of records(csv).entries()) {
    try {
      const { id, undo: ofRow } = importRow(account, row.parse(record))
      ids.push(id)
      undo.push(ofRow)
    } catch (error) {
      if (!(error instanceof ApiError || error instanceof z.ZodError)) throw error
      if (overQuota === 'limit' && error instanceof ApiError && error.type === 'LimitExceededException') {
        for (const step of undo.reverse()) step()
        throw error
      }
      warnings.push(
        `Row ${index + 1}: ${error instanceof z.ZodError ? z.prettifyError(error) : error.message}`,
      )
    }
  }
  if (failOnWarnings && warnings.length > 0) {
    for (const step of undo.reverse()) step()
    throw badRequest(`Failed to import API keys: ${warnings.join('; ')}`)
  }
  return { ids: ids.sort(), warnings }
}

function records(csv: string): unknown[] {
  if (csv.trim() === '') throw badRequest('Not a CSV file: it is empty')
  try {
    return parse(csv, {
      bom: true,
      trim: true,
      skip_empty_lines: true,
      columns: (names: string[]) => names.map(lower),
    })
  } catch (error) {
    throw badRequest(`Not a CSV file: ${error instanceof Error ? error.message : String(error)}`)
  }
}

/** Imports a row as a whole, or not at all. */
function importRow(account: Account, order: z.infer<typeof row>): { id: string; undo: () => void } {
  const existing = account.keyByValue(order.key)
  const { name, description, enabled } = order
  const key = existing ?? account.createKey({ name, description, enabled, value: order.key })
  const before = { name: key.name, description: key.description, enabled: key.enabled }
  const planIds = [...key.planIds]
  const undo = () => {
    if (existing === undefined) return account.deleteKey(key.id)
    overwrite(account, key, before)
    key.planIds.clear()
    for (const planId of planIds) key.planIds.add(planId)
  }
  try {
    overwrite(account, key, { name, description, enabled })
    for (const planId of order.usageplanids) if (!key.planIds.has(planId)) account.attach(planId, key.id)
  } catch (error) {
    undo()
    throw error
  }
  return { id: key.id, undo }
}

function overwrite(
  account: Account,
  key: ApiKey,
  { name, ...rest }: Pick<ApiKey, 'name' | 'description' | 'enabled'>,
): void {
  account.rename(key, name)
  Object.assign(key, { ...rest, updatedAt: Date.now() })
}

const lower = (text: string) => text.toLowerCase()
