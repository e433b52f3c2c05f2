import { whyUnusable } from '../../auth/bootstrap-token.ts'
import { randomBase62 } from '../../auth/random.ts'
import { hashSecret } from '../../auth/secret-hash.ts'
import { createSecret } from '../../auth/token-format.ts'
import { failureOf, ServiceError, waitingAtLeast } from '../../errors.ts'
import type { BeginOutcome } from '../../store/minting.ts'
import type { BootstrapToken, Held, NewRegistration } from '../../store/records.ts'
import type { RegistrationDeps } from '../deps.ts'
import { type CredentialSecrets, sealCredential } from '../idempotency/request-identity.ts'
import { rotationId } from '../key-names.ts'
import { inSeconds, untilUndone } from '../retry-after.ts'
import { usesPending } from '../token-uses.ts'
import {
  idempotencyInProgress,
  nameInProgress,
  nameTaken,
  registrationEnded,
  rotationRefused,
  whyReplayed,
} from '../use-case-errors.ts'
import type { Batch } from './batch.ts'
import { isAwaited, type MintRequest, notAwaited, type PendingMint } from './mint-request.ts'

/** The length of a key's value: 238 random bits in letters and digits, the characters that API Gateway documents. */
export const KEY_VALUE_LENGTH = 40

/**
 * Spends uses and records registrations as `pending`, before API Gateway is called. Requests that are refused, or whose
 * caller is gone, are rejected and cost nothing. Never throws.
 * @returns the recorded ones, including those that earlier requests had recorded
 */
export async function recordPending(
  deps: RegistrationDeps,
  requests: readonly MintRequest[],
  { lease, ids }: Pick<Batch, 'lease' | 'ids'>,
): Promise<PendingMint[]> {
  const recorded: PendingMint[] = []
  const fresh: PendingMint[] = []
  for (const request of requests) {
    if (request.begun !== null)
      recorded.push({ ...request.begun, request, keyMayExist: true, apiKeyId: null })
    else if (!isAwaited(request)) request.reject(notAwaited(request))
    else {
      const key = { apiKeyValue: randomBase62(KEY_VALUE_LENGTH), seenWorking: false }
      fresh.push(prepare(deps, request, { id: idFor(request, ids), owner: lease.owner, ...key }))
    }
  }
  if (fresh.length === 0) return recorded
  try {
    const registrations = fresh.map(({ registration }) => registration)
    const outcomes = await deps.store.beginRegistrations(registrations, lease)
    for (const [i, mint] of fresh.entries()) {
      const refusal = refusalOf(deps, mint.request, outcomes[i])
      if (refusal === undefined) recorded.push(mint)
      // Not awaited: the others are minted meanwhile.
      else Promise.resolve(refusal).then(mint.request.reject, mint.request.reject)
    }
  } catch (error) {
    // Some may be recorded all the same. No key exists yet, so their uses can be refunded now, or by recovery.
    const ending = { failure: failureOf(error), sweepAt: null, now: deps.clock() }
    const refunded = await deps.store.failRegistrations(fresh, ending).catch(() => undefined)
    const told = refunded ? error : waitingAtLeast(error, inSeconds(untilUndone(deps.timing)))
    for (const { request } of fresh) request.reject(told)
  }
  return recorded
}

function idFor({ rotation }: MintRequest, ids: Batch['ids']): string {
  const { value } = ids.next()
  return rotation === null ? value : rotationId(value)
}

/** Creates the record and the secrets of a request that begins now. Writes nothing. */
export function prepare(
  { config, clock }: RegistrationDeps,
  request: MintRequest,
  { id, owner, apiKeyValue, seenWorking }: Held & Pick<CredentialSecrets, 'apiKeyValue' | 'seenWorking'>,
): PendingMint {
  const { token, name, description, plan, identity, rotation, clientMetadata, federated } = request
  const now = clock()
  const lifetimeEnd = token.keyTtlMs === null ? null : now + token.keyTtlMs
  const secrets: CredentialSecrets = {
    apiKeyValue,
    seenWorking,
    managementToken: createSecret('fkm_'),
    publicUrl: config.publicUrl,
    apiBaseUrl: config.apiBaseUrl,
    apiProbeUrl: config.apiProbeUrl,
  }
  const registration: NewRegistration = {
    id,
    tokenId: token.id,
    name,
    description,
    plan: plan.name,
    usagePlanId: plan.usagePlanId,
    managementHash: hashSecret(secrets.managementToken),
    createdAt: now,
    expiresAt: request.expiresAt === undefined ? lifetimeEnd : request.expiresAt,
    idempotency: identity === null ? null : sealCredential(identity, id, secrets),
    rotation,
    clientMetadata,
    federated,
  }
  return { id, owner, registration, secrets, request, keyMayExist: false, apiKeyId: null }
}

/** The error of an outcome; `undefined`: the registration is recorded. */
export function refusalOf(
  deps: RegistrationDeps,
  request: MintRequest,
  outcome: BeginOutcome | undefined,
): ServiceError | Promise<ServiceError> | undefined {
  if (outcome === undefined) throw new Error('the store returned fewer outcomes than registrations')
  switch (outcome.outcome) {
    case 'begun':
      return undefined
    case 'duplicate':
      return idempotencyInProgress(deps.timing)
    case 'refused':
      return whyRefused(deps, outcome.token)
    case 'replayed':
      return whyUsed(deps, request, outcome.holder)
    case 'name_taken':
      return nameTaken(deps, outcome.registrationId)
    case 'ended':
      // Its name is free since then, and the same request may have it.
      return request.federated === null ? registrationEnded() : nameInProgress(0)
    default:
      return rotationRefused(outcome.outcome, deps)
  }
}

/** The credential was used since it was looked at, or by a registration that is pending. @param holder `null`: at the token endpoint */
async function whyUsed(
  deps: RegistrationDeps,
  { shown }: MintRequest,
  holder: string | null,
): Promise<ServiceError> {
  return whyReplayed(deps, shown, holder === null ? undefined : await deps.store.getRegistration(holder))
}

/** The token lost its last use, or was revoked, after it was read. */
async function whyRefused(
  { clock, tokenUses, timing }: RegistrationDeps,
  token: BootstrapToken | null,
): Promise<ServiceError> {
  if (token === null)
    return new ServiceError('invalid_token', 'The bootstrap token is not known to this service.')
  // `undefined`: a use came back since then, and this request may have it.
  return whyUnusable(token, clock()) ?? (await tokenUses.whyNoneLeft(token)) ?? usesPending(timing.renew)
}
