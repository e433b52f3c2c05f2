import { hash, randomBytes } from 'node:crypto'
import { z } from 'zod'
import { sameHash } from '../secret-hash.ts'
import type { AuthorizationRequest } from './authorization-request.ts'
import { openText, type SealingIssuer, sealText } from './sealed-text.ts'

/** The time (ms) for the login at the provider, and again for the confirmation after it. */
export const LOGIN_TTL_MS = 600_000

const requestSchema = z.object({
  redirectUri: z.string(),
  state: z.string().optional(),
  codeChallenge: z.string(),
})
const progressSchema = z.object({
  id: z.string(),
  secret: z.string(),
  request: requestSchema,
  expiresAt: z.number(),
})
const confirmationSchema = z.object({
  id: z.string(),
  /** The hash of the cookie of the browser that logged in. */
  cookieHash: z.string(),
  claims: z.record(z.string(), z.unknown()),
  request: requestSchema,
  expiresAt: z.number(),
})

/** A login at the provider that has begun: the request that it is for, and what binds the answer to it. */
export interface LoginProgress {
  /** The `state` of the login at the provider. */
  readonly id: string
  readonly request: AuthorizationRequest
  readonly nonce: string
  readonly codeVerifier: string
}

/** Begins a login. @returns the progress, and the cookie that keeps it in the browser */
export function beginLogin(
  issuer: SealingIssuer,
  publicUrl: string,
  request: AuthorizationRequest,
  now: number,
): { progress: LoginProgress; cookie: string } {
  const [id, secret] = [randomText(), randomText()]
  const content: z.infer<typeof progressSchema> = { id, secret, request, expiresAt: now + LOGIN_TTL_MS }
  return {
    progress: { id, request, ...derived(secret) },
    cookie: sealText(issuer, publicUrl, 'login in progress', content),
  }
}

/**
 * Reads the cookie of a login that comes back from the provider.
 * @param id the `state` that came back
 * @returns `undefined`: it is not the login of this browser, it is over, or it took too long
 */
export function readProgress<Issuer extends SealingIssuer>(
  cookie: string,
  id: string,
  publicUrl: string,
  find: (name: string) => Issuer | undefined,
  now: number,
): { issuer: Issuer; progress: LoginProgress } | undefined {
  const opened = openText(cookie, publicUrl, 'login in progress', find)
  const content = progressSchema.safeParse(opened?.content).data
  if (opened === undefined || content === undefined) return undefined
  if (content.id !== id || content.expiresAt <= now) return undefined
  const { secret, request } = content
  return { issuer: opened.issuer, progress: { id, request: asRequest(request), ...derived(secret) } }
}

/** A login that the provider vouches for, and that the person has to confirm. */
export interface Confirmation {
  readonly id: string
  readonly claims: Readonly<Record<string, unknown>>
  readonly request: AuthorizationRequest
}

/** Returns the hidden field of the confirmation form, and the cookie that replaces the one of the login. */
export function askForConfirmation(
  issuer: SealingIssuer,
  publicUrl: string,
  confirmation: Confirmation,
  now: number,
): { field: string; cookie: string } {
  const cookie = randomText()
  const content: z.infer<typeof confirmationSchema> = {
    ...confirmation,
    cookieHash: hash('sha256', cookie, 'base64url'),
    expiresAt: now + LOGIN_TTL_MS,
  }
  return { field: sealText(issuer, publicUrl, 'login to confirm', content), cookie }
}

/**
 * Reads the hidden field of a confirmation form. `isFrom` says whether a cookie is that of the browser that logged in.
 * @returns `undefined`: it is not from a form of this service, or it is too old
 */
export function readConfirmation<Issuer extends SealingIssuer>(
  field: string,
  publicUrl: string,
  find: (name: string) => Issuer | undefined,
  now: number,
): { issuer: Issuer; confirmation: Confirmation; isFrom(cookie: string): boolean } | undefined {
  const opened = openText(field, publicUrl, 'login to confirm', find)
  const content = confirmationSchema.safeParse(opened?.content).data
  if (opened === undefined || content === undefined || content.expiresAt <= now) return undefined
  const { id, claims, request, cookieHash } = content
  return {
    issuer: opened.issuer,
    confirmation: { id, claims, request: asRequest(request) },
    isFrom: (cookie) => sameHash(Buffer.from(cookieHash, 'base64url'), hash('sha256', cookie, 'buffer')),
  }
}

/** Derives the two values, so that the cookie holds one. */
function derived(secret: string): Pick<LoginProgress, 'nonce' | 'codeVerifier'> {
  return {
    nonce: hash('sha256', `nonce\0${secret}`, 'base64url'),
    codeVerifier: hash('sha256', `code verifier\0${secret}`, 'base64url'),
  }
}

function asRequest({ state, ...request }: z.infer<typeof requestSchema>): AuthorizationRequest {
  return { ...request, state }
}

/** Returns 128 random bits, as text. */
function randomText(): string {
  return randomBytes(16).toString('base64url')
}
