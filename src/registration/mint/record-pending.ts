import { whyUnusable } from '../../auth/bootstrap-token.ts'
import { createSecret, hashSecret, randomBase62 } from '../../auth/secret.ts'
import { codeOf, ServiceError } from '../../errors.ts'
import type { BeginOutcome } from '../../store/minting.ts'
import type { Lease, NewRegistration } from '../../store/records.ts'
import type { RegistrationDeps } from '../deps.ts'
import { registrationEnded, rotationInProgress } from '../errors.ts'
import {
  type CredentialSecrets,
  idempotencyInProgress,
  sealCredential,
} from '../idempotency/request-identity.ts'
import { newRegistrationIds, rotationId } from '../key-names.ts'
import { callerGone, isAwaited, type MintRequest, type PendingMint } from './mint-request.ts'

/** Letters and digits in a key's value: 238 bits, and the only characters API Gateway surely takes. */
const KEY_VALUE_LENGTH = 40

/**
 * Spends the uses and records the registrations as `pending`, all in one transaction, before API Gateway is called.
 * Orders that are refused, and those for which nobody waits any more, are rejected and cost nothing.
 * @returns the others
 */
export async function begin(
  deps: RegistrationDeps,
  orders: readonly MintRequest[],
  lease: Lease,
): Promise<PendingMint[]> {
  const works: PendingMint[] = []
  const fresh: PendingMint[] = []
  const ids = newRegistrationIds(orders.length)
  for (const [i, order] of orders.entries()) {
    if (order.begun !== null) works.push({ ...order.begun, order, keyMayExist: true })
    else if (!isAwaited(order)) order.reject(callerGone())
    else {
      const id = ids[i] ?? ''
      fresh.push(prepare(deps, order, order.rotation === null ? id : rotationId(id), lease))
    }
  }
  if (fresh.length === 0) return works
  try {
    const registrations = fresh.map(({ registration }) => registration)
    const outcomes = await deps.store.beginRegistrations(registrations, lease)
    for (const [i, work] of fresh.entries()) {
      const refusal = whyNotBegun(outcomes[i], deps.clock())
      if (refusal === undefined) works.push(work)
      else work.order.reject(refusal)
    }
  } catch (error) {
    // Some may have been begun all the same. No key was made yet: their uses can be given back at once, or by recovery.
    const ending = { failure: codeOf(error), sweepAt: null, now: deps.clock() }
    await deps.store.failRegistrations(fresh, ending).catch(() => undefined)
    for (const { order } of fresh) order.reject(error)
  }
  return works
}

function prepare(
  { config, clock }: RegistrationDeps,
  order: MintRequest,
  id: string,
  { owner }: Lease,
): PendingMint {
  const { token, name, description, plan, identity, rotation } = order
  const now = clock()
  const answer: CredentialSecrets = {
    apiKeyValue: randomBase62(KEY_VALUE_LENGTH),
    managementToken: createSecret('fkm_'),
    publicUrl: config.publicUrl,
    apiBaseUrl: config.apiBaseUrl,
  }
  const registration: NewRegistration = {
    id,
    tokenId: token.id,
    name,
    description,
    plan: plan.name,
    usagePlanId: plan.usagePlanId,
    managementHash: hashSecret(answer.managementToken),
    createdAt: now,
    expiresAt: token.keyTtlMs === null ? null : now + token.keyTtlMs,
    idempotency: identity === null ? null : sealCredential(identity, id, answer),
    rotation,
  }
  return { id, owner, registration, answer, order, keyMayExist: false }
}

function whyNotBegun(outcome: BeginOutcome | undefined, now: number): ServiceError | undefined {
  if (outcome?.outcome === 'begun') return undefined
  if (outcome?.outcome === 'duplicate') return idempotencyInProgress()
  if (outcome?.outcome === 'ended') return registrationEnded()
  if (outcome?.outcome === 'busy') return rotationInProgress()
  // It lost its last use, or was revoked, since the first look.
  const reason = outcome?.outcome === 'refused' && outcome.token && whyUnusable(outcome.token, now)
  return reason || new ServiceError('invalid_token', 'The bootstrap token is not known here.')
}
