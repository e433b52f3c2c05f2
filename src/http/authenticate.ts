import type { FastifyInstance, FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import { authenticateBootstrapToken, type Caller } from '../auth/bootstrap-token.ts'
import { ServiceError } from '../errors.ts'
import type { Store } from '../store/store.ts'

const CALLER = 'caller'

/** Makes room on every request for the caller that {@link authenticate} finds. */
export function prepareAuthentication(app: FastifyInstance): void {
  app.decorateRequest(CALLER, null)
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

/** `Authorization: Bearer <credential>` (RFC 6750, section 2.1); the scheme's name in any case (RFC 9110). */
function bearerCredential(header: string | undefined): string {
  const [, scheme = '', credential = ''] = header?.match(/^(\S+) +(\S+) *$/) ?? []
  if (scheme.toLowerCase() !== 'bearer') {
    throw new ServiceError('missing_token', 'The request carries no "Authorization: Bearer …" header.')
  }
  return credential
}
