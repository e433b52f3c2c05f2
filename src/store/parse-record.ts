import { z } from 'zod'

/**
 * Validates a row or an item on its way from the database.
 * @param name what the record is, and which one, for the error
 * @throws Error that names the record and its faults, but no value
 */
export function parseRecord<T>(schema: z.ZodType<T>, record: unknown, name: string): T {
  const result = schema.safeParse(record)
  if (result.success) return result.data
  throw new Error(`the store holds an invalid record, ${name}: ${z.prettifyError(result.error)}`)
}
