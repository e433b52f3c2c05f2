import { createReadStream } from 'node:fs'
import { decodeJwt } from 'jose'
import { claimPath, type IssuerKind, issuerKinds, pinForm } from '../auth/federation/issuer-kinds.ts'
import {
  type Claims,
  type Comparison,
  explainRule,
  matchRules,
  readClaim,
} from '../auth/federation/match-rules.ts'
import type { Issuer, Rule, Trust } from '../auth/federation/trust-file.ts'
import { virtualToken } from '../auth/federation/virtual-token.ts'
import { systemClock } from '../clock.ts'
import { type ErrorCode, errorCatalogue } from '../error-catalogue.ts'
import { ServiceError } from '../errors.ts'
import { redact } from '../log.ts'
import type { RecordedEntry } from '../store/audit.ts'
import type { Store } from '../store/store.ts'
import { columnWidths, formatRows, formatTable, isoTime, showTime } from './format.ts'
import { cut, showClaims } from './identities.ts'
import { hasRule } from './known-rules.ts'
import { openTrust } from './open-trust.ts'
import { inPages, note, print, printJson, write } from './output.ts'
import { withStore } from './with-store.ts'

interface ExplainOptions {
  /** The id of the only rule to explain. */
  readonly rule?: string
  readonly json?: true
}

/** The newest audit entries that are searched for a request. */
const MOST_ENTRIES = 20_000
/** The refused identities that are listed if the request is not found. */
const MOST_LISTED = 20
/** The largest token that is read, in bytes. The service refuses those of more than 16 KiB. */
const LONGEST_TOKEN = 65_536
const MOST_CLAIMS = 100

/** A rule of the trust file, compared with the claims of a caller. */
interface ExplainedRule {
  readonly rule: Rule
  readonly comparisons: readonly Comparison[]
}

/** What the rules say about the claims of a caller of a trusted issuer. */
interface Explanation {
  readonly issuer: Issuer
  readonly claims: Claims
  /** The rules of the issuer, in the order of the file. */
  readonly rules: readonly ExplainedRule[]
  /** The first rule that matches, and the id of the token that stands for the identity under it; `null`: none matches. */
  readonly decision: { readonly rule: Rule; readonly identity: Claims; readonly tokenId: string } | null
}

/**
 * Explains the identity token in a file (`-`: standard input) by the rules of TRUST_FILE. One that is refused as such is explained
 * too, as not verified. The token is not printed.
 * @throws Error if there is no JWT in the file
 */
export async function explainToken(file: string, options: ExplainOptions): Promise<void> {
  const { federation } = openTrust()
  const trust = federation.trust()
  const jwt = (await readBounded(file)).trim().replace(/^Bearer +/i, '')
  const claims = decode(jwt, file)
  const { iss, aud, iat, exp } = claims
  const refusal = await federation.verify(jwt).then(
    () => null,
    (error: unknown) => {
      if (error instanceof ServiceError) return error
      throw error
    },
  )
  const issuer = [...trust.issuers.values()].find(({ url }) => url === claims['iss'])
  const explanation = issuer === undefined ? null : explain(trust, issuer, claims, options.rule)
  if (options.json) {
    printJson({
      verified: refusal === null,
      refusal: refusal === null ? null : { code: refusal.code, detail: refusal.message },
      token: redacted({ iss, aud, iat, exp }),
      ...explanationJson(explanation),
    })
    return
  }
  if (refusal === null) print('The token is verified: its issuer signed it, for this service and for now.')
  else {
    print(`The token is REFUSED: ${refusal.code}. ${refusal.message}`)
    print(`Next step of the caller: ${refusal.nextStep}`)
    print('What follows is not verified: it is what the token says of itself.')
  }
  print(
    `Issuer ${showValue(iss)}, audience ${showValue(aud)}, issued ${showDate(iat)}, expires ${showDate(exp)}.`,
  )
  if (explanation !== null) printExplanation(explanation, refusal === null)
  else print(`Issuers of the trust file: ${[...trust.issuers.values()].map(({ url }) => url).join(', ')}`)
}

/** Explains why a request was refused, by its audit entry and the rules of TRUST_FILE. @throws Error if there is no entry of it */
export async function explainRequest(request: string, options: ExplainOptions): Promise<void> {
  const trust = openTrust().federation.trust()
  await withStore(async (store) => {
    const { entry, latest } = await findRefusal(store, request)
    if (entry === undefined) {
      listRefused(latest)
      throw new Error(
        `there is no refusal of ${request} in the audit trail. Repeats of a refusal are counted, without their request ids: ` +
          'take the request id of the first one, or run firstkey trust explain --token-file FILE',
      )
    }
    await explainEntry(store, trust, entry, options)
  })
}

async function explainEntry(
  store: Store,
  trust: Trust,
  entry: RecordedEntry,
  options: ExplainOptions,
): Promise<void> {
  const { actor, detail, at, tokenId } = entry
  const { identity } = actor
  const code = (detail ?? '').split(':')[0] ?? ''
  const token = tokenId === null ? undefined : await store.getToken(tokenId)
  const issuer = [...trust.issuers.values()].find(({ url }) => url === identity?.issuer)
  const isVerified = identity !== null && (identity.rule !== null || Object.keys(identity.claims).length > 0)
  const explanation =
    issuer === undefined || identity === null || identity.rule !== null || !isVerified
      ? null
      : explain(trust, issuer, nested(issuer, identity.claims), options.rule)
  if (options.json) {
    printJson({
      request_id: actor.requestId,
      at: isoTime(at),
      refusal: { code, detail: titleOf(code) },
      identity,
      token_id: tokenId,
      token_revoked_at: isoTime(token?.revokedAt ?? null),
      verified: isVerified,
      ...explanationJson(explanation),
    })
    return
  }
  print(`Refused at ${showTime(at)}: ${code}. ${titleOf(code)}.`)
  if (identity === null) {
    print(
      `The request came with ${tokenId === null ? 'no identity token' : `the bootstrap token ${tokenId}`}, so no rule was compared.`,
    )
    return
  }
  if (identity.rule !== null) {
    print(
      `The rule ${identity.rule} matched, for the identity ${showClaims(identity.claims)} of ${identity.issuer}.`,
    )
    if (hasRule({ issuer: identity.issuer ?? '', rule: identity.rule }) === false)
      print('The trust file does not have this rule any more.')
    if (tokenId !== null) print(`It registers as ${tokenId}: firstkey tokens show ${tokenId}`)
    if (typeof token?.revokedAt === 'number')
      print(`You revoked this identity at ${showTime(token.revokedAt)}.`)
    return
  }
  if (explanation !== null) {
    print(
      'The audit trail has the claims that the rules of that time looked at; a claim that is missing here may be in the token.',
    )
    if (code !== 'identity_not_allowed') print('The rules were not the reason. They say:')
    printExplanation(explanation, true)
    return
  }
  const urls = [...trust.issuers.values()].map(({ url }) => url)
  print(
    isVerified
      ? `The issuer ${identity.issuer} is not in the trust file any more. Its token had ${showClaims(identity.claims)}.`
      : `The token named the issuer ${identity.issuer ?? '(none)'}. It was not verified, so its claims were not recorded.`,
  )
  print(`Issuers of the trust file: ${urls.join(', ')}`)
  print(`Audience of the trust file: ${trust.audience}`)
}

function explain(trust: Trust, issuer: Issuer, claims: Claims, only: string | undefined): Explanation {
  const rules = trust.rules.filter((rule) => rule.issuer === issuer.name)
  if (only !== undefined && !trust.rules.some(({ id }) => id === only))
    throw new Error(
      `the trust file has no rule ${only}; it has ${trust.rules.map(({ id }) => id).join(', ')}`,
    )
  const found = matchRules(trust, issuer, claims)
  return {
    issuer,
    claims,
    rules: rules
      .filter(({ id }) => only === undefined || id === only)
      .map((rule) => ({ rule, comparisons: explainRule(rule, issuer, claims) })),
    decision:
      found === undefined
        ? null
        : {
            rule: found.rule,
            identity: found.identity,
            tokenId: virtualToken(issuer.url, found, systemClock()).id,
          },
  }
}

function printExplanation({ issuer, claims, rules, decision }: Explanation, isVerified: boolean): void {
  print('')
  print(`Claims, as rules for the issuer ${issuer.name} (${issuer.kind}) name them:`)
  const shown = namedClaims(issuer, claims).map(([name, value]) => [`  ${name}`, showValue(value)])
  write(formatRows(shown, columnWidths(shown)))
  for (const { rule, comparisons } of rules) {
    print('')
    print(`Rule ${rule.id}: ${verdictOf(rule, comparisons, decision)}`)
    write(formatTable(['', 'PART', 'CLAIM', 'RULE', 'TOKEN', ''], comparisons.map(comparisonRow)))
  }
  if (rules.length === 0)
    print(`No rule of the trust file that is asked for is for the issuer ${issuer.name}.`)
  print('')
  if (decision !== null) {
    print(
      `${isVerified ? 'Result' : 'Result if it were verified'}: rule ${decision.rule.id} lets it in, as ${decision.tokenId} with the identity ${showClaims(decision.identity)}.`,
    )
    print(
      `firstkey tokens show ${decision.tokenId} says how many of its keys are alive, and whether you revoked it.`,
    )
    return
  }
  print('Result: no rule lets it in.')
  const proposal = proposeRule(issuer, claims)
  if (proposal.length === 0) return
  print('To let this caller register, add a rule such as this, and choose its plans and times:')
  for (const line of proposal) print(line)
}

function verdictOf(
  rule: Rule,
  comparisons: readonly Comparison[],
  decision: Explanation['decision'],
): string {
  if (comparisons.some(({ fault }) => fault !== null)) return 'does not match'
  return decision?.rule.id === rule.id ? 'matches' : `matches, but ${decision?.rule.id} comes before it`
}

function comparisonRow({ part, claim, wanted, found, fault }: Comparison): string[] {
  return [
    fault === null ? '  yes' : '  NO',
    part,
    claim,
    cut(wanted.map((value) => JSON.stringify(value)).join(' or ')) || 'any',
    cut(showValue(found)),
    fault === null ? '' : `${claim} ${fault}`,
  ]
}

function showValue(value: unknown): string {
  return value === undefined ? '-' : JSON.stringify(redacted(value))
}

/** Formats a NumericDate (RFC 7519, section 2). */
function showDate(value: unknown): string {
  const isDate = typeof value === 'number' && Math.abs(value) <= 8.64e12
  return isDate ? showTime(value * 1_000) : showValue(value)
}

/** Replaces secrets in the value of a claim: callers choose some of them. */
function redacted(value: unknown): unknown {
  return value === undefined ? null : JSON.parse(redact(JSON.stringify(value)))
}

/** The claims that a rule can look at, by the names that rules have for them, without those that say nothing about the caller. */
function namedClaims(issuer: Issuer, claims: Claims): [name: string, value: unknown][] {
  const { claims: known, otherClaims }: IssuerKind = issuerKinds[issuer.kind]
  const others =
    otherClaims === null ? [] : Object.keys(claims).filter((name) => !IN_EVERY_TOKEN.includes(name))
  const names = new Set([...Object.keys(known), ...others])
  return [...names]
    .map((name): [string, unknown] => [name, readClaim(issuer, name, claims)])
    .filter(([, value]) => value !== undefined)
    .slice(0, MOST_CLAIMS)
}

const IN_EVERY_TOKEN = ['iss', 'aud', 'exp', 'iat', 'nbf', 'jti']

/** Returns a rule that lets in callers with the pins of these claims, in lines of YAML; empty: the claims pin nobody. */
function proposeRule(issuer: Issuer, claims: Claims): string[] {
  const { pins }: IssuerKind = issuerKinds[issuer.kind]
  const pinned = (pins ?? [['sub']]).find((names) =>
    names.every((name) => {
      const value = readClaim(issuer, name, claims)
      return (
        typeof value === 'string' && value !== '' && (pinForm(issuer.kind, name)?.pattern.test(value) ?? true)
      )
    }),
  )
  if (pinned === undefined) return []
  const match = pinned.map((name) => `${name}: ${JSON.stringify(readClaim(issuer, name, claims))}`)
  return [
    '  - id: NAME',
    `    issuer: ${issuer.name}`,
    `    match: { ${match.join(', ')} }`,
    `    identity: [${pinned.join(', ')}]`,
    '    grant: { key_ttl: 24h, max_live: 5 }',
  ]
}

function explanationJson(explanation: Explanation | null): object {
  if (explanation === null) return { issuer: null, claims: null, rules: [], decision: null, proposal: null }
  const { issuer, claims, rules, decision } = explanation
  const proposal = decision === null ? proposeRule(issuer, claims).join('\n') : ''
  return {
    issuer: { name: issuer.name, kind: issuer.kind, url: issuer.url },
    claims: redacted(Object.fromEntries(namedClaims(issuer, claims))),
    rules: rules.map(({ rule, comparisons }) => ({
      id: rule.id,
      matches: comparisons.every(({ fault }) => fault === null),
      comparisons: comparisons.map(({ found, ...comparison }) => ({ ...comparison, found: redacted(found) })),
    })),
    decision:
      decision === null
        ? null
        : { rule: decision.rule.id, identity: decision.identity, token_id: decision.tokenId },
    proposal: proposal === '' ? null : proposal,
  }
}

/** Reads the claims of a JWT, without its signature. @throws Error that does not quote it */
function decode(jwt: string, file: string): Claims {
  try {
    return decodeJwt(jwt)
  } catch {
    const instead = jwt.startsWith('fkb_') ? ' but a bootstrap token' : jwt === '' ? ' but nothing' : ''
    throw new Error(
      `${file === '-' ? 'standard input' : file} has no identity token${instead}: expected a JWT, three parts of base64url with dots between`,
    )
  }
}

/** @throws Error if there is more than a token can have */
async function readBounded(file: string): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of file === '-' ? process.stdin : createReadStream(file)) {
    const buffer = Buffer.from(chunk)
    bytes += buffer.length
    if (bytes > LONGEST_TOKEN)
      throw new Error(`${file} has more than ${LONGEST_TOKEN / 1_024} KiB: it is no identity token`)
    chunks.push(buffer)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Puts claims, by the names that rules have for them, into the places that they have in a token. */
function nested(issuer: Issuer, shown: Claims): Claims {
  const claims: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(shown)) {
    const path = claimPath(issuer.kind, name)
    let place = claims
    for (const part of path.slice(0, -1)) {
      const inner: Record<string, unknown> = {}
      if (!Object.hasOwn(place, part)) place[part] = inner
      const found = place[part]
      place = typeof found === 'object' && found !== null ? (found as Record<string, unknown>) : inner
    }
    place[path.at(-1) ?? name] = value
  }
  return claims
}

/** Searches the newest audit entries for the refusal of a request. @returns without it, the latest refused identities too */
async function findRefusal(
  store: Store,
  request: string,
): Promise<{ entry: RecordedEntry | undefined; latest: readonly RecordedEntry[] }> {
  const latest: RecordedEntry[] = []
  const pages = inPages<RecordedEntry>(MOST_ENTRIES, (last, limit) =>
    store.listAudit({ after: last?.id, limit }),
  )
  for await (const page of pages)
    for (const entry of page) {
      if (entry.action !== 'request.refused' || entry.actor.requestId === null) continue
      if (entry.actor.requestId === request) return { entry, latest }
      if (entry.actor.identity !== null && latest.length < MOST_LISTED) latest.push(entry)
    }
  return { entry: undefined, latest }
}

/** Lists refused identities with the request ids that can be explained. */
function listRefused(entries: readonly RecordedEntry[]): void {
  const rows = entries.map(({ at, actor, detail }) => [
    showTime(at),
    actor.requestId ?? '-',
    detail ?? '-',
    actor.identity?.issuer ?? '-',
    cut(showClaims(actor.identity?.claims ?? {})),
  ])
  if (rows.length === 0) note('No identity was refused lately.')
  else process.stderr.write(formatTable(['TIME', 'REQUEST', 'CODE', 'ISSUER', 'CLAIMS'], rows))
}

function titleOf(code: string): string {
  return Object.hasOwn(errorCatalogue, code) ? errorCatalogue[code as ErrorCode].title : 'Unknown code'
}
