/**
 * The identities that the service accepts in place of a bootstrap token, as far as its documents tell: not the rules, nor
 * the names of repositories, accounts and people in them.
 */
export interface Identities {
  /** The audience that an identity token has to be requested for. */
  readonly audience: string
  /** The kinds of the trusted issuers, each once. */
  readonly kinds: readonly string[]
  /** `true` if a person can log in with the browser. */
  readonly hasLogin: boolean
}
