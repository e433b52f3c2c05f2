import type { Log } from '../../log.ts'
import type { NewRegistration } from '../../store/records.ts'
import type { RegistrationDeps } from '../deps.ts'
import { keyName, poolKeyIdOf, registrationIdOf } from '../key-names.ts'

/** Renames the keys that were handed out to the names and descriptions of their registrations, after the responses. */
export interface KeyRenamer {
  /** Notes a key. One that cannot be renamed keeps its name until the upkeep of the pool finds it. */
  add(registration: NewRegistration, apiKeyId: string): void
  /** Ends the renaming. Resolves when no call is running. */
  stop(): Promise<void>
}

export type RenameDeps = Pick<RegistrationDeps, 'lowPriorityApiGateway' | 'timing'> & { readonly log: Log }

/**
 * Gives a key that was handed out the name and description of its registration. One that does not have the name of that pool key
 * any more keeps its name: it is renamed already, or an operator renamed it.
 * @throws ServiceError of API Gateway
 */
export async function renameHandedOut(
  { lowPriorityApiGateway }: Pick<RenameDeps, 'lowPriorityApiGateway'>,
  registration: Pick<NewRegistration, 'id' | 'name' | 'description' | 'rotation'>,
  apiKeyId: string,
  signal: AbortSignal,
): Promise<void> {
  const key = { name: keyName(registration), description: registration.description }
  const hasPoolName = (name: string) => registrationIdOf(name) === poolKeyIdOf(registration.id)
  await lowPriorityApiGateway.renameKey(apiKeyId, key, hasPoolName, signal)
}

/** The maximum number of keys that wait. The upkeep of the pool finds further ones. */
const MAX_WAITING = 10_000

export function createKeyRenamer(deps: RenameDeps): KeyRenamer {
  const { timing, log } = deps
  const waiting = new Map<string, NewRegistration>()
  const stopping = new AbortController()
  let timer: NodeJS.Timeout | undefined
  let running = Promise.resolve()

  async function renameAll(): Promise<void> {
    for (const [apiKeyId, registration] of waiting) {
      if (stopping.signal.aborted) return
      waiting.delete(apiKeyId)
      const limit = AbortSignal.any([stopping.signal, AbortSignal.timeout(timing.undo)])
      try {
        await renameHandedOut(deps, registration, apiKeyId, limit)
      } catch (err) {
        if (stopping.signal.aborted) return
        const fields = { registration_id: registration.id, api_key_id: apiKeyId, err }
        log.info(fields, 'could not rename a key of the pool; a later round will')
      }
    }
  }

  return {
    add(registration, apiKeyId) {
      if (stopping.signal.aborted || waiting.size >= MAX_WAITING) return
      waiting.set(apiKeyId, registration)
      timer ??= setTimeout(() => {
        timer = undefined
        running = running.then(renameAll)
      }, timing.poolRename).unref()
    },
    async stop() {
      stopping.abort()
      clearTimeout(timer)
      await running
    },
  }
}
