import { randomBytes } from 'node:crypto'
import { abortAfter } from '../../abort-after.ts'
import { randomBase62 } from '../../auth/random.ts'
import type { ListedKey } from '../../aws/keys.ts'
import type { Plan } from '../../config.ts'
import type { Actor } from '../../store/audit.ts'
import type { BootstrapToken, DailyUsage } from '../../store/records.ts'
import type { RegistrationDeps } from '../deps.ts'
import { clientNameOf, idsOfKey, isPoolKey, KEY_NAME_PREFIXES } from '../key-names.ts'
import { readDaysUsed } from './days-used.ts'

/** The label of the bootstrap tokens to which adopted registrations belong. */
const ADOPTED_LABEL = 'adopted by firstkey reconcile'

export type UnknownKeyDeps = Pick<
  RegistrationDeps,
  'store' | 'lowPriorityApiGateway' | 'clock' | 'timing' | 'log'
> & { readonly config: { readonly plans: readonly Plan[] } }

/** A key of this store without a record: the store was restored from a backup that is older than the key. */
export interface UnknownKey extends ListedKey {
  /** `null`: it is on none of the usage plans of the service. */
  readonly plan: Plan | null
  /** The days of the last 90 on which it was used, with the requests of each; `null`: that cannot be read. */
  readonly daysUsed: DailyUsage | null
}

/** Reads the usage plans of keys, and whether they were used. @throws ServiceError of API Gateway */
export async function lookAtUnknown(
  { config, lowPriorityApiGateway, clock, timing, log }: UnknownKeyDeps,
  keys: readonly ListedKey[],
  signal: AbortSignal,
): Promise<UnknownKey[]> {
  if (keys.length === 0) return []
  const planOf = new Map<string, Plan>()
  for (const plan of config.plans)
    for (const prefix of KEY_NAME_PREFIXES)
      for (const { id } of await lowPriorityApiGateway.findAttached(plan.usagePlanId, prefix, signal))
        planOf.set(id, plan)
  const looked: UnknownKey[] = []
  for (const key of keys) {
    const plan = planOf.get(key.id) ?? null
    const usagePlanId = plan?.usagePlanId ?? config.plans[0]?.usagePlanId ?? ''
    const limit = abortAfter(timing.undo)
    const daysUsed = await readDaysUsed(
      lowPriorityApiGateway,
      { apiKeyId: key.id, usagePlanId },
      clock(),
      limit.signal,
    )
      .catch((err: unknown) => {
        log.warn({ api_key_id: key.id, err }, 'could not read whether the key was used')
        return null
      })
      .finally(() => limit.cancel())
    looked.push({ ...key, plan, daysUsed })
  }
  return looked
}

/** The key was used in the last 90 days, as far as is known. */
export const mayBeInUse = ({ daysUsed }: Pick<UnknownKey, 'daysUsed'>): boolean =>
  daysUsed === null || Object.keys(daysUsed).length > 0

/**
 * Records keys as registrations, so that they can be listed, rotated, suspended and revoked. Which token they were registered
 * with is lost, and so are their management tokens and their expiry: they belong to a token of their own, which is revoked.
 * @returns the token, and the keys that were recorded; a key that is on no usage plan of the service is left out
 * @throws ServiceError of the store
 */
export async function adoptKeys(
  { store, clock, log }: UnknownKeyDeps,
  keys: readonly UnknownKey[],
  actor: Actor,
): Promise<{ tokenId: string; adopted: UnknownKey[] }> {
  const token = newAdoptionToken(clock())
  await store.createToken(token, actor)
  const adopted: UnknownKey[] = []
  for (const key of keys) {
    const { plan } = key
    // A pool key may have been that of a rotation: it becomes a registration, like one of the pool.
    const [id] = idsOfKey(key.name)
    if (plan === null || id === undefined) continue
    // The description of a pool key says that no caller has it, which is not known.
    const description = isPoolKey(key.name) ? '' : key.description
    const registration = {
      ...{ id, tokenId: token.id, name: clientNameOf(key.name), description },
      ...{ plan: plan.name, usagePlanId: plan.usagePlanId, apiKeyId: key.id },
      // The hash of no token.
      managementHash: randomBytes(32),
      createdAt: key.createdAt ?? clock(),
    }
    if (!(await store.adoptKey(registration, actor, clock()))) continue
    adopted.push(key)
    log.info({ registration_id: id, api_key_id: key.id }, 'unknown key adopted')
  }
  return { tokenId: token.id, adopted }
}

/** A token that cannot be used: it is revoked, and there is no secret with its hash. */
function newAdoptionToken(now: number): BootstrapToken {
  return {
    id: `tok_${randomBase62(20)}`,
    secretHash: randomBytes(32),
    label: ADOPTED_LABEL,
    plans: [],
    maxUses: null,
    uses: 0,
    expiresAt: null,
    keyTtlMs: null,
    namePrefix: '',
    ratePerMinute: null,
    createdAt: now,
    revokedAt: now,
    federation: null,
  }
}
