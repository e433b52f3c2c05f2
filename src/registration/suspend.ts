import type { ApiGateway } from '../aws/api-gateway.ts'
import type { Actor } from '../store/audit.ts'
import { type SwitchKeysDeps, switchKey } from './jobs/switch-keys.ts'

export type SuspendDeps = SwitchKeysDeps & { readonly apiGateway: ApiGateway }

/**
 * Suspends a registration: disables its keys in API Gateway. This is recorded first: from then on its owner receives no key
 * of it and cannot rotate it, and the jobs disable the keys if this process dies or API Gateway fails. Its owner can still
 * revoke it, and its expiry goes on. Safe to repeat.
 * @returns the ids of its keys that no longer exist
 * @throws ServiceError if a key cannot be disabled now
 */
export function suspend(deps: SuspendDeps, registrationId: string, actor: Actor): Promise<string[]> {
  return setSuspended(deps, registrationId, true, actor)
}

/** Resumes a suspended registration: the reverse of {@link suspend}. @throws ServiceError if a key cannot be enabled now */
export function resume(deps: SuspendDeps, registrationId: string, actor: Actor): Promise<string[]> {
  return setSuspended(deps, registrationId, false, actor)
}

async function setSuspended(
  deps: SuspendDeps,
  registrationId: string,
  suspended: boolean,
  actor: Actor,
): Promise<string[]> {
  const due = await deps.store.setSuspended(registrationId, suspended, actor, deps.clock())
  const results = await Promise.allSettled(due.map((one) => switchKey(deps, deps.apiGateway, one)))
  return results.flatMap((result) => {
    if (result.status === 'rejected') throw result.reason
    return result.value ?? []
  })
}
