import type { FastifyInstance, FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import { authenticateBootstrapToken, type Caller } from '../auth/bootstrap-token.ts'
import {
  authenticateManagementToken,
  type Manager,
  unknownManagementToken,
} from '../auth/management-token.ts'
import { ServiceError } from '../errors.ts'
import type { Actor } from '../store/audit.ts'
import type { Store } from '../store/store.ts'

const CALLER = 'caller'
const MANAGER = 'manager'

/** Makes room on every request for whom {@link authenticate} and {@link authenticateManager} find. */
export function prepareAuthentication(app: FastifyInstance): void {
  app.decorateRequest(CALLER, null)
  app.decorateRequest(MANAGER, null)
}

/**
 * A hook that finds the bootstrap token of a request by its headers alone, before the body is read.
 * It throws ServiceError `missing_token` or `invalid_token`.
 */
export function authenticate(store: Store): onRequestAsyncHookHandler {
  return async (request) => {
    const secret = bearerCredential(request.headers.authorization)
    request.setDecorator<Caller>(CALLER, { secret, token: await authenticateBootstrapToken(store, secret) })
  }
}

/** Who {@link authenticate} found. Only for routes behind it. */
export function authenticated(request: FastifyRequest): Caller {
  return request.getDecorator<Caller>(CALLER)
}

/**
 * A hook that finds the registration of a management token, and refuses every other id in the path as if there were
 * none. With `acceptOutdated` also by the token before the last renewal.
 * It throws ServiceError `missing_token`, `invalid_token` or `not_found`.
 */
export function authenticateManager(
  store: Store,
  { acceptOutdated = false }: { acceptOutdated?: boolean } = {},
): onRequestAsyncHookHandler {
  return async (request) => {
    const secret = bearerCredential(request.headers.authorization)
    const id = String((request.params as { id?: unknown }).id)
    const manager = await authenticateManagementToken(store, id, secret)
    request.setDecorator<Manager>(MANAGER, manager)
    if (manager.isOutdated && !acceptOutdated) throw unknownManagementToken()
    if (id !== manager.registration.id) {
      throw new ServiceError('not_found', 'There is no such registration.', {
        nextStep: 'Check the id in the path: "management.url" in the answer of the registration has it.',
      })
    }
  }
}

/** Whom {@link authenticateManager} found. Only for routes behind it. */
export function managing(request: FastifyRequest): Manager {
  return request.getDecorator<Manager>(MANAGER)
}

/** Whose token came with a request, for the audit trail. */
export interface Identified {
  readonly actor: Actor
  readonly tokenId: string
  /** Whose management token it was; `null`: it was a bootstrap token. */
  readonly registrationId: string | null
}

/** Who was found for a request, refused or not; `undefined`: nobody. */
export function identified(request: FastifyRequest): Identified | undefined {
  const caller = request.getDecorator<Caller | null>(CALLER)
  const manager = request.getDecorator<Manager | null>(MANAGER)
  const where = { requestId: request.id, clientAddress: request.ip }
  if (caller !== null) {
    const { id } = caller.token
    return { actor: { kind: 'token', id, ...where }, tokenId: id, registrationId: null }
  }
  if (manager === null) return undefined
  const { id, tokenId } = manager.registration
  return { actor: { kind: 'registration', id, ...where }, tokenId, registrationId: id }
}

/** Who acts by a request. Only for routes behind {@link authenticate} or {@link authenticateManager}. */
export function actorOf(request: FastifyRequest): Actor {
  const found = identified(request)
  if (found === undefined) throw new Error('the route does not authenticate')
  return found.actor
}

/** `Authorization: Bearer <credential>` (RFC 6750, section 2.1); the scheme's name in any case (RFC 9110). */
function bearerCredential(header: string | undefined): string {
  const [, scheme = '', credential = ''] = header?.match(/^(\S+) +(\S+) *$/) ?? []
  if (scheme.toLowerCase() !== 'bearer') {
    throw new ServiceError('missing_token', 'The request carries no "Authorization: Bearer …" header.')
  }
  return credential
}
