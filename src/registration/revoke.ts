import type { ApiGateway } from '../aws/api-gateway.ts'
import type { Actor } from '../store/audit.ts'
import { type DeleteKeysDeps, deleteKey } from './jobs/delete-keys.ts'

export type RevokeDeps = DeleteKeysDeps & { readonly apiGateway: ApiGateway }

/**
 * Takes the keys of a registration back. The intent is recorded first: from then on nobody is given a key of it, and
 * where this process dies or API Gateway fails, they are deleted all the same. Safe to repeat.
 * @returns when its keys are gone
 * @throws ServiceError if that could not be done now
 */
export async function revoke(deps: RevokeDeps, registrationId: string, actor: Actor): Promise<void> {
  const ending = await deps.store.revokeRegistration(registrationId, actor, deps.clock())
  const results = await Promise.allSettled(ending.map((one) => deleteKey(deps, deps.apiGateway, one)))
  for (const result of results) if (result.status === 'rejected') throw result.reason
}
