import { z } from 'zod'
import { ApiError } from './api-error.ts'
import type { OperationName } from './operation-names.ts'
import { ACCOUNT_ID } from './rest-apis.ts'

const list = z.union([z.string().transform((one) => [one]), z.array(z.string()).min(1).readonly()])
const statement = z.strictObject({
  Sid: z.string().optional(),
  Effect: z.enum(['Allow', 'Deny']),
  Action: list,
  Resource: list,
})
const document = z.strictObject({
  Version: z.enum(['2012-10-17', '2008-10-17']).optional(),
  Id: z.string().optional(),
  Statement: z.union([statement.transform((one) => [one]), z.array(statement).readonly()]),
})

/** A policy of a user or role. The emulator evaluates no conditions, and refuses a policy that has some. */
export type PolicyDocument = z.input<typeof document>

export interface Permission {
  /** As in `apigateway:GET`. */
  readonly action: string
  readonly resource: string
}

const USER = `arn:aws:iam::${ACCOUNT_ID}:user/demo`

/**
 * Returns a check of permissions. A call needs a statement that allows it, and none that denies it.
 * @throws ZodError if the document is not valid
 */
export function createAuthorizer(policy: PolicyDocument): (needed: Permission) => void {
  const statements = document.parse(policy).Statement
  return ({ action, resource }) => {
    const matching = statements.filter(
      (one) =>
        // IAM's actions have no case, its resources do.
        one.Action.some((pattern) => wildcard(pattern.toLowerCase(), action.toLowerCase())) &&
        one.Resource.some((pattern) => wildcard(pattern, resource)),
    )
    if (matching.some(({ Effect }) => Effect === 'Deny'))
      throw denied(action, resource, 'with an explicit deny in an identity-based policy')
    if (matching.length === 0)
      throw denied(action, resource, `because no identity-based policy allows the ${action} action`)
  }
}

function denied(action: string, resource: string, why: string): ApiError {
  const message = `User: ${USER} is not authorized to perform: ${action} on resource: ${resource} ${why}`
  return new ApiError(403, 'AccessDeniedException', message)
}

/** Compares text with a pattern, where `*` is any text and `?` one character, in time linear in each. */
export function wildcard(pattern: string, text: string): boolean {
  let [p, t, star, retry] = [0, 0, -1, 0]
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p++
      retry = t
    } else if (pattern[p] === '?' || (p < pattern.length && pattern[p] === text[t])) {
      p++
      t++
    } else if (star >= 0) {
      p = star + 1
      t = ++retry
    } else return false
  }
  while (pattern[p] === '*') p++
  return p === pattern.length
}

/** The operations that create a resource that may have tags, and where. */
const TAGGED_LISTS = new Set<OperationName>([
  'CreateApiKey',
  'CreateUsagePlan',
  'CreateRestApi',
  'CreateStage',
  'CreateDomainName',
])

/**
 * Returns the permissions that a call needs: the HTTP method on the path, without the `/v2` of the second API. To tag a resource, as
 * it is created or later, needs `apigateway:PUT` below `/tags/`, and later `apigateway:PATCH` on it too (iam-dataset#39,
 * aws-terminator#284); to set a resource policy, `apigateway:UpdateRestApiPolicy` (developer guide).
 */
export function permissionsFor(
  region: string,
  operation: OperationName,
  { method, path, body }: { readonly method: string; readonly path: string; readonly body: Buffer },
): Permission[] {
  const arn = (of: string) => `arn:aws:apigateway:${region}::${of}`
  const own = { action: `apigateway:${method}`, resource: arn(path.replace(/^\/v2(?=\/)/, '')) }
  if (operation === 'TagResource') {
    const tagged = decodeURIComponent(path.slice('/tags/'.length))
    return [own, { action: 'apigateway:PATCH', resource: tagged }]
  }
  const needed = [own]
  const { tags, policy, patchOperations } = readBody(body)
  if (TAGGED_LISTS.has(operation) && Object.keys(tags).length > 0)
    needed.push({
      action: 'apigateway:PUT',
      resource: arn(`/tags/${encodeURIComponent(arn(`${path}/*`))}`),
    })
  const isPatched = patchOperations.some((patch) => patch.path === '/policy')
  if ((operation === 'CreateRestApi' && policy !== undefined) || (operation === 'UpdateRestApi' && isPatched))
    needed.push({ action: 'apigateway:UpdateRestApiPolicy', resource: own.resource })
  return needed
}

const parts = z.object({
  tags: z.record(z.string(), z.unknown()).catch({}),
  policy: z.unknown().optional(),
  patchOperations: z.array(z.object({ path: z.unknown().optional() })).catch([]),
})

/** A body that is none is left to the operation, which refuses it. */
function readBody(body: Buffer): z.infer<typeof parts> {
  try {
    return parts.parse(JSON.parse(body.toString()))
  } catch {
    return { tags: {}, policy: undefined, patchOperations: [] }
  }
}
