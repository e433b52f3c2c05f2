import { seal, unseal } from '../seal.ts'

/** The purpose of a sealed text. A text that was sealed for one purpose cannot be opened for another. */
export type Purpose = 'login in progress' | 'login to confirm' | 'login code'

/** The issuer at which somebody logs in: its name in the trust file, its URL, and the secret that it knows this service by. */
export interface SealingIssuer {
  readonly name: string
  readonly url: string
  readonly login: { readonly clientSecret: string }
}

/**
 * Seals what a login carries from one request to the next, in a cookie, a form or a code, so that all replicas can go on with it and
 * none of it is kept here: AES-256-GCM under a key that is derived from the client secret of the issuer.
 * @returns the name of the issuer, a dot, and base64url
 */
export function sealText(
  { name, login }: SealingIssuer,
  publicUrl: string,
  purpose: Purpose,
  content: object,
) {
  const sealed = seal(secretsOf(login, name, purpose), publicUrl, JSON.stringify(content))
  return `${name}.${Buffer.from(sealed).toString('base64url')}`
}

/**
 * Opens a text of {@link sealText}.
 * @param find finds the issuer with this name
 * @returns the issuer and what was sealed, as JSON; `undefined`: it was not sealed by this service and for this purpose
 */
export function openText<Issuer extends SealingIssuer>(
  text: string,
  publicUrl: string,
  purpose: Purpose,
  find: (name: string) => Issuer | undefined,
): { issuer: Issuer; content: unknown } | undefined {
  const dot = text.lastIndexOf('.')
  const issuer = dot === -1 ? undefined : find(text.slice(0, dot))
  if (issuer === undefined) return undefined
  try {
    const sealed = Buffer.from(text.slice(dot + 1), 'base64url')
    return {
      issuer,
      content: JSON.parse(unseal(secretsOf(issuer.login, issuer.name, purpose), publicUrl, sealed)),
    }
  } catch {
    return undefined
  }
}

/** The purpose takes the place of the idempotency key: what is sealed for a login and for a registration share no key. */
function secretsOf({ clientSecret }: SealingIssuer['login'], name: string, purpose: Purpose) {
  return { tokenSecret: clientSecret, idempotencyKey: `${purpose}\0${name}` }
}
