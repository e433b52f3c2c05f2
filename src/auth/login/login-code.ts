import { hash, randomBytes } from 'node:crypto'
import { z } from 'zod'
import { DAY_MS } from '../../clock.ts'
import { ServiceError } from '../../errors.ts'
import type { Proof } from '../../store/records.ts'
import { hashSecret } from '../secret-hash.ts'
import type { AuthorizationRequest } from './authorization-request.ts'
import { openText, type SealingIssuer, sealText } from './sealed-text.ts'

/** The lifetime of a code (ms). */
export const CODE_TTL_MS = 60_000
/** The syntax of a code verifier (RFC 7636, section 4.1). */
const VERIFIER = /^[\w\-.~]{43,128}$/

const codeSchema = z.object({
  id: z.string(),
  claims: z.record(z.string(), z.unknown()),
  redirectUri: z.string(),
  codeChallenge: z.string(),
  expiresAt: z.number(),
})

/** Creates a code for a confirmed login. It carries the claims, so that the rules of the time of its exchange decide. */
export function createLoginCode(
  issuer: SealingIssuer,
  publicUrl: string,
  { redirectUri, codeChallenge }: AuthorizationRequest,
  claims: Readonly<Record<string, unknown>>,
  now: number,
): string {
  const content: z.infer<typeof codeSchema> = {
    id: randomBytes(16).toString('base64url'),
    claims,
    redirectUri,
    codeChallenge,
    expiresAt: now + CODE_TTL_MS,
  }
  return sealText(issuer, publicUrl, 'login code', content)
}

/**
 * Reads a code that a client exchanges. A code stays valid after a wrong verifier: verifiers cannot be guessed, and
 * otherwise a stranger who saw the code could spend it.
 * @returns the issuer, the claims of the login, and what has to be claimed to use the code once
 * @throws ServiceError `invalid_grant`
 */
export function readLoginCode<Issuer extends SealingIssuer>(
  { code, redirectUri, verifier }: { code: string; redirectUri: string; verifier: string },
  publicUrl: string,
  find: (name: string) => Issuer | undefined,
  now: number,
): { issuer: Issuer; claims: Readonly<Record<string, unknown>>; proof: Proof } {
  const opened = openText(code, publicUrl, 'login code', find)
  if (opened === undefined)
    throw new ServiceError('invalid_grant', 'The code is not one of this service, or is not complete.')
  const { id, claims, redirectUri: sentTo, codeChallenge, expiresAt } = codeSchema.parse(opened.content)
  const refuse = (detail: string) =>
    new ServiceError('invalid_grant', detail, { identity: { issuer: opened.issuer.url, rule: null, claims } })
  if (expiresAt <= now) throw refuse(`The code has expired: it is valid for ${CODE_TTL_MS / 1_000} seconds.`)
  if (sentTo !== redirectUri) throw refuse('redirect_uri is not the one that the code was requested with.')
  if (!VERIFIER.test(verifier) || hash('sha256', verifier, 'base64url') !== codeChallenge)
    throw refuse('code_verifier does not belong to the code_challenge that the code was requested with.')
  // Of the id, not of the text: the same bytes have several texts in base64url.
  // For a day, because by a clock that is behind the code expires later.
  const proof = { hash: hashSecret(`login code\0${id}`), expiresAt: expiresAt + DAY_MS }
  return { issuer: opened.issuer, claims, proof }
}

/** Returns the error for a code that was exchanged before. */
export function usedCode(): ServiceError {
  return new ServiceError('invalid_grant', 'The code was already used.')
}
