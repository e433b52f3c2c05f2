import type { z } from 'zod'
import { didYouMean } from '../../did-you-mean.ts'
import {
  type ClaimValue,
  claimFault,
  claimType,
  type IssuerKind,
  type IssuerKindName,
  issuerKinds,
  pinForm,
} from './issuer-kinds.ts'
import { parseNameTemplate } from './name-template.ts'
import { listOf, matchSchema, memberOf, type Path, type Report } from './trust-schema.ts'

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

type Match = z.infer<typeof matchSchema>

/**
 * Checks the rules beyond their form: that they name what there is, and let in only callers that they pin.
 * @param kinds those of the issuers, by name; `undefined`: that issuer has none that is known
 * @param offered the names of the plans on offer; `null`: they are not known
 */
export function checkRules(
  rules: readonly unknown[],
  kinds: ReadonlyMap<string, IssuerKindName | undefined>,
  offered: readonly string[] | null,
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
    checkPlans(listOf(grant, 'plans'), [...at, 'grant', 'plans'], offered, report)
    const issuer = memberOf(content, 'issuer')
    if (typeof issuer !== 'string') continue
    if (!kinds.has(issuer)) report([...at, 'issuer'], unknownIssuer(issuer, [...kinds.keys()]))
    const kind = kinds.get(issuer)
    if (kind === undefined) continue
    const match = matchSchema.safeParse(memberOf(content, 'match')).data
    if (match !== undefined) checkMatch(match, kind, [...at, 'match'], report)
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

function checkMatch(match: Match, kind: IssuerKindName, at: Path, report: Report): void {
  for (const [claim, values] of Object.entries(match)) {
    const fault = claimFault(kind, claim)
    if (fault !== undefined) report([...at, claim], fault, 'name')
    for (const value of [values].flat()) {
      const wrong = valueFault(kind, claim, value)
      if (wrong !== undefined) report([...at, claim], wrong)
    }
  }
  const missing = missingPin(match, kind)
  if (missing !== undefined) report(at, missing)
}

function valueFault(kind: IssuerKindName, claim: string, value: ClaimValue): string | undefined {
  const type = claimType(kind, claim)
  if (type !== undefined && typeof value !== type) {
    return type === 'string'
      ? `must be a text: the claim never is a ${typeof value}, so write it in quotes: "${value}"`
      : `must be a ${type}: the claim never is a ${typeof value}`
  }
  if (typeof value === 'number' && !Number.isSafeInteger(value))
    return 'must be a whole number below 9007199254740992: others are not compared exactly'
  if (typeof value !== 'string' || !value.includes('*')) return value === '' ? 'must not be empty' : undefined
  return /^[^*]*[^*:/][:/]\*$/.test(value)
    ? undefined
    : 'may have one *, at its end and after a ":" or "/" that follows a text, as in "role/data/*"'
}

/** Returns what a rule must pin so that it does not let in everybody who has a token of the issuer; `undefined`: it does. */
function missingPin(match: Match, kind: IssuerKindName): string | undefined {
  const { pins }: IssuerKind = issuerKinds[kind]
  if (pins === null) {
    if (
      Object.entries(match).some(
        ([claim, values]) => !NO_IDENTITY.includes(claim) && [values].flat().every(pinsSomebody),
      )
    )
      return undefined
    return 'must pin a claim besides iss and aud to a value that tells callers apart: without that, every caller of the issuer could register'
  }
  const isPinned = (claim: string) => {
    const form = pinForm(kind, claim)
    const values = Object.hasOwn(match, claim) ? [match[claim]].flat() : []
    return (
      values.length > 0 &&
      values.every((value) => typeof value === 'string' && (form?.pattern.test(value) ?? true))
    )
  }
  if (pins.some((set) => set.every(isPinned))) return undefined
  const sets = pins.map((set) =>
    set.map((claim) => `${claim} (${pinForm(kind, claim)?.words ?? 'a text'})`).join(' and '),
  )
  return `must pin ${sets.join(', or ')}: without that, strangers could register: every caller of the issuer, or the next owner of a name`
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
