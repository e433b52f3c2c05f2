import type { ApiGateway } from '../aws/api-gateway.ts'
import type { Actor } from '../store/audit.ts'
import { type DeleteKeysDeps, deleteKey } from './jobs/delete-keys.ts'

export type RevokeDeps = DeleteKeysDeps & { readonly apiGateway: ApiGateway }

/**
 * Revokes a registration and deletes its keys. The revocation is recorded first: from then on no key of it is returned, and
 * the jobs delete its keys if this process dies or API Gateway fails. Safe to repeat.
 * @throws ServiceError if a key cannot be deleted now
 */
export async function revoke(deps: RevokeDeps, registrationId: string, actor: Actor): Promise<void> {
  const ending = await deps.store.revokeRegistration(registrationId, actor, deps.clock())
  const results = await Promise.allSettled(ending.map((one) => deleteKey(deps, deps.apiGateway, one)))
  for (const result of results) if (result.status === 'rejected') throw result.reason
}
