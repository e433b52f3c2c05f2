import { z } from 'zod'
import { badRequest } from './api-error.ts'

/** @throws ApiError 400 */
export function read<T>(schema: z.ZodType<T>, data: unknown): T {
  const result = schema.safeParse(data)
  if (!result.success) throw badRequest(`Invalid request input: ${z.prettifyError(result.error)}`)
  return result.data
}

const patch = z.object({
  patchOperations: z
    .array(
      z.object({
        op: z.enum(['add', 'remove', 'replace', 'move', 'copy', 'test']),
        path: z.string(),
        value: z.string().default(''),
        from: z.string().default(''),
      }),
    )
    .default([]),
})

export type Patch = z.infer<typeof patch>['patchOperations'][number]

/** Returns the changes of a PATCH. @throws ApiError 400 */
export const readPatches = (body: unknown): Patch[] => read(patch, body).patchOperations

/** The refusal of a change that keys and usage plans do not know. */
export const invalidPath = ({ op, path }: Pick<Patch, 'op' | 'path'>) =>
  badRequest(`Invalid patch path  '${path}' specified for op '${op}'. Please choose supported operations`)

/** The refusal of a change that APIs and methods do not know. */
export const invalidChange = ({ op, path }: Pick<Patch, 'op' | 'path'>) =>
  badRequest(
    op === 'replace'
      ? `Invalid patch path ${path}`
      : 'Invalid patch operation specified. Must be one of: [replace]',
  )

/** Reads the value of a change. Any text but `true`, in upper or lower case, is `false`, as with AWS (recorded by LocalStack). */
export const readBoolean = ({ value }: Patch) => /^true$/i.test(value)

/** Returns the value of a change that sets a text field: `undefined` takes it away. */
export function readText({ op, path, value }: Patch, canRemove = true): string | undefined {
  if (op === 'remove' && canRemove) return undefined
  if (op === 'replace') return value
  throw invalidPath({ op, path })
}

/** The numbers of a PATCH, which are text. */
export const amount = z
  .string()
  .regex(/^\d+(\.\d+)?$/)
  .transform(Number)
export const count = z.string().regex(/^\d+$/).transform(Number)

/** The text of a tag: letters, digits, spaces and some signs. */
const TAG_TEXT = /^[\p{L}\p{N}\p{Zs}_.:/=+@-]*$/u
/** AWS's own tags. */
const RESERVED = /^aws:/i
const MAX_TAGS = 50
export const tags = z
  .record(
    z
      .string()
      .min(1)
      .max(128)
      .regex(TAG_TEXT)
      .refine((key) => !RESERVED.test(key), 'Tag keys must not start with aws:'),
    z.string().max(256).regex(TAG_TEXT),
  )
  .refine((all) => Object.keys(all).length <= MAX_TAGS, `At most ${MAX_TAGS} tags are allowed`)
