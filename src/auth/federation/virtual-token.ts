import { hash } from 'node:crypto'
import { escapeInvisible } from '../../show-value.ts'
import type { BootstrapToken } from '../../store/records.ts'
import { BASE62 } from '../random.ts'
import { hashSecret } from '../secret-hash.ts'
import type { Identity, MatchedRule } from './match-rules.ts'

/** The most characters of a label. */
const LONGEST_LABEL = 100
const ID_DIGITS = 20

/** Returns the virtual token that stands for a federated identity under a rule. Equal identities have the same token. */
export function virtualToken(issuerUrl: string, match: MatchedRule, now: number): BootstrapToken {
  const { rule, identity, name, nameIsExact } = match
  const { grant } = rule
  const id = virtualTokenId(issuerUrl, rule.id, identity)
  return {
    id,
    // The zero byte cannot be in a header: no caller can present this text.
    secretHash: hashSecret(`virtual\0${id}`),
    label: labelOf(rule.id, identity),
    plans: grant.plans,
    maxUses: null,
    expiresAt: null,
    keyTtlMs: grant.keyTtlMs,
    namePrefix: name,
    ratePerMinute: grant.ratePerMinute,
    uses: 0,
    createdAt: now,
    revokedAt: null,
    federation: {
      issuer: issuerUrl,
      rule: rule.id,
      identity,
      maxLive: grant.maxLive,
      onRepeat: grant.onRepeat,
      overlapMs: grant.overlapMs,
      nameIsExact,
    },
  }
}

/** Returns `tok_` and 20 base62 digits of the SHA-256 of issuer, rule and identity (119 bits). The order of the claims is irrelevant. */
function virtualTokenId(issuerUrl: string, rule: string, identity: Identity): string {
  const sorted = Object.entries(identity).sort(([a], [b]) => (a < b ? -1 : 1))
  let rest = BigInt(`0x${hash('sha256', JSON.stringify([issuerUrl, rule, sorted]), 'hex')}`)
  let digits = ''
  while (digits.length < ID_DIGITS) {
    digits += BASE62[Number(rest % 62n)]
    rest /= 62n
  }
  return `tok_${digits}`
}

/** Returns the rule and the identity in words: `acme-ci: repository_id=42, environment=prod`. */
function labelOf(rule: string, identity: Identity): string {
  const claims = Object.entries(identity).map(([claim, value]) => `${claim}=${value}`)
  const characters = [...escapeInvisible(`${rule}: ${claims.join(', ')}`)]
  return characters.length <= LONGEST_LABEL
    ? characters.join('')
    : `${characters.slice(0, LONGEST_LABEL - 1).join('')}…`
}
