import { type CryptoKey, importJWK, type JWK } from 'jose'
import { z } from 'zod'
import type { Algorithm } from './issuer-kinds.ts'

/** The keys that an issuer publishes, as far as its tokens may be signed with them. */
export interface KeySet {
  /** The ids of the keys that can be used; `null` for one without. */
  readonly ids: readonly (string | null)[]
  /** The reason why no token can be signed with it; `null`: it has keys. */
  readonly fault: string | null
  /** Returns the keys that a token with this header can be signed with: usually one. */
  candidates(alg: string, kid: string | undefined): Promise<CryptoKey[]>
}

/** The most keys that one token is tried with. */
const MAX_CANDIDATES = 8
const MIN_RSA_BITS = 2_048

const base64url = z.string().regex(/^[\w-]+$/)
const jwkSchema = z.object({
  kty: z.enum(['RSA', 'EC', 'OKP']),
  kid: z.string().optional(),
  alg: z.string().optional(),
  use: z.literal('sig').optional(),
  key_ops: z.array(z.string()).optional(),
  n: base64url.optional(),
  e: base64url.optional(),
  crv: z.string().optional(),
  x: base64url.optional(),
  y: base64url.optional(),
  d: z.undefined({ error: 'a private key is not used' }).optional(),
})
type PublicJwk = z.infer<typeof jwkSchema>
const keySetSchema = z.object({ keys: z.array(z.unknown()) })

/**
 * Parses a JWKS (RFC 7517). Keys that cannot verify a signature of these algorithms are left out.
 * @throws Error if it is none
 */
export function parseKeySet(text: string, algorithms: readonly Algorithm[]): KeySet {
  const { data } = keySetSchema.safeParse(parseJson(text))
  if (data === undefined) throw new Error('it is no JSON Web Key Set')
  const keys = data.keys.flatMap((content) => {
    const jwk = jwkSchema.safeParse(content).data
    const fitting = jwk === undefined ? [] : algorithms.filter((alg) => fits(jwk, alg))
    return jwk === undefined || fitting.length === 0
      ? []
      : [{ jwk, fitting, imported: new Map<Algorithm, Import>() }]
  })
  return {
    ids: keys.map(({ jwk }) => jwk.kid ?? null),
    fault: keys.length === 0 ? `it has no key for ${algorithms.join(', ')}` : null,
    async candidates(named, kid) {
      const alg = algorithms.find((allowed) => allowed === named)
      if (alg === undefined) return []
      const usable = keys.filter(
        ({ jwk, fitting }) => fitting.includes(alg) && (kid === undefined || jwk.kid === kid),
      )
      const found = await Promise.all(
        usable.slice(0, MAX_CANDIDATES).map(({ jwk, imported }) => {
          const known = imported.get(alg) ?? importKey(jwk, alg)
          imported.set(alg, known)
          return known
        }),
      )
      return found.filter((key) => key !== undefined)
    },
  }
}

type Import = Promise<CryptoKey | undefined>

/** @returns `undefined`: the key is not valid, for example no point of its curve */
async function importKey({ kty, n, e, crv, x, y }: PublicJwk, alg: Algorithm): Import {
  try {
    const jwk = Object.fromEntries(
      Object.entries({ kty, n, e, crv, x, y }).filter(([, value]) => value !== undefined),
    )
    const key = await importJWK(jwk as JWK, alg)
    return key instanceof Uint8Array ? undefined : key
  } catch {
    return undefined
  }
}

/** The curves of the algorithms that have one (RFC 7518, section 3.4; RFC 8037). */
const CURVES: Partial<Record<Algorithm, string>> = {
  ES256: 'P-256',
  ES384: 'P-384',
  ES512: 'P-521',
  EdDSA: 'Ed25519',
  Ed25519: 'Ed25519',
}

function fits({ kty, alg: only, key_ops, crv, n = '' }: PublicJwk, alg: Algorithm): boolean {
  const sameAlgorithm =
    only === undefined ||
    only === alg ||
    (CURVES[alg] === 'Ed25519' && CURVES[only as Algorithm] === 'Ed25519')
  if (!sameAlgorithm || (key_ops !== undefined && !key_ops.includes('verify'))) return false
  const curve = CURVES[alg]
  if (curve === undefined) return kty === 'RSA' && bitsOf(n) >= MIN_RSA_BITS
  return kty === (curve === 'Ed25519' ? 'OKP' : 'EC') && crv === curve
}

/** Returns the length of a modulus. */
function bitsOf(n: string): number {
  const bytes = Buffer.from(n, 'base64url')
  const first = bytes.findIndex((byte) => byte !== 0)
  return first === -1 ? 0 : (bytes.length - first) * 8 - Math.clz32(bytes.readUInt8(first)) + 24
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
