import { createHash, createHmac } from 'node:crypto'
import { z } from 'zod'
import { type SealingSecrets, seal, unseal } from '../../auth/seal.ts'
import { sameHash } from '../../auth/secret-hash.ts'
import { ServiceError } from '../../errors.ts'
import type { Idempotency } from '../../store/records.ts'

/** The properties that make two requests the same one. */
export interface RequestIdentity {
  readonly secrets: SealingSecrets
  /** HMAC-SHA-256 of the idempotency key under the presented token: scoped to the token, and reveals neither. */
  readonly keyHash: Uint8Array
  /** SHA-256 of the fields of the validated body. */
  readonly requestHash: Uint8Array
}

const credentialSecrets = z.object({
  apiKeyValue: z.string(),
  managementToken: z.string(),
  publicUrl: z.string(),
  apiBaseUrl: z.string(),
  /** `null`: API_PROBE_PATH was not set. Earlier versions did not store it. */
  apiProbeUrl: z.string().nullable().default(null),
  /** The API had accepted the key before it was handed out. A replay says so too. */
  seenWorking: z.boolean().default(false),
})

/**
 * The plaintext secrets of a credential, with the URLs that the configuration had when it was minted. Stored only sealed, and
 * only for requests with an idempotency key.
 */
export type CredentialSecrets = z.infer<typeof credentialSecrets>

/**
 * Identifies a request.
 * @param body the fields of the request in a fixed order; `undefined` for one that was left out
 */
export function identifyRequest(
  secrets: SealingSecrets,
  body: readonly (string | undefined)[],
): RequestIdentity {
  return {
    secrets,
    keyHash: createHmac('sha256', secrets.tokenSecret).update(secrets.idempotencyKey).digest(),
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
    'This Idempotency-Key was used for a request with a different body.',
  )
}

/** Seals a credential for the store, so that a retry of its request can receive it again. */
export function sealCredential(
  identity: RequestIdentity,
  registrationId: string,
  credential: CredentialSecrets,
): Idempotency {
  const { keyHash, requestHash, secrets } = identity
  return { keyHash, requestHash, sealed: seal(secrets, registrationId, JSON.stringify(credential)) }
}

/** Unseals a credential. @throws Error if it was sealed for another request, or changed in the store */
export function unsealCredential(
  identity: RequestIdentity,
  registrationId: string,
  sealed: Uint8Array,
): CredentialSecrets {
  return credentialSecrets.parse(JSON.parse(unseal(identity.secrets, registrationId, sealed)))
}
