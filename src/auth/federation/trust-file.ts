import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { z } from 'zod'
import { parseDuration } from '../../duration.ts'
import { escapeInvisible } from '../../show-value.ts'
import type { ON_REPEAT } from '../../store/records.ts'
import { checkRules } from './check-rules.ts'
import {
  type Algorithm,
  type ClaimValue,
  type IssuerKind,
  type IssuerKindName,
  issuerKinds,
} from './issuer-kinds.ts'
import { urlFault } from './key-addresses.ts'
import { parseKeySet } from './key-set.ts'
import {
  issuerSchema,
  listOf,
  type loginSchema,
  type matchSchema,
  memberOf,
  membersOf,
  type Path,
  type Report,
  reportIssue,
  type ruleSchema,
  trustSchema,
} from './trust-schema.ts'
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
  /** `null`: people cannot log in with it. */
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

const MAX_BYTES = 256 * 1_024

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
  checkRules(listOf(content, 'rules'), kinds, context.plans, report)
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

function pathText(path: Path): string {
  return path
    .map((part, i) => (typeof part === 'number' ? `[${part}]` : `${i === 0 ? '' : '.'}${String(part)}`))
    .join('')
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
    const algorithms = data.algorithms ?? kind.algorithms
    return [
      {
        name,
        kind: data.kind,
        url,
        algorithms,
        singleUse: data.single_use ?? kind.singleUse,
        keys: readKeySource(data, algorithms, at, context, report),
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

function keySetFault(text: string, algorithms: readonly Algorithm[]): string | undefined {
  const rule = 'must be a file with the keys of the issuer'
  try {
    const { fault } = parseKeySet(text, algorithms)
    return fault === null ? undefined : `${rule}: ${fault}`
  } catch (error) {
    return `${rule}: ${error instanceof Error ? error.message : error}`
  }
}

const CERTIFICATE = '-----BEGIN CERTIFICATE-----'

function readKeySource(
  content: IssuerContent,
  algorithms: readonly Algorithm[],
  at: Path,
  context: TrustContext,
  report: Report,
): KeySource {
  const { jwks_uri, jwks_file } = content
  if (jwks_file !== undefined) {
    for (const name of ['jwks_uri', 'ca_file', 'bearer_token_file'] as const)
      if (content[name] !== undefined)
        report([...at, name], 'has no effect beside jwks_file: remove one of the two', 'name')
  }
  const fault = jwks_uri === undefined ? undefined : urlFault(jwks_uri)
  if (fault !== undefined) report([...at, 'jwks_uri'], fault)
  const file = (
    name: 'jwks_file' | 'ca_file' | 'bearer_token_file',
    faultOf: (text: string) => string | undefined,
  ) => {
    const written = content[name]
    if (written === undefined) return null
    const path = resolve(dirname(context.path), written)
    const text = readText(path, [...at, name], report)
    const fault = text === undefined ? undefined : faultOf(text)
    if (fault !== undefined) report([...at, name], fault)
    return path
  }
  return {
    jwksUri: jwks_uri ?? null,
    jwksFile: file('jwks_file', (text) => keySetFault(text, algorithms)),
    caFile: file('ca_file', (text) =>
      text.includes(CERTIFICATE) ? undefined : `must be a file with ${CERTIFICATE}`,
    ),
    bearerTokenFile: file('bearer_token_file', (text) =>
      text.trim() === '' ? 'must not be an empty file' : undefined,
    ),
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
