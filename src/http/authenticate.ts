import type { FastifyInstance, FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import {
  authenticateBootstrapToken,
  type Caller,
  identityNotAllowed,
  tokenActor,
  whyUnusable,
} from '../auth/bootstrap-token.ts'
import type { Federation } from '../auth/federation/federation.ts'
import { authenticateIdentityToken, isRuleInForce } from '../auth/identity-token.ts'
import {
  authenticateManagementToken,
  type Manager,
  unknownManagementToken,
} from '../auth/management-token.ts'
import { hasJwtForm } from '../auth/token-format.ts'
import type { Clock } from '../clock.ts'
import { ServiceError } from '../errors.ts'
import type { Actor } from '../store/audit.ts'
import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { clientAddress } from './client-address.ts'

const CALLER = 'caller'
const MANAGER = 'manager'

/** Adds the request properties that the hooks of {@link authenticate} and {@link authenticateManager} set. */
export function prepareAuthentication(app: FastifyInstance): void {
  app.decorateRequest(CALLER, null)
  app.decorateRequest(MANAGER, null)
}

export interface AuthenticationDeps {
  readonly store: Store
  readonly clock: Clock
  /** `null`: no identity tokens are accepted, and no tokens of the token endpoint. */
  readonly federation: Federation | null
}

/**
 * Creates a hook that authenticates a request by its bootstrap token or identity token, from the headers alone, before the
 * body is read. It also rejects a token that was revoked or has expired, unless the request can be a retry of an earlier one.
 * The hook throws ServiceError `missing_token`, `invalid_token`, `token_revoked`, `token_expired`, those of
 * {@link authenticateIdentityToken}, and those of the store.
 */
export function authenticate({ store, clock, federation }: AuthenticationDeps): onRequestAsyncHookHandler {
  return async (request) => {
    const credential = bearerCredential(request.headers.authorization)
    const caller = hasJwtForm(credential)
      ? await authenticateIdentityToken({ store, federation }, credential, whereOf(request))
      : await authenticateBootstrapToken({ store, federation }, credential)
    identify(request, caller)
    if (!isRuleInForce(federation, caller.token)) throw identityNotAllowed()
    // A revoked token's requests are not repeated: their sealed secrets are destroyed.
    const mayRetry = caller.token.revokedAt === null && request.headers['idempotency-key'] !== undefined
    const unusable = mayRetry ? undefined : whyUnusable(caller.token, clock(), caller)
    if (unusable !== undefined) throw unusable
  }
}

/** Notes the caller of a request, also for the log and for the audit trail if it is refused. */
export function identify(request: FastifyRequest, caller: Caller): void {
  request.setDecorator<Caller>(CALLER, caller)
}

/** Returns the caller that {@link authenticate} or {@link identify} noted. */
export function authenticated(request: FastifyRequest): Caller {
  return request.getDecorator<Caller>(CALLER)
}

/**
 * Creates a hook that authenticates a request by the management token of the registration in its path. If the path has
 * the id of another registration, the hook rejects the request as if that registration did not exist. With
 * `acceptOutdated` it also accepts the management token that the last renewal replaced.
 * The hook throws ServiceError `missing_token`, `invalid_token` or `not_found`, and the errors of the store.
 * @param confirm records that the owner of the registration received the response that contains the token, and returns the
 *   registration as it is then
 */
export function authenticateManager(
  store: Store,
  confirm: (registration: Registration) => Promise<Registration>,
  { acceptOutdated = false }: { acceptOutdated?: boolean } = {},
): onRequestAsyncHookHandler {
  return async (request) => {
    const secret = bearerCredential(request.headers.authorization)
    const id = String((request.params as { id?: unknown }).id)
    const found = await authenticateManagementToken(store, id, secret)
    const manager = { ...found, registration: await confirm(found.registration) }
    request.setDecorator<Manager>(MANAGER, manager)
    if (manager.isOutdated && !acceptOutdated) throw unknownManagementToken()
    if (id !== manager.registration.id) {
      throw new ServiceError('not_found', 'There is no such registration.', {
        nextStep:
          'Check the id in the path: "management.url" in the response to the registration contains it.',
      })
    }
  }
}

/** Returns the manager that {@link authenticateManager} identified. Only for routes with that hook. */
export function managing(request: FastifyRequest): Manager {
  return request.getDecorator<Manager>(MANAGER)
}

/** The token that a request was sent with, for the audit trail. */
export interface Identified {
  readonly actor: Actor
  /** `null`: it was an identity token that stands for no virtual token. */
  readonly tokenId: string | null
  /** The registration that the management token belongs to; `null` for all other tokens. */
  readonly registrationId: string | null
}

/**
 * Returns the known token of a request, even if the request was rejected, or the identity token with which it was;
 * `undefined` if it had neither.
 * @param error why the request was rejected
 */
export function identified(request: FastifyRequest, error?: ServiceError): Identified | undefined {
  const caller = request.getDecorator<Caller | null>(CALLER)
  const manager = request.getDecorator<Manager | null>(MANAGER)
  if (caller !== null) {
    const { token } = caller
    return { actor: tokenActor(token, whereOf(request)), tokenId: token.id, registrationId: null }
  }
  if (manager !== null) {
    const { id, tokenId } = manager.registration
    const actor: Actor = { kind: 'registration', id, identity: null, ...whereOf(request) }
    return { actor, tokenId, registrationId: id }
  }
  if (error?.identity === undefined) return undefined
  const actor: Actor = { kind: 'identity', id: null, identity: error.identity, ...whereOf(request) }
  return { actor, tokenId: null, registrationId: null }
}

/** Returns what identifies a request in the audit trail. */
export function whereOf(request: FastifyRequest): Pick<Actor, 'requestId' | 'clientAddress'> {
  return { requestId: request.id, clientAddress: clientAddress(request) }
}

/**
 * Returns the actor of a request for the audit trail. Only for routes with the hook of {@link authenticate} or
 * {@link authenticateManager}.
 */
export function actorOf(request: FastifyRequest): Actor {
  const found = identified(request)
  if (found === undefined) throw new Error('the route does not authenticate')
  return found.actor
}

/**
 * Reads the credential of `Authorization: Bearer <credential>` (RFC 6750, section 2.1). The name of the scheme is
 * case-insensitive (RFC 9110).
 * @throws ServiceError `missing_token`
 */
function bearerCredential(header: string | undefined): string {
  const [, scheme = '', credential = ''] = header?.match(/^(\S+) +(\S+) *$/) ?? []
  if (scheme.toLowerCase() !== 'bearer') {
    const detail =
      header === undefined
        ? 'The request has no "Authorization: Bearer …" header.'
        : 'The request has no valid "Authorization: Bearer …" header: one token after "Bearer", without spaces.'
    throw new ServiceError('missing_token', detail)
  }
  return credential
}
