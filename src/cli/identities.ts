import type { Federation } from '../store/records.ts'
import { printable } from './format.ts'
import { hasRule } from './known-rules.ts'

/** The most characters of claims in a cell of a table. */
const LONGEST_CELL = 100

/** Formats claims for people, typed as the trust file has them: `repository_id="42", email_verified=true`. */
export function showClaims(claims: Readonly<Record<string, unknown>>): string {
  const shown = Object.entries(claims).map(([name, value]) => `${printable(name)}=${JSON.stringify(value)}`)
  return shown.length === 0 ? '-' : shown.join(', ')
}

/** Cuts a text for a cell of a table. */
export function cut(text: string): string {
  return text.length <= LONGEST_CELL ? text : `${text.slice(0, LONGEST_CELL - 1)}…`
}

/** The JSON of the federated identity that a virtual token stands for. @param live its registrations that are alive or pending */
export function federationJson({ issuer, rule, identity, ...grant }: Federation, live: number): object {
  return {
    issuer,
    rule,
    rule_exists: hasRule({ issuer, rule }),
    claims: identity,
    live,
    max_live: grant.maxLive,
    on_repeat: grant.onRepeat,
    overlap_seconds: grant.overlapMs / 1_000,
    name_is_exact: grant.nameIsExact,
  }
}
