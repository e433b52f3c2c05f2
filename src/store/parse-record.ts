import { z } from 'zod'
import type { AuditIdentity } from './audit.ts'
import { type Federation, ON_REPEAT } from './records.ts'

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

/** A {@link Federation} as JSON. */
export const federationJson: z.ZodType<Federation, string> = json(
  z.object({
    issuer: z.string(),
    rule: z.string(),
    identity: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
    maxLive: z.number().nullable(),
    onRepeat: z.enum(ON_REPEAT),
    overlapMs: z.number(),
    nameIsExact: z.boolean(),
  }),
)

/** An {@link AuditIdentity} as JSON. */
export const identityJson: z.ZodType<AuditIdentity, string> = json(
  z.object({
    issuer: z.string().nullable(),
    rule: z.string().nullable(),
    claims: z.record(z.string(), z.unknown()),
  }),
)

/** A value that is stored as JSON. */
function json<T>(schema: z.ZodType<T>) {
  return z
    .string()
    .transform((text, context): unknown => {
      try {
        return JSON.parse(text)
      } catch {
        context.addIssue('is no JSON')
        return z.NEVER
      }
    })
    .pipe(schema)
}
