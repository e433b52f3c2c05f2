import {
  type CryptoKey,
  compactVerify,
  decodeJwt,
  decodeProtectedHeader,
  errors,
  type JWTPayload,
} from 'jose'
import type { ErrorCode } from '../../error-catalogue.ts'
import { changed, ServiceError, type ShownIdentity } from '../../errors.ts'
import { escapeInvisible } from '../../show-value.ts'
import type { Proof } from '../../store/records.ts'
import { hashSecret } from '../secret-hash.ts'
import type { Issuer } from './trust-file.ts'

/** A token whose signature, times and audience are in order. */
export interface VerifiedToken {
  readonly issuer: Issuer
  readonly claims: JWTPayload
  /** Makes the token usable once; `null`: it may be used again until it expires. */
  readonly proof: Proof | null
}

export interface VerificationContext {
  /** The only audience that is accepted. */
  readonly audience: string
  /** Returns the issuer with exactly this URL. */
  readonly issuerOf: (url: string) => Issuer | undefined
  /** The URLs of all issuers, for the error of one that is nearly right. */
  readonly issuerUrls: () => Iterable<string>
  readonly keysOf: (issuer: Issuer, alg: string, kid: string | undefined) => Promise<CryptoKey[]>
  /** The identity that the audit trail shows for verified claims. */
  readonly show: (issuer: Issuer, claims: JWTPayload) => ShownIdentity
  /** Milliseconds since the epoch. */
  readonly now: number
}

const MAX_BYTES = 16 * 1_024
/** The tolerance for clocks that differ (s). */
const LEEWAY_S = 60
const MAX_LIFETIME_S = 24 * 3_600
const MAX_ID_LENGTH = 512
const MAX_SHOWN_ISSUER = 200

const GET_ANOTHER =
  'Get a fresh identity token from its issuer and send it unchanged. If it is refused again, correct the request for it, as "detail" says.'

/** The accepted values of `typ` (RFC 7515, section 4.1.9), if there is one: JWTs, and JWTs as access tokens (RFC 9068). */
const TYPES = ['jwt', 'at+jwt']
/** The parameters of the header by which a token would choose the key that verifies it, or change what is signed. */
const REFUSED_PARAMETERS = ['jwk', 'jku', 'x5u', 'x5c', 'crit', 'b64', 'zip']

/**
 * Verifies an identity token: that its issuer is trusted, signed it with one of its keys, and made it for this service and for
 * now. An unknown issuer is refused without any look at the network.
 * @throws ServiceError `issuer_not_trusted`, `invalid_token`, `token_expired`, `audience_mismatch`, or
 *   `identity_provider_unavailable`. Its `identity` is for the audit trail; its texts have nothing of the token but the issuer.
 */
export async function verifyIdentityToken(jwt: string, context: VerificationContext): Promise<VerifiedToken> {
  const { header, iss } = readUnverified(jwt)
  const issuer = context.issuerOf(iss)
  if (issuer === undefined) throw untrusted(iss, context.issuerUrls())
  const shown = { issuer: issuer.url, rule: null, claims: {} }
  const fault = headerFault(header, issuer)
  if (fault !== undefined) throw refusal('invalid_token', fault, shown)
  const claims = await verifySignature(jwt, header, issuer, context).catch((error: unknown) => {
    throw error instanceof ServiceError ? changed(error, { identity: shown }) : error
  })
  checkClaims(claims, issuer, context)
  return { issuer, claims, proof: proofOf(claims, issuer) }
}

interface Header {
  readonly alg: string
  readonly kid: string | undefined
  readonly parameters: Readonly<Record<string, unknown>>
}

/** Reads what is needed to choose the issuer and the key. Nothing of it is proved. */
function readUnverified(jwt: string): { header: Header; iss: string } {
  const unnamed = { issuer: null, rule: null, claims: {} }
  if (Buffer.byteLength(jwt) > MAX_BYTES)
    throw refusal('invalid_token', `The identity token is longer than ${MAX_BYTES / 1_024} KiB.`, unnamed)
  let parameters: Record<string, unknown>
  let claims: JWTPayload
  try {
    parameters = decodeProtectedHeader(jwt)
    claims = decodeJwt(jwt)
  } catch {
    const detail =
      'The token is no JWT: it must have three parts, of which the first two are JSON objects in base64url.'
    throw refusal('invalid_token', detail, unnamed)
  }
  const { iss } = claims
  if (typeof iss !== 'string' || iss === '')
    throw refusal(
      'invalid_token',
      'The identity token has no issuer: the claim "iss" must be a text.',
      unnamed,
    )
  const { alg, kid } = parameters
  const shown = { ...unnamed, issuer: cut(iss) }
  if (typeof alg !== 'string')
    throw refusal('invalid_token', 'The identity token names no algorithm in its header.', shown)
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > MAX_ID_LENGTH))
    throw refusal('invalid_token', 'The "kid" in the header of the identity token is not valid.', shown)
  return { header: { alg, kid, parameters }, iss }
}

function headerFault({ alg, parameters }: Header, issuer: Issuer): string | undefined {
  if (!issuer.algorithms.some((allowed) => allowed === alg)) {
    return `The identity token is signed with ${escapeInvisible(JSON.stringify(cut(alg, 20)))}; of this issuer, only ${issuer.algorithms.join(' and ')} is accepted.`
  }
  const refused = REFUSED_PARAMETERS.find((name) => Object.hasOwn(parameters, name))
  if (refused !== undefined)
    return `The header of the identity token has "${refused}", which is not accepted.`
  const type = parameters['typ']
  const isType = typeof type === 'string' && TYPES.includes(type.toLowerCase().replace(/^application\//, ''))
  if (type !== undefined && !isType)
    return 'The type ("typ") of the identity token is neither "JWT" nor "at+jwt".'
  return undefined
}

async function verifySignature(
  jwt: string,
  { alg, kid }: Header,
  issuer: Issuer,
  { keysOf }: VerificationContext,
): Promise<JWTPayload> {
  for (const key of await keysOf(issuer, alg, kid)) {
    try {
      await compactVerify(jwt, key, { algorithms: [alg] })
      return decodeJwt(jwt)
    } catch (error) {
      if (!(error instanceof errors.JOSEError)) throw error
    }
  }
  const detail = `The signature of the identity token is not that of its issuer ${issuer.url}.`
  throw new ServiceError('invalid_token', detail, { nextStep: GET_ANOTHER })
}

/** Checks the claims of RFC 7519, section 4.1, in the order in which a caller can do most about them. */
function checkClaims(claims: JWTPayload, issuer: Issuer, context: VerificationContext): void {
  const { audience, now } = context
  const refuse = (code: ErrorCode, detail: string, nextStep?: string) =>
    refusal(code, detail, context.show(issuer, claims), nextStep)
  const { aud, exp, iat, nbf, sub, jti }: Record<string, unknown> = claims
  const isForThis = aud === audience || (Array.isArray(aud) && aud.length === 1 && aud[0] === audience)
  if (!isForThis) {
    const several = Array.isArray(aud) && aud.includes(audience) ? ', and for no other' : ''
    throw refuse('audience_mismatch', `The identity token must have the audience "${audience}"${several}.`)
  }
  if (!isTime(exp))
    throw refuse('invalid_token', 'The identity token must have the time of its end in the claim "exp".')
  if (!isTime(iat))
    throw refuse('invalid_token', 'The identity token must have the time of its issue in the claim "iat".')
  const seconds = now / 1_000
  if (exp + LEEWAY_S <= seconds) {
    const nextStep =
      'Get a fresh identity token and send the request again, with the same Idempotency-Key if it is a retry.'
    throw refuse('token_expired', `The identity token expired at ${timeText(exp)}.`, nextStep)
  }
  const soon = 'Check the clocks of the issuer and of this service, or wait and get a fresh identity token.'
  if (iat > seconds + LEEWAY_S)
    throw refuse('invalid_token', `The identity token was issued in the future, at ${timeText(iat)}.`, soon)
  if (nbf !== undefined && !isTime(nbf))
    throw refuse('invalid_token', 'The claim "nbf" of the identity token must be a time.')
  if (nbf !== undefined && nbf > seconds + LEEWAY_S)
    throw refuse('invalid_token', `The identity token is not valid before ${timeText(nbf)}.`, soon)
  if (exp - iat > MAX_LIFETIME_S)
    throw refuse(
      'invalid_token',
      'The identity token is valid for more than 24 hours: request one that is valid for less.',
    )
  if (!isId(sub))
    throw refuse('invalid_token', 'The identity token must name its subject in the claim "sub", a text.')
  if (issuer.singleUse && !isId(jti))
    throw refuse(
      'invalid_token',
      'The identity token must have an id in the claim "jti": this issuer\'s can be used once.',
    )
}

function proofOf({ jti, exp = 0 }: JWTPayload, issuer: Issuer): Proof | null {
  if (!issuer.singleUse) return null
  // Another process, whose clock is behind as far as is tolerated, still accepts the token for that time.
  return { hash: hashSecret(JSON.stringify([issuer.url, jti])), expiresAt: (exp + 2 * LEEWAY_S) * 1_000 }
}

/** A NumericDate (RFC 7519, section 2) within the years that a date can have. */
function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value < 8.64e12
}

function isId(value: unknown): boolean {
  return typeof value === 'string' && value !== '' && value.length <= MAX_ID_LENGTH
}

function timeText(seconds: number): string {
  return new Date(seconds * 1_000).toISOString()
}

function untrusted(iss: string, known: Iterable<string>): ServiceError {
  const plain = (url: string) => url.toLowerCase().replace(/\/+$/, '')
  const near = iss.length > MAX_ID_LENGTH ? undefined : [...known].find((url) => plain(url) === plain(iss))
  const shown = escapeInvisible(JSON.stringify(cut(iss)))
  const detail =
    near === undefined
      ? `The issuer ${shown} is not trusted by this service.`
      : `The issuer ${shown} is not trusted by this service. It trusts "${near}": a slash at the end, or upper case, makes another issuer.`
  return refusal('issuer_not_trusted', detail, { issuer: cut(iss), rule: null, claims: {} })
}

function cut(text: string, length = MAX_SHOWN_ISSUER): string {
  return [...text.slice(0, 2 * length)].slice(0, length).join('')
}

function refusal(code: ErrorCode, detail: string, identity: ShownIdentity, nextStep?: string): ServiceError {
  return new ServiceError(code, detail, {
    identity,
    nextStep: nextStep ?? (code === 'invalid_token' ? GET_ANOTHER : undefined),
  })
}
