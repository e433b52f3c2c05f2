import { refuseUnusable } from '../auth/bootstrap-token.ts'
import { createSecret, hashSecret, randomBase62 } from '../auth/secret.ts'
import type { ApiGateway } from '../aws/api-gateway.ts'
import type { Clock } from '../clock.ts'
import type { Plan } from '../config.ts'
import { ServiceError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { BootstrapToken, NewRegistration, Store } from '../store/store.ts'
import { withDeadline } from './deadline.ts'
import type { InFlight } from './in-flight.ts'
import { mint, unmint } from './mint.ts'
import { checkName, choosePlan } from './policy.ts'

/** Letters and digits in a key's value: 238 bits, and the only characters API Gateway surely takes. */
const KEY_VALUE_LENGTH = 40
/** How long undoing may take after the caller was answered. */
const UNDO_TIMEOUT_MS = 20_000

export interface RegisterDeps {
  readonly store: Store
  readonly apiGateway: ApiGateway
  readonly clock: Clock
  readonly plans: readonly [Plan, ...Plan[]]
  readonly inFlight: InFlight
}

/** What the client asks for, validated. */
export interface RegistrationRequest {
  readonly name: string
  readonly description: string
  readonly plan: string | undefined
}

/** The circumstances of one call. */
export interface RegistrationCall {
  /** How long the answer may take, in milliseconds. */
  readonly timeoutMs: number
  /** Aborted when the client is gone and nobody would read the answer. */
  readonly gone: AbortSignal
  readonly log: Log
}

/** A registration with the two secrets that only its caller ever sees. */
export interface Credential {
  readonly registration: NewRegistration
  readonly apiKeyId: string
  readonly apiKeyValue: string
  readonly managementToken: string
}

/**
 * One registration: spends a use of the token and records the intent, makes the key, records the success.
 * Where that fails, the key is removed again and the use given back, after the answer if need be.
 * @throws ServiceError every code of the token's policy, of API Gateway and of the store; `overloaded`;
 *   `upstream_unavailable` when the time is over
 */
export async function register(
  deps: RegisterDeps,
  token: BootstrapToken,
  request: RegistrationRequest,
  call: RegistrationCall,
): Promise<Credential> {
  refuseUnusable(token, deps.clock())
  checkName(token, request.name)
  const plan = choosePlan(deps.plans, token, request.plan)

  return withDeadline(call.timeoutMs, (late) =>
    deps.inFlight.start(() => run(deps, token, plan, request, call, late)),
  )
}

async function run(
  deps: RegisterDeps,
  token: BootstrapToken,
  plan: Plan,
  request: RegistrationRequest,
  call: RegistrationCall,
  late: AbortSignal,
): Promise<Credential> {
  const startedAt = deps.clock()
  const managementToken = createSecret('fkm_')
  const apiKeyValue = randomBase62(KEY_VALUE_LENGTH)
  const registration: NewRegistration = {
    id: `reg_${randomBase62(20)}`,
    tokenId: token.id,
    name: request.name,
    description: request.description,
    plan: plan.name,
    usagePlanId: plan.usagePlanId,
    managementHash: hashSecret(managementToken),
    createdAt: startedAt,
    expiresAt: token.keyTtlMs === null ? null : startedAt + token.keyTtlMs,
  }
  const ids = { registration_id: registration.id, token_id: token.id, plan: plan.name }

  const begun = await deps.store.beginRegistration(registration)
  if (begun.outcome === 'refused') throw refusal(begun.token, startedAt)

  let apiKeyId: string | undefined
  try {
    const order = {
      registrationId: registration.id,
      ...request,
      value: apiKeyValue,
      usagePlanId: plan.usagePlanId,
    }
    apiKeyId = await mint(deps.apiGateway, order, late)
    if (late.aborted || call.gone.aborted) {
      throw new ServiceError('upstream_unavailable', 'Nobody waits for the answer any more.')
    }
    if (!(await deps.store.completeRegistration(registration.id, apiKeyId, deps.clock()))) {
      throw new ServiceError('internal', 'The registration was ended by somebody else.')
    }
    call.log.info({ ...ids, api_key_id: apiKeyId, ms: deps.clock() - startedAt }, 'registered')
    return { registration, apiKeyId, apiKeyValue, managementToken }
  } catch (error) {
    call.log.warn({ ...ids, err: error, ms: deps.clock() - startedAt }, 'registration failed')
    const certainlyNoKey = apiKeyId === undefined && error instanceof ServiceError && error.effect === 'none'
    await undo(deps, registration.id, { error, keyMayExist: !certainlyNoKey, log: call.log })
    throw error
  }
}

/** The token passed the first look and lost its last use, or was revoked, before the use could be spent. */
function refusal(token: BootstrapToken | null, now: number): ServiceError {
  if (token === null) return new ServiceError('invalid_token', 'The bootstrap token is not known here.')
  try {
    refuseUnusable(token, now)
  } catch (error) {
    if (error instanceof ServiceError) return error
  }
  return new ServiceError('internal', 'The token could not be spent.')
}

/** Removes the key, if there may be one, then gives the use back. If that fails the registration stays pending. */
async function undo(
  { apiGateway, store, clock }: RegisterDeps,
  registrationId: string,
  { error, keyMayExist, log }: { error: unknown; keyMayExist: boolean; log: Log },
): Promise<void> {
  try {
    if (keyMayExist) await unmint(apiGateway, registrationId, AbortSignal.timeout(UNDO_TIMEOUT_MS))
    const failure = error instanceof ServiceError ? error.code : 'internal'
    await store.failRegistration(registrationId, failure, clock())
  } catch (err) {
    log.error({ registration_id: registrationId, err }, 'registration could not be undone and stays pending')
  }
}
