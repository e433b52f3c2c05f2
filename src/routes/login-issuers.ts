import type { LoginIssuer } from '../auth/login/identity-provider.ts'
import type { Deps } from '../deps.ts'

/** Returns the issuers at which people log in, in the order of the trust file in force. */
export function loginIssuers(federation: Deps['federation']): LoginIssuer[] {
  const issuers = [...(federation?.trust().issuers.values() ?? [])]
  return issuers.filter((issuer): issuer is LoginIssuer => issuer.login !== null)
}
