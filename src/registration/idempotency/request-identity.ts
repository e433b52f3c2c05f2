import { createHash, createHmac } from 'node:crypto'
import { z } from 'zod'
import { type SealingSecrets, seal, unseal } from '../../auth/seal.ts'
import { sameHash } from '../../auth/secret.ts'
import { ServiceError } from '../../errors.ts'
import type { Idempotency } from '../../store/records.ts'

/** What makes two requests the same one. */
export interface RequestIdentity {
  readonly secrets: SealingSecrets
  /** HMAC-SHA-256 of the idempotency key under the presented token: scoped to it, and tells nothing of either. */
  readonly keyHash: Uint8Array
  /** SHA-256 of the request's body as it was understood. */
  readonly requestHash: Uint8Array
}

/** The parts of an answer that are nowhere else: the secrets, and what the configuration said then. */
const credentialSecrets = z.object({
  apiKeyValue: z.string(),
  managementToken: z.string(),
  publicUrl: z.string(),
  apiBaseUrl: z.string(),
})

export type CredentialSecrets = z.infer<typeof credentialSecrets>

/** @param body the fields of the request in a fixed order; `undefined` where one was left out */
export function identifyRequest(
  secrets: SealingSecrets,
  body: readonly (string | undefined)[],
): RequestIdentity {
  return {
    secrets,
    keyHash: createHmac('sha256', secrets.token).update(secrets.idempotencyKey).digest(),
    requestHash: createHash('sha256')
      .update(JSON.stringify(body.map((field) => field ?? null)))
      .digest(),
  }
}

/** @throws ServiceError `idempotency_mismatch` if the key was used for another request */
export function requireSameRequest(
  identity: RequestIdentity,
  earlier: Pick<Idempotency, 'requestHash'>,
): void {
  if (sameHash(identity.requestHash, earlier.requestHash)) return
  throw new ServiceError(
    'idempotency_mismatch',
    'This Idempotency-Key was used for a request with another body.',
  )
}

/** What the store keeps so that the request can be answered again. */
export function sealCredential(
  identity: RequestIdentity,
  registrationId: string,
  answer: CredentialSecrets,
): Idempotency {
  const { keyHash, requestHash, secrets } = identity
  return { keyHash, requestHash, sealed: seal(secrets, registrationId, JSON.stringify(answer)) }
}

/** @throws Error if the sealed answer was changed in the store */
export function unsealCredential(
  identity: RequestIdentity,
  registrationId: string,
  sealed: Uint8Array,
): CredentialSecrets {
  return credentialSecrets.parse(JSON.parse(unseal(identity.secrets, registrationId, sealed)))
}

export function idempotencyInProgress(): ServiceError {
  return new ServiceError(
    'idempotency_in_progress',
    'A request with this Idempotency-Key is being worked on.',
    { retryAfter: 1 },
  )
}
