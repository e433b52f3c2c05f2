import type { ListedKey } from '../../aws/keys.ts'
import type { Deps } from '../../deps.ts'
import { clientNameOf, KEY_NAME_PREFIXES, storeOf } from '../../registration/key-names.ts'
import { mayHaveKey } from '../../registration/lifecycle.ts'
import { recordOfKey } from '../../registration/record-of-key.ts'
import type { BootstrapToken, Registration, TokenPolicy } from '../../store/records.ts'
import type { Store } from '../../store/store.ts'

/** The mark of what a smoke makes: the label of its token, and the name and description of its registrations. */
const LABEL = 'firstkey smoke'
export const SMOKE_NAME = 'firstkey-smoke'
export const SMOKE_DESCRIPTION = 'Made by firstkey smoke, which deletes it again.'

/** The time after which a running server deletes what a smoke left that was killed, and the token is not usable (ms). */
const LIFETIME_MS = 2 * 3_600_000
const ALL = 1_000_000

/** Returns the policy of the token of one run. */
export function smokePolicy(plan: string, keys: number, now: number): TokenPolicy {
  return {
    ...{ label: LABEL, plans: [plan], maxUses: keys, namePrefix: SMOKE_NAME, ratePerMinute: null },
    ...{ expiresAt: now + LIFETIME_MS, keyTtlMs: LIFETIME_MS },
  }
}

const isSmokeToken = ({ label, namePrefix, federation }: BootstrapToken) =>
  federation === null && label === LABEL && namePrefix === SMOKE_NAME

/** The records of runs in the store that are not removed. */
interface LeftRecords {
  /** Tokens that are not revoked. */
  readonly tokens: readonly BootstrapToken[]
  /** Registrations that may have a key. */
  readonly registrations: readonly Registration[]
}

/** The keys and tokens that runs made and have not removed. */
export interface Leftovers extends LeftRecords {
  /** Keys of this store that no registration accounts for. */
  readonly keys: readonly ListedKey[]
  /** The number of keys that belong to other stores. */
  readonly ofOtherStores: number
}

/**
 * Finds what runs left, by their tokens and by the names of the keys in API Gateway. A key of a caller that took the same name is
 * left out: its record says so.
 * @param tokenId only what the run with this token left
 * @throws ServiceError of API Gateway and of the store
 */
export async function findLeftovers(
  { store, lowPriorityApiGateway }: Deps,
  signal: AbortSignal,
  tokenId?: string,
): Promise<Leftovers> {
  // The records first: a key is made only after its record is written.
  const records = await findRecords(store, tokenId)
  const keys: ListedKey[] = []
  let ofOtherStores = 0
  // A smoke rotates nothing, and takes no pool keys.
  const [prefix = ''] = KEY_NAME_PREFIXES
  for (const key of await lowPriorityApiGateway.findKeys(prefix, signal)) {
    const storeId = storeOf(key.name)
    if (storeId === undefined || storeId === null || clientNameOf(key.name) !== SMOKE_NAME) continue
    if (key.description !== SMOKE_DESCRIPTION) continue
    if (storeId !== store.id) ofOtherStores += 1
    else if (await isUnaccounted(store, key, tokenId)) keys.push(key)
  }
  return { ...records, keys, ofOtherStores }
}

/** Returns what the store has of {@link findLeftovers}. @throws ServiceError of the store */
export async function findRecords(store: Store, tokenId?: string): Promise<LeftRecords> {
  const tokens = (await store.listTokens()).filter(
    (token) => isSmokeToken(token) && (tokenId ?? token.id) === token.id,
  )
  const registrations: Registration[] = []
  for (const { id: tokenId } of tokens)
    registrations.push(...(await store.listRegistrations({ tokenId, limit: ALL })).filter(mayHaveKey))
  return { tokens: tokens.filter(({ revokedAt }) => revokedAt === null), registrations }
}

async function isUnaccounted(
  store: Store,
  { id: keyId, name }: ListedKey,
  tokenId: string | undefined,
): Promise<boolean> {
  const record = await recordOfKey(store, name)
  if (record === undefined) return tokenId === undefined
  if (mayHaveKey(record) || (tokenId ?? record.tokenId) !== record.tokenId) return false
  const token = await store.getToken(record.tokenId)
  if (token === undefined || !isSmokeToken(token)) return false
  // A list may show a deleted key for a while.
  return record.status === 'failed' || record.apiKeyId !== keyId
}

/** Says what is left, in words: "3 registrations with their keys, and a token". '' for nothing. */
export function describeLeftovers({ tokens, registrations, keys }: Omit<Leftovers, 'ofOtherStores'>): string {
  const failures = [...new Set(registrations.flatMap(({ failure }) => failure ?? []))]
  const why = failures.length === 0 ? '' : ` (the last deletion failed: ${failures.join(', ')})`
  const parts = [
    counted(registrations.length, `registration with its key${why}`, `registrations with their keys${why}`),
    counted(keys.length, 'key without a record', 'keys without a record'),
    counted(tokens.length, 'token that can be used', 'tokens that can be used'),
  ].filter((part) => part !== '')
  return parts.join(', ')
}

function counted(count: number, one: string, many: string): string {
  if (count === 0) return ''
  return count === 1 ? `1 ${one}` : `${count} ${many}`
}
