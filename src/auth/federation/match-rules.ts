import { containsToken } from '../token-format.ts'
import { type ClaimValue, claimPath } from './issuer-kinds.ts'
import { parseNameTemplate } from './name-template.ts'
import type { Issuer, Rule, Trust } from './trust-file.ts'

/** The claims of a verified token, as JSON has them. */
export type Claims = Readonly<Record<string, unknown>>

/** The identity claims by which a rule knows a caller, by their names in the rule. */
export type Identity = Readonly<Record<string, ClaimValue>>

/** The result of one comparison of a rule with a token. */
export interface Comparison {
  /** `match`: a condition; `identity`: the claim must be there; `name`: it is a part of the name. */
  readonly part: 'match' | 'identity' | 'name'
  readonly claim: string
  /** The values of which one is required; empty: any text, number, true or false. */
  readonly wanted: readonly ClaimValue[]
  /** The value in the token; `undefined`: it has no such claim. */
  readonly found: unknown
  /** The reason why the rule does not match, in words that follow the claim's name; `null`: it is met. */
  readonly fault: string | null
}

/** A rule that matches a token, and what its grant is for that token. */
export interface MatchedRule {
  readonly rule: Rule
  readonly identity: Identity
  /** The beginning of the names of its registrations, or the whole name; empty: any. */
  readonly name: string
  readonly nameIsExact: boolean
}

/** The most bytes of the identity claims together, as JSON. */
const MAX_IDENTITY_BYTES = 2_048

/** Returns the first rule of the issuer that matches, in the order of the file; `undefined`: none does. */
export function matchRules(trust: Trust, issuer: Issuer, claims: Claims): MatchedRule | undefined {
  for (const rule of trust.rules) {
    if (rule.issuer !== issuer.name) continue
    if (compare(rule, issuer, claims).every(({ fault }) => fault === null))
      return matched(rule, issuer, claims)
  }
  return undefined
}

/** Compares a token with every part of a rule of its issuer. The rule matches if there is no fault. */
export function explainRule(rule: Rule, issuer: Issuer, claims: Claims): Comparison[] {
  return [...compare(rule, issuer, claims)]
}

/** Returns the value of a claim, named as rules name it; `undefined`: the token does not have it. */
export function readClaim(issuer: Pick<Issuer, 'kind'>, name: string, claims: Claims): unknown {
  let found: unknown = claims
  for (const part of claimPath(issuer.kind, name)) {
    if (typeof found !== 'object' || found === null || Array.isArray(found)) return undefined
    // Only its own: "constructor" is no claim of every token.
    found = Object.getOwnPropertyDescriptor(found, part)?.value
  }
  return found
}

function* compare(rule: Rule, issuer: Issuer, claims: Claims): Generator<Comparison> {
  for (const { claim, values } of rule.match) {
    const found = readClaim(issuer, claim, claims)
    const fault = values.some((wanted) => isMet(wanted, found)) ? null : whyDifferent(values, found)
    yield { part: 'match', claim, wanted: values, found, fault }
  }
  for (const claim of rule.identity) {
    const found = readClaim(issuer, claim, claims)
    yield { part: 'identity', claim, wanted: [], found, fault: whyNoIdentity(found) }
  }
  const size = Buffer.byteLength(JSON.stringify(identityOf(rule, issuer, claims)))
  const [first = ''] = rule.identity
  if (size > MAX_IDENTITY_BYTES) {
    const fault = `makes the identity longer than ${MAX_IDENTITY_BYTES} bytes`
    yield { part: 'identity', claim: first, wanted: [], found: readClaim(issuer, first, claims), fault }
  }
  yield* compareName(rule, issuer, claims)
}

/** Exact and typed; of a value with a final `*`, what is before it must begin the text, and more must follow. */
function isMet(wanted: ClaimValue, found: unknown): boolean {
  if (typeof wanted !== 'string' || !wanted.endsWith('*')) return wanted === found
  const prefix = wanted.slice(0, -1)
  return typeof found === 'string' && found.length > prefix.length && found.startsWith(prefix)
}

function whyDifferent(wanted: readonly ClaimValue[], found: unknown): string {
  if (found === undefined) return 'is not in the token'
  if (Array.isArray(found)) return 'is a list in the token; only single values match'
  if (found === null || typeof found === 'object') return 'is no single value in the token'
  if (wanted.some((value) => typeof value !== typeof found && String(value) === String(found)))
    return `has the same characters, but is a ${typeof found} in the token: types are compared too`
  if (wanted.some((value) => String(value).toLowerCase() === String(found).toLowerCase()))
    return 'differs in upper and lower case'
  if (wanted.some((value) => String(value).trim() === String(found).trim()))
    return 'differs in white space at its ends'
  return 'has another value'
}

function isSingle(found: unknown): found is ClaimValue {
  return typeof found === 'string' || typeof found === 'number' || typeof found === 'boolean'
}

function whyNoIdentity(found: unknown): string | null {
  if (found === undefined) return 'is not in the token'
  if (!isSingle(found)) return 'is no single value in the token'
  if (found === '') return 'is empty in the token'
  // Two numbers that JSON rounds to one would be one identity.
  if (typeof found === 'number' && !Number.isSafeInteger(found)) return 'is a number that is not exact'
  // It is stored and shown as it is.
  return containsToken(String(found)) ? 'contains a token, which is not stored' : null
}

function identityOf(rule: Rule, issuer: Issuer, claims: Claims): Identity {
  const found = rule.identity.map((claim) => [claim, readClaim(issuer, claim, claims)] as const)
  return Object.fromEntries(found.flatMap(([claim, value]) => (isSingle(value) ? [[claim, value]] : [])))
}

function* compareName(rule: Rule, issuer: Issuer, claims: Claims): Generator<Comparison> {
  const template = templateOf(rule)
  if (template === undefined) return
  for (const claim of template.claims) {
    const found = readClaim(issuer, claim, claims)
    yield { part: 'name', claim, wanted: [], found, fault: whyNoIdentity(found) }
  }
  const [first] = template.claims
  const filled = template.fill((claim) => String(readClaim(issuer, claim, claims)))
  if (first === undefined || 'text' in filled) return
  const fault = `makes a name that is not allowed: it ${filled.fault}`
  yield { part: 'name', claim: first, wanted: [], found: readClaim(issuer, first, claims), fault }
}

function templateOf({ grant }: Rule) {
  const template = grant.name === '' ? undefined : parseNameTemplate(grant.name)
  return typeof template === 'string' ? undefined : template
}

function matched(rule: Rule, issuer: Issuer, claims: Claims): MatchedRule {
  const template = templateOf(rule)
  const filled = template?.fill((claim) => String(readClaim(issuer, claim, claims)))
  return {
    rule,
    identity: identityOf(rule, issuer, claims),
    name: filled !== undefined && 'text' in filled ? filled.text : '',
    nameIsExact: template !== undefined && !template.isPrefix,
  }
}

/** Returns the names of the claims that a rule looks at. */
export function claimsOf({ match, identity, grant }: Rule): string[] {
  const template = grant.name === '' ? undefined : parseNameTemplate(grant.name)
  const inName = typeof template === 'object' ? template.claims : []
  return [...match.map(({ claim }) => claim), ...identity, ...inName]
}

/** Returns the claims that the rules of an issuer look at, as far as they can match. The others are left out. */
export function claimsForRules({ rules }: Trust, issuer: Issuer, claims: Claims): Claims {
  const names = rules.filter((rule) => rule.issuer === issuer.name).flatMap(claimsOf)
  const paths = names.map((name) => claimPath(issuer.kind, name))
  const isRead = ([name, value]: [string, unknown]) =>
    paths.some(([first, ...inner]) => first === name && (inner.length > 0 || isSingle(value)))
  return Object.fromEntries(Object.entries(claims).filter(isRead))
}
