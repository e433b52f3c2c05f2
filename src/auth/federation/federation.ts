import { isDeepStrictEqual } from 'node:util'
import type { JWTPayload } from 'jose'
import type { Clock } from '../../clock.ts'
import type { ProxyVariables } from '../../egress-proxy.ts'
import { ServiceError, type ShownIdentity } from '../../errors.ts'
import { type Log, redact } from '../../log.ts'
import type { BootstrapToken } from '../../store/records.ts'
import { createIssuerKeys, type IssuerKeys } from './issuer-keys.ts'
import { type Claims, claimsOf, type Identity, matchRules, readClaim } from './match-rules.ts'
import { readKeys } from './read-keys.ts'
import {
  type Issuer,
  type Rule,
  readTrust,
  type Trust,
  type TrustContext,
  TrustFileError,
} from './trust-file.ts'
import { type VerifiedToken, verifyIdentityToken } from './verify-identity-token.ts'
import { virtualToken } from './virtual-token.ts'

/** The rule that allows an identity, and the virtual token that stands for the two. */
export interface Match {
  readonly rule: Rule
  readonly identity: Identity
  /** As it is when it is new. It is not stored yet. */
  readonly token: BootstrapToken
}

export interface TrustState {
  /** When the trust in force was read (ms since the epoch). */
  readonly readAt: number
  /** The last reading found faults, so that the trust before it stays in force; `null`: it found none. */
  readonly refused: { readonly at: number; readonly faults: readonly string[] } | null
}

/** The identities of other issuers that this service accepts, as the trust file says. */
export interface Federation {
  /** The trust in force now. */
  trust(): Trust
  /** Verifies an identity token. @throws ServiceError see {@link verifyIdentityToken} */
  verify(jwt: string): Promise<VerifiedToken>
  /**
   * Finds the first rule that allows verified claims: those of an identity token or of a login.
   * @throws ServiceError `identity_not_allowed`; `issuer_not_trusted` if the file does not name the issuer any more
   */
  match(issuer: Issuer, claims: Claims): Match
  /** Reads the trust file again. With faults, the trust before stays in force. @returns the faults */
  reload(): { readonly faults: readonly string[] }
  state(): TrustState
}

export interface FederationOptions extends TrustContext {
  /** The proxies for requests to issuers. */
  readonly proxies: ProxyVariables
  readonly clock: Clock
  readonly log: Log
}

/** The trust in force, with what is derived from it. */
interface InForce {
  readonly trust: Trust
  readonly byUrl: ReadonlyMap<string, Issuer>
  readonly keys: ReadonlyMap<string, IssuerKeys>
  readonly readAt: number
}

/** Reads the trust file. No issuer is asked for its keys before a token of it arrives. @throws TrustFileError with every fault */
export function openFederation(options: FederationOptions): Federation {
  const { proxies, clock, log } = options
  let inForce = putInForce(readTrust(options))
  let refused: TrustState['refused'] = null

  function putInForce(trust: Trust, before?: InForce): InForce {
    const issuers = [...trust.issuers.values()]
    const keysOf = (issuer: Issuer): IssuerKeys => {
      const old = before?.byUrl.get(issuer.url)
      const known = old !== undefined && hasSameKeys(old, issuer) ? before?.keys.get(issuer.url) : undefined
      return known ?? createIssuerKeys(issuer, { read: () => readKeys(issuer, proxies), clock, log })
    }
    return {
      trust,
      byUrl: new Map(issuers.map((issuer) => [issuer.url, issuer])),
      keys: new Map(issuers.map((issuer) => [issuer.url, keysOf(issuer)])),
      readAt: clock(),
    }
  }

  return {
    trust: () => inForce.trust,
    verify(jwt) {
      const { trust, byUrl, keys } = inForce
      return verifyIdentityToken(jwt, {
        audience: trust.audience,
        issuerOf: (url) => byUrl.get(url),
        issuerUrls: () => byUrl.keys(),
        keysOf: async (issuer, alg, kid) => (await keys.get(issuer.url)?.find(alg, kid)) ?? [],
        show: (issuer, claims) => showIdentity(trust, issuer, claims),
        now: clock(),
      })
    },
    match({ url }, claims) {
      const { trust, byUrl } = inForce
      const issuer = byUrl.get(url)
      if (issuer === undefined) {
        const identity = { issuer: url, rule: null, claims: {} }
        throw new ServiceError('issuer_not_trusted', `The issuer "${url}" is not trusted by this service.`, {
          identity,
        })
      }
      const found = matchRules(trust, issuer, claims)
      if (found === undefined) {
        throw new ServiceError(
          'identity_not_allowed',
          'No rule of this service allows this identity to register.',
          {
            identity: showIdentity(trust, issuer, claims),
          },
        )
      }
      return { rule: found.rule, identity: found.identity, token: virtualToken(url, found, clock()) }
    },
    reload() {
      try {
        inForce = putInForce(readTrust(options), inForce)
        refused = null
        return { faults: [] }
      } catch (error) {
        if (!(error instanceof TrustFileError)) throw error
        // Read again with the same faults, it is refused since the first time.
        const at = isDeepStrictEqual(refused?.faults, error.faults) ? refused?.at : undefined
        refused = { at: at ?? clock(), faults: error.faults }
        return { faults: error.faults }
      }
    },
    state: () => ({ readAt: inForce.readAt, refused }),
  }
}

/** The keys of an issuer are kept across a reload, unless the file says something else about them. */
function hasSameKeys(before: Issuer, now: Issuer): boolean {
  const facts = ({ name, algorithms, keys }: Issuer) => JSON.stringify([name, algorithms, keys])
  return facts(before) === facts(now)
}

/** The most characters of the shown claims together, as JSON. */
const MAX_SHOWN = 3_000

/** Returns the claims that the rules of the issuer look at, as far as there is room for them. Lists and objects are shown empty. */
function showIdentity({ rules }: Trust, issuer: Issuer, claims: JWTPayload | Claims): ShownIdentity {
  const names = new Set(['sub', ...rules.filter((rule) => rule.issuer === issuer.name).flatMap(claimsOf)])
  const shown: [string, unknown][] = []
  let room = MAX_SHOWN
  for (const name of names) {
    const value = shownValue(readClaim(issuer, name, claims))
    if (value === undefined) continue
    const size = Buffer.byteLength(JSON.stringify([name, value]))
    if (size > room) continue
    room -= size
    shown.push([name, value])
  }
  return { issuer: issuer.url, rule: null, claims: Object.fromEntries(shown) }
}

function shownValue(value: unknown): unknown {
  if (typeof value === 'string') return redact(value)
  if (Array.isArray(value)) return []
  return typeof value === 'object' && value !== null ? {} : value
}
