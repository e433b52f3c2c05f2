import type { Deps } from '../deps.ts'
import type { Identities } from '../discovery/identities.ts'

/** Returns the identities that the trust file in force accepts; `null` without one. */
export function identitiesOf(federation: Deps['federation']): Identities | null {
  if (federation === null) return null
  const { audience, issuers } = federation.trust()
  const all = [...issuers.values()]
  return {
    audience,
    kinds: [...new Set(all.map(({ kind }) => kind))],
    hasLogin: all.some(({ login }) => login !== null),
  }
}
