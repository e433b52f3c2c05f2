import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import { didYouMean } from '../../did-you-mean.ts'
import { parseDuration } from '../../duration.ts'
import { escapeInvisible } from '../../show-value.ts'
import { ON_REPEAT } from '../../store/records.ts'
import {
  ALGORITHMS,
  type Algorithm,
  type ClaimValue,
  claimFault,
  claimType,
  ISSUER_KINDS,
  type IssuerKind,
  type IssuerKindName,
  issuerKinds,
  pinForm,
} from './issuer-kinds.ts'
import { urlFault } from './key-addresses.ts'
import { parseNameTemplate } from './name-template.ts'
import { type Fault, parseYaml } from './yaml-places.ts'

/** The trust file as it was read: the issuers that are believed, and what their tokens are granted. Immutable. */
export interface Trust {
  /** The only audience that a token may have. */
  readonly audience: string
  /** By their names in the file. */
  readonly issuers: ReadonlyMap<string, Issuer>
  /** In the order of the file: the first that matches decides. */
  readonly rules: readonly Rule[]
}

export interface Issuer {
  /** Its name in the file. */
  readonly name: string
  readonly kind: IssuerKindName
  /** The claim `iss`, exactly. */
  readonly url: string
  readonly algorithms: readonly Algorithm[]
  /** A token is accepted once. */
  readonly singleUse: boolean
  readonly keys: KeySource
  /** `null`: it logs nobody in here. */
  readonly login: Login | null
}

/** The place of an issuer's keys. Paths are absolute. */
export interface KeySource {
  /** `null`: as the discovery document says. */
  readonly jwksUri: string | null
  /** A file that has the keys, instead of the network. */
  readonly jwksFile: string | null
  /** The certificates that may vouch for the issuer's server; `null`: those that the system trusts. */
  readonly caFile: string | null
  /** A file with the bearer token that the issuer requires. It is read again for every request. */
  readonly bearerTokenFile: string | null
}

/** The client that this service is at the issuer, for logins in the browser. */
export interface Login {
  /** Shown to people: "Sign in with …". */
  readonly label: string
  readonly clientId: string
  readonly clientSecret: string
  readonly scopes: readonly string[]
}

export interface Rule {
  readonly id: string
  /** The name of its issuer. */
  readonly issuer: string
  /** All of them must be met. */
  readonly match: readonly Condition[]
  /** The names of the claims that make it the same caller. */
  readonly identity: readonly string[]
  readonly grant: Grant
}

/** A claim must have one of the values. A text that ends in `*` stands for all texts that begin like it. */
export interface Condition {
  readonly claim: string
  readonly values: readonly ClaimValue[]
}

export interface Grant {
  /** The first is the default. Empty: only the default plan of the service. */
  readonly plans: readonly string[]
  /** The name of its registrations: claims in braces; with a final `*` only their beginning. Empty: any. */
  readonly name: string
  readonly keyTtlMs: number
  readonly maxLive: number | null
  readonly onRepeat: (typeof ON_REPEAT)[number]
  readonly overlapMs: number
  readonly ratePerMinute: number | null
}

/** Reports a trust file that cannot be used. The message lists every fault, one per line. */
export class TrustFileError extends Error {
  override readonly name = 'TrustFileError'
  /** Each as `path:line:column: message`. */
  readonly faults: readonly string[]

  constructor(path: string, faults: readonly Fault[]) {
    const lines = faults.map(
      ({ line, column, message }) => `${path}:${line}:${column}: ${escapeInvisible(message)}`,
    )
    super(`the trust file is not valid:\n${lines.map((line) => `  ${line}`).join('\n')}`)
    this.faults = lines
  }
}

/** The surroundings in which a trust file is read. */
export interface TrustContext {
  readonly path: string
  /** The audience unless the file names one. */
  readonly publicUrl: string
  /** The names of the plans on offer; `null`: they are not known, and not checked. */
  readonly plans: readonly string[] | null
  /** Returns an environment variable, for `client_secret_env`. */
  readonly variable: (name: string) => string | undefined
}

const MAX_BYTES = 256 * 1024
const MAX_RULES = 1_000
const NAME_RULE = 'must be 1 to 64 letters, digits, ".", "_" and "-", a letter or digit first'
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
/** Claims that tell nothing about who the caller is, or differ from token to token. */
const NO_IDENTITY = [
  'iss',
  'aud',
  'exp',
  'iat',
  'nbf',
  'jti',
  'nonce',
  'auth_time',
  'at_hash',
  'c_hash',
  'uti',
]

/** A field: an absent one is called required, any other fault is described by what it must be. */
const must = (rule: string) => ({
  error: ({ input }: { input?: unknown }) =>
    input === undefined ? `is required: it must be ${rule}` : `must be ${rule}`,
})

/** An object without other members. A mistyped name is told with the right one. */
function strict<T extends z.ZodRawShape>(shape: T, what: string) {
  return z.strictObject(shape, must(what))
}

const text = (what: string) => z.string(must(what)).min(1, `must be ${what}`).max(2_048, `must be ${what}`)
const claimName = text('the name of a claim')
const value = z.union(
  [z.string().max(2_048), z.number(), z.boolean()],
  must('a text, a number, true or false, or a list of them'),
)
const duration = (what: string) =>
  z.string(must(what)).refine((written) => parseDuration(written) !== undefined, `must be ${what}`)
const DURATION = 'a duration: 90s, 15m, 24h, 7d, 4w or 1y'

const loginSchema = strict(
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

const issuerSchema = strict(
  {
    kind: z
      .enum(ISSUER_KINDS as [IssuerKindName, ...IssuerKindName[]], must(`one of ${ISSUER_KINDS.join(', ')}`))
      .describe(
        'The platform: it brings defaults, short names for claims, and the claims that a rule must pin',
      ),
    issuer: text("the issuer's URL, exactly as the claim iss has it")
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

const matchSchema = z
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

const ruleSchema = strict(
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

const trustSchema = strict(
  {
    $schema: z.string(must('the URL of a JSON Schema')).optional(),
    audience: text('the audience that tokens must have')
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

type Path = readonly PropertyKey[]

/** Collects faults by the paths of what has them. */
type Report = (path: Path, message: string, of?: 'name' | 'value') => void

/**
 * Parses a trust file, YAML or JSON.
 * @throws TrustFileError with every fault, its place, and what would be right
 */
export function parseTrust(text: string, context: TrustContext): Trust {
  const { path } = context
  if (Buffer.byteLength(text) > MAX_BYTES)
    throw new TrustFileError(path, [
      { line: 1, column: 1, message: `the file must have at most ${MAX_BYTES / 1_024} KiB` },
    ])
  const located = parseYaml(text)
  const faults: Fault[] = [...located.faults]
  const report: Report = (at, message, of) => {
    const words = at.length === 0 ? `the file ${message}` : `${pathText(at)} ${message}`
    faults.push({ ...located.placeOf(at, of), message: words })
  }
  if (faults.length > 0) throw new TrustFileError(path, faults)
  const { content } = located
  const parsed = trustSchema.safeParse(content)
  for (const issue of parsed.error?.issues ?? []) reportIssue(issue, report)
  // The other checks look at every part that has its form, so that one reading shows all faults.
  const issuers = readIssuers(membersOf(content, 'issuers'), context, report)
  const kinds = new Map<string, IssuerKindName | undefined>(
    membersOf(content, 'issuers').map(([name]) => [name, undefined]),
  )
  for (const { name, kind } of issuers) kinds.set(name, kind)
  checkRules(listOf(content, 'rules'), kinds, context, report)
  faults.sort((a, b) => a.line - b.line || a.column - b.column)
  if (parsed.data === undefined || faults.length > 0) throw new TrustFileError(path, faults)
  return {
    audience: parsed.data.audience ?? context.publicUrl,
    issuers: new Map(issuers.map((issuer) => [issuer.name, issuer])),
    rules: parsed.data.rules.map(toRule),
  }
}

/** Reads and parses the trust file. @throws TrustFileError also if it cannot be read */
export function readTrust(context: TrustContext): Trust {
  let text: string
  try {
    text = readFileSync(context.path, 'utf8')
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new TrustFileError(context.path, [{ line: 1, column: 1, message: `cannot be read: ${reason}` }])
  }
  return parseTrust(text, context)
}

/** Returns the JSON Schema of the trust file, for editors. */
export function trustJsonSchema(): object {
  const { $schema, ...schema } = z.toJSONSchema(trustSchema, { io: 'input' })
  return { $schema, title: 'Trust file of firstkey', ...schema }
}

function pathText(path: Path): string {
  return path
    .map((part, i) => (typeof part === 'number' ? `[${part}]` : `${i === 0 ? '' : '.'}${String(part)}`))
    .join('')
}

function membersOf(content: unknown, name: string): [string, unknown][] {
  const found = memberOf(content, name)
  return typeof found === 'object' && found !== null && !Array.isArray(found) ? Object.entries(found) : []
}

function listOf(content: unknown, name: string): unknown[] {
  const found = memberOf(content, name)
  return Array.isArray(found) ? found : []
}

function memberOf(content: unknown, name: string): unknown {
  if (typeof content !== 'object' || content === null || !Object.hasOwn(content, name)) return undefined
  return Object.entries(content).find(([key]) => key === name)?.[1]
}

/** Reports what zod found, in the words of the schema. */
function reportIssue(issue: z.core.$ZodIssue, report: Report): void {
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

function readIssuers(members: [string, unknown][], context: TrustContext, report: Report): Issuer[] {
  const byUrl = new Map<string, string>()
  return members.flatMap(([name, content]) => {
    const data = validMembers(content)
    if (data.kind === undefined) return []
    const at = ['issuers', name]
    const kind: IssuerKind = issuerKinds[data.kind]
    const url = data.issuer ?? kind.url ?? ''
    const fault = data.issuer === undefined ? missingUrl(kind, content) : issuerUrlFault(data.issuer)
    if (fault !== undefined) report([...at, 'issuer'], fault)
    const other = byUrl.get(url)
    if (url !== '' && other !== undefined)
      report([...at, 'issuer'], `must be another than that of "${other}": both are ${url}`)
    byUrl.set(url, name)
    return [
      {
        name,
        kind: data.kind,
        url,
        algorithms: data.algorithms ?? kind.algorithms,
        singleUse: data.single_use ?? kind.singleUse,
        keys: readKeySource(data, at, context, report),
        login: data.login === undefined ? null : readLogin(data.kind, data.login, name, context, report),
      },
    ]
  })
}

/** The members of an issuer that are as the schema says. */
const validMembersSchema = issuerSchema.partial()
type IssuerContent = z.infer<typeof validMembersSchema>

/** Returns the members of an issuer that are as the schema says. */
function validMembers(content: unknown): IssuerContent {
  const { error } = issuerSchema.safeParse(content)
  const wrong = new Set(error?.issues.map(({ path }) => String(path[0] ?? '')))
  if (typeof content !== 'object' || content === null) return {}
  const known = Object.entries(content).filter(
    ([key]) => Object.hasOwn(issuerSchema.shape, key) && !wrong.has(key),
  )
  return validMembersSchema.safeParse(Object.fromEntries(known)).data ?? {}
}

/** An issuer of another form than a text is reported as such. */
function missingUrl({ url }: IssuerKind, content: unknown): string | undefined {
  if (url !== null || memberOf(content, 'issuer') !== undefined) return undefined
  return "is required: it must be the issuer's URL, exactly as the claim iss has it"
}

function issuerUrlFault(text: string): string | undefined {
  if (/[{}]|\/(?:common|organizations|consumers)(?:\/|$)/.test(text) && /microsoft|windows\.net/.test(text))
    return "must have your tenant's GUID: the tokens of every tenant name another issuer"
  const fault = urlFault(text)
  if (fault !== undefined) return fault
  return URL.parse(text)?.search === ''
    ? undefined
    : 'must have no query (OpenID Connect Discovery 1.0, section 2)'
}

function readKeySource(content: IssuerContent, at: Path, context: TrustContext, report: Report): KeySource {
  const { jwks_uri, jwks_file, ca_file, bearer_token_file } = content
  if (jwks_file !== undefined) {
    for (const name of ['jwks_uri', 'ca_file', 'bearer_token_file'] as const)
      if (content[name] !== undefined)
        report([...at, name], 'has no effect beside jwks_file: remove one of the two', 'name')
  }
  const fault = jwks_uri === undefined ? undefined : urlFault(jwks_uri)
  if (fault !== undefined) report([...at, 'jwks_uri'], fault)
  const file = (name: 'jwks_file' | 'ca_file' | 'bearer_token_file', written: string | undefined) => {
    if (written === undefined) return null
    const path = resolve(dirname(context.path), written)
    readText(path, [...at, name], report)
    return path
  }
  return {
    jwksUri: jwks_uri ?? null,
    jwksFile: file('jwks_file', jwks_file),
    caFile: file('ca_file', ca_file),
    bearerTokenFile: file('bearer_token_file', bearer_token_file),
  }
}

/** Reads a file that the trust file names. */
function readText(path: string, at: Path, report: Report): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    report(at, `must be a file that can be read: ${error instanceof Error ? error.message : String(error)}`)
    return undefined
  }
}

function readLogin(
  kind: IssuerKindName,
  {
    client_id,
    client_secret_env,
    client_secret_file,
    scopes = ['openid', 'profile', 'email'],
    label,
  }: z.infer<typeof loginSchema>,
  name: string,
  context: TrustContext,
  report: Report,
): Login {
  const at = ['issuers', name, 'login']
  if (!issuerKinds[kind].offersLogin) report(at, `is not possible at an issuer of the kind ${kind}`, 'name')
  if (!scopes.includes('openid')) report([...at, 'scopes'], 'must contain openid')
  const client = { label: label ?? name, clientId: client_id, clientSecret: '', scopes }
  if ((client_secret_env === undefined) === (client_secret_file === undefined)) {
    report(at, 'must have client_secret_env or client_secret_file, and only one of them')
    return client
  }
  const found =
    client_secret_file === undefined
      ? context.variable(client_secret_env ?? '')
      : readText(resolve(dirname(context.path), client_secret_file), [...at, 'client_secret_file'], report)
  const clientSecret = found?.trim() ?? ''
  if (client_secret_env !== undefined && clientSecret === '')
    report([...at, 'client_secret_env'], `must be a variable that is set: ${client_secret_env} is not`)
  else if (found !== undefined && clientSecret === '')
    report([...at, 'client_secret_file'], 'must not be empty')
  return { ...client, clientSecret }
}

/** @param kinds those of the issuers, by name; `undefined`: that issuer has none that is known */
function checkRules(
  rules: readonly unknown[],
  kinds: ReadonlyMap<string, IssuerKindName | undefined>,
  { plans }: TrustContext,
  report: Report,
): void {
  const ids = new Map<string, number>()
  for (const [i, content] of rules.entries()) {
    const at = ['rules', i]
    const id = memberOf(content, 'id')
    if (typeof id === 'string') {
      const first = ids.get(id)
      if (first !== undefined) report([...at, 'id'], `must be another than that of rules[${first}]`)
      else ids.set(id, i)
    }
    const grant = memberOf(content, 'grant')
    checkPlans(listOf(grant, 'plans'), [...at, 'grant', 'plans'], plans, report)
    const issuer = memberOf(content, 'issuer')
    if (typeof issuer !== 'string') continue
    if (!kinds.has(issuer)) report([...at, 'issuer'], unknownIssuer(issuer, [...kinds.keys()]))
    const kind = kinds.get(issuer)
    if (kind === undefined) continue
    const match = matchSchema.safeParse(memberOf(content, 'match')).data
    if (match !== undefined) checkMatch(toConditions(match), kind, [...at, 'match'], report)
    for (const [j, claim] of listOf(content, 'identity').entries())
      if (typeof claim === 'string') checkIdentityClaim(claim, kind, [...at, 'identity', j], report)
    const name = memberOf(grant, 'name')
    if (typeof name === 'string') checkName(name, kind, [...at, 'grant', 'name'], report)
  }
}

function unknownIssuer(name: string, known: readonly string[]): string {
  return `must be an issuer of this file${didYouMean(name, known)}: ${known.join(', ') || 'there is none'}`
}

function checkPlans(
  plans: readonly unknown[],
  at: Path,
  offered: readonly string[] | null,
  report: Report,
): void {
  for (const [i, plan] of plans.entries()) {
    if (typeof plan !== 'string' || offered === null || offered.includes(plan)) continue
    report([...at, i], `must be a plan of USAGE_PLANS${didYouMean(plan, offered)}: ${offered.join(', ')}`)
  }
}

function checkIdentityClaim(claim: string, kind: IssuerKindName, at: Path, report: Report): void {
  if (NO_IDENTITY.includes(claim))
    report(at, `must be a claim that tells one caller from another: ${claim} does not`)
  const fault = claimFault(kind, claim)
  if (fault !== undefined) report(at, fault)
}

function checkName(name: string, kind: IssuerKindName, at: Path, report: Report): void {
  const template = parseNameTemplate(name)
  if (typeof template === 'string') {
    report(at, template)
    return
  }
  for (const claim of template.claims) {
    const fault = claimFault(kind, claim)
    if (fault !== undefined) report(at, `has {${claim}}, which ${fault}`)
  }
}

function checkMatch(conditions: readonly Condition[], kind: IssuerKindName, at: Path, report: Report): void {
  for (const { claim, values } of conditions) {
    const fault = claimFault(kind, claim)
    if (fault !== undefined) report([...at, claim], fault, 'name')
    for (const value of values) {
      const wrong = valueFault(kind, claim, value)
      if (wrong !== undefined) report([...at, claim], wrong)
    }
  }
  const missing = missingPin(conditions, kind)
  if (missing !== undefined) report(at, missing)
}

function valueFault(kind: IssuerKindName, claim: string, value: ClaimValue): string | undefined {
  const type = claimType(kind, claim)
  if (type !== undefined && typeof value !== type) {
    return type === 'string'
      ? `must be a text: the claim never is a ${typeof value}, so write it in quotes: "${value}"`
      : `must be a ${type}: the claim never is a ${typeof value}`
  }
  if (typeof value !== 'string' || !value.includes('*')) return value === '' ? 'must not be empty' : undefined
  return /^[^*]*[^*:/][:/]\*$/.test(value)
    ? undefined
    : 'may have one *, at its end and after a ":" or "/" that follows a text, as in "repo:acme/*"'
}

/** Returns what a rule must pin so that it does not let in everybody who has a token of the issuer; `undefined`: it does. */
function missingPin(conditions: readonly Condition[], kind: IssuerKindName): string | undefined {
  const { pins }: IssuerKind = issuerKinds[kind]
  if (pins === null) {
    if (conditions.some(({ claim, values }) => !NO_IDENTITY.includes(claim) && values.every(pinsSomebody)))
      return undefined
    return 'must pin a claim besides iss and aud to a value that tells callers apart: without that, every caller of the issuer gets a key'
  }
  const isPinned = (claim: string) => {
    const form = pinForm(kind, claim)
    const values = conditions.find((condition) => condition.claim === claim)?.values ?? []
    return (
      values.length > 0 &&
      values.every((value) => typeof value === 'string' && (form?.pattern.test(value) ?? true))
    )
  }
  if (pins.some((set) => set.every(isPinned))) return undefined
  const sets = pins.map((set) =>
    set.map((claim) => `${claim} (${pinForm(kind, claim)?.words ?? 'a text'})`).join(' and '),
  )
  return `must pin ${sets.join(', or ')}: without that, every caller of the issuer gets a key, or one whose name can change hands`
}

/** A value tells callers apart. `repo:*` does not: it has only the kind of what it names. */
function pinsSomebody(value: ClaimValue): boolean {
  if (typeof value !== 'string') return typeof value === 'number'
  return (
    !value.endsWith('*') ||
    value
      .slice(0, -1)
      .split(/[:/]/)
      .filter((part) => part !== '').length >= 2
  )
}

function toConditions(match: z.infer<typeof matchSchema>): Condition[] {
  return Object.entries(match).map(([claim, values]) => ({
    claim,
    values: Array.isArray(values) ? values : [values],
  }))
}

const HOUR = '1h'

function toRule({ id, issuer, match, identity = ['sub'], grant }: z.infer<typeof ruleSchema>): Rule {
  return {
    id,
    issuer,
    match: toConditions(match),
    identity,
    grant: {
      plans: grant.plans ?? [],
      name: grant.name ?? '',
      keyTtlMs: parseDuration(grant.key_ttl) ?? 0,
      maxLive: grant.max_live ?? null,
      onRepeat: grant.on_repeat ?? 'rotate',
      overlapMs: parseDuration(grant.overlap ?? HOUR) ?? 0,
      ratePerMinute: grant.rate ?? null,
    },
  }
}
