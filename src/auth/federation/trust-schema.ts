import { z } from 'zod'
import { didYouMean } from '../../did-you-mean.ts'
import { parseDuration } from '../../duration.ts'
import { ON_REPEAT } from '../../store/records.ts'
import { ALGORITHMS, ISSUER_KINDS, type IssuerKindName } from './issuer-kinds.ts'

const MAX_RULES = 1_000
/** The audit trail shows the issuer beside the identity in at most 4 KiB. */
const MAX_URL = 500
const NAME_RULE = 'must be 1 to 64 letters, digits, ".", "_" and "-", a letter or digit first'
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/** A field: an absent one is called required, any other fault is described by what it must be. */
const must = (rule: string) => ({
  error: ({ input }: { input?: unknown }) =>
    input === undefined ? `is required: it must be ${rule}` : `must be ${rule}`,
})

/** An object that may have these members only. The error of a mistyped name suggests the right one. */
function strict<T extends z.ZodRawShape>(shape: T, what: string) {
  return z.strictObject(shape, must(what))
}

const text = (what: string) => z.string(must(what)).min(1, `must be ${what}`).max(2_048, `must be ${what}`)
const claimName = text('the name of a claim')
const value = z.union(
  [z.string().max(2_048), z.number(), z.boolean()],
  must('a text, a number, true or false, or a list of them'),
)
const AUDIENCE = 'the audience that tokens must have, without white space'
const duration = (what: string) =>
  z.string(must(what)).refine((written) => parseDuration(written) !== undefined, `must be ${what}`)
const DURATION = 'a duration: 90s, 15m, 24h, 7d, 4w or 1y'

export const loginSchema = strict(
  {
    label: text('the name that people know the provider by')
      .optional()
      .describe('Shown to people: "Sign in with …". Default: the name of the issuer'),
    client_id: text('the id of the client that is registered at the provider').describe(
      'The client at the provider',
    ),
    client_secret_env: text('the name of an environment variable')
      .optional()
      .describe("The environment variable with the client's secret"),
    client_secret_file: text('the path of a file').optional().describe("The file with the client's secret"),
    scopes: z
      .array(text('a scope'), must('a list of scopes'))
      .min(1, 'must be a list of scopes')
      .optional()
      .describe('Default: openid, profile, email'),
  },
  'an object with client_id and client_secret_env',
)

export const issuerSchema = strict(
  {
    kind: z
      .enum(ISSUER_KINDS as [IssuerKindName, ...IssuerKindName[]], must(`one of ${ISSUER_KINDS.join(', ')}`))
      .describe(
        'The platform: it brings defaults, short names for claims, and the claims that a rule must pin',
      ),
    issuer: text("the issuer's URL, exactly as the claim iss has it")
      .max(MAX_URL, `must have at most ${MAX_URL} characters`)
      .optional()
      .describe('The claim iss, exactly. Required for kubernetes, aws, entra and oidc'),
    algorithms: z
      .array(z.enum(ALGORITHMS, must(`one of ${ALGORITHMS.join(', ')}`)), must('a list of algorithms'))
      .min(1, 'must be a list of at least one algorithm')
      .optional()
      .describe(
        'The only algorithms that tokens may be signed with. Default: those of the kind; for oidc RS256 and ES256',
      ),
    single_use: z
      .boolean(must('true or false'))
      .optional()
      .describe('A token, known by its jti, registers once. Default: true for github, gitlab and aws'),
    jwks_uri: text('the URL of the key set')
      .optional()
      .describe('The key set, instead of the discovery document'),
    jwks_file: text('the path of a file with the key set')
      .optional()
      .describe('The key set, instead of the network'),
    ca_file: text('the path of a file with certificates')
      .optional()
      .describe("The certificates (PEM) that vouch for the issuer's server, instead of those of the system"),
    bearer_token_file: text('the path of a file')
      .optional()
      .describe('A token that the issuer requires. The file is read again for every request'),
    login: loginSchema.optional().describe('People may log in at this issuer'),
  },
  'an object: { kind: … }',
)

export const matchSchema = z
  .record(
    claimName,
    z.union(
      [value, z.array(value).min(1, 'must be a value, or a list of values that is not empty')],
      must('a text, a number, true or false, or a list of them that is not empty'),
    ),
    must('an object of claims and their values'),
  )
  .describe(
    'Claims and their values, exact and typed. A list means any of them; a final * may follow ":" or "/"',
  )

const count = (what: string) => z.int(must(what)).min(1, `must be ${what}`)

const grantSchema = strict(
  {
    plans: z
      .array(text('the name of a plan'), must('a list of plans'))
      .optional()
      .describe('The plans on offer; the first is the default. Default: the default plan of the service'),
    name: text('a text with claims in braces, as in "gh-{repository}*"')
      .optional()
      .describe(
        'The name of registrations, with claims in braces; with a final * only its beginning. Default: any',
      ),
    key_ttl: duration(DURATION).describe(
      'How long a key works without a new proof of the identity, for example 24h',
    ),
    max_live: count('a whole number from 1')
      .optional()
      .describe('The keys that are alive at once. Default: unlimited'),
    on_repeat: z
      .enum(ON_REPEAT, must(`one of ${ON_REPEAT.join(', ')}`))
      .optional()
      .describe(
        'The same identity registers the same name again: a new key replaces the old one, 409, or one more',
      ),
    overlap: z
      .union([duration(DURATION), z.literal('0s')], must('a duration, as in 1h, or 0s'))
      .optional()
      .describe('How long a replaced key keeps working. Default: 1h'),
    rate: count('a whole number from 1: requests a minute')
      .optional()
      .describe('Requests a minute. Default: unlimited'),
  },
  'an object with key_ttl',
)

export const ruleSchema = strict(
  {
    id: z
      .string(must('a name'))
      .regex(NAME, NAME_RULE)
      .describe('A unique name, which logs and the audit trail show'),
    issuer: text('the name of an issuer of this file').describe('The name of an issuer'),
    match: matchSchema,
    identity: z
      .array(claimName, must('a list of claims'))
      .min(1, 'must be a list of at least one claim')
      .optional()
      .describe('The claims that make it the same caller. Default: sub'),
    grant: grantSchema,
  },
  'an object with id, issuer, match and grant',
)

export const trustSchema = strict(
  {
    $schema: z.string(must('the URL of a JSON Schema')).optional(),
    audience: z
      .string(must(AUDIENCE))
      .regex(/^\S{1,500}$/, `must be ${AUDIENCE}`)
      .optional()
      .describe('The only audience that tokens may have. Default: PUBLIC_URL'),
    issuers: z
      .record(z.string().regex(NAME), issuerSchema, must('an object of issuers by name'))
      .describe('The issuers whose tokens are believed'),
    rules: z
      .array(ruleSchema, must('a list of rules'))
      .max(MAX_RULES, `must be at most ${MAX_RULES} rules`)
      .describe('Who gets what; the first rule that matches decides'),
  },
  'an object with issuers and rules',
)

export type Path = readonly PropertyKey[]

/** Collects faults by the paths of what has them. */
export type Report = (path: Path, message: string, of?: 'name' | 'value') => void

/** Returns the JSON Schema of the trust file, for editors. */
export function trustJsonSchema(): object {
  const { $schema, ...schema } = z.toJSONSchema(trustSchema, { io: 'input' })
  return { $schema, title: 'Trust file of firstkey', ...schema }
}

/** Reports what zod found, in the words of the schema. */
export function reportIssue(issue: z.core.$ZodIssue, report: Report): void {
  switch (issue.code) {
    case 'unrecognized_keys':
      for (const key of issue.keys) {
        const known = knownMembers(issue.path)
        const list = `it may have ${known.join(', ')}`
        report([...issue.path, key], `is not known${didYouMean(key, known)}; ${list}`, 'name')
      }
      break
    case 'invalid_key':
      report(issue.path, `has a name that ${NAME_RULE}`, 'name')
      break
    default:
      report(issue.path, issue.message)
  }
}

/** Returns the names that an object at a path may have. */
function knownMembers(path: Path): string[] {
  let schema: unknown = trustSchema
  for (const part of path) {
    while (schema instanceof z.ZodOptional) schema = schema.unwrap()
    if (schema instanceof z.ZodObject) schema = schema.shape[String(part)]
    else if (schema instanceof z.ZodRecord) schema = schema.valueType
    else if (schema instanceof z.ZodArray) schema = schema.element
  }
  while (schema instanceof z.ZodOptional) schema = schema.unwrap()
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : []
}

/** Returns the members of an object that is a part of the content, whatever faults that has. */
export function membersOf(content: unknown, name: string): [string, unknown][] {
  const found = memberOf(content, name)
  return typeof found === 'object' && found !== null && !Array.isArray(found) ? Object.entries(found) : []
}

/** The same for a list. */
export function listOf(content: unknown, name: string): unknown[] {
  const found = memberOf(content, name)
  return Array.isArray(found) ? found : []
}

/** The same for one value. */
export function memberOf(content: unknown, name: string): unknown {
  if (typeof content !== 'object' || content === null || !Object.hasOwn(content, name)) return undefined
  return Object.entries(content).find(([key]) => key === name)?.[1]
}
