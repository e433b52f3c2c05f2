import { KEPT_MS } from '../federation.ts'
import type { BeginOutcome } from '../minting.ts'
import type { NewRegistration, Proof } from '../records.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Condition, put, remove, type Write } from './expressions.ts'
import { idempotencyKey, nameKey, proofKey, readHolder, type StoredRegistration } from './item-codec.ts'

/** The time at which DynamoDB removes what expired at `expiresAt`: as long again after {@link KEPT_MS}, in case a clock is behind. */
export const claimTtl = (expiresAt: number): number => Math.ceil((expiresAt + 2 * KEPT_MS) / 1_000)

/** The item that claims a proof. @param holder the registration or rotation; `null`: an access token */
export function claimedProof({ hash, expiresAt }: Proof, holder: string | null) {
  return { ...proofKey(hash), ...(holder === null ? {} : { holder }), ttl: claimTtl(expiresAt) }
}

/** The item that says which registration holds a name. */
export function heldName({ id, tokenId, name }: Pick<NewRegistration, 'id' | 'tokenId' | 'name'>) {
  return { ...nameKey(tokenId, name), holder: id }
}

/**
 * The writes by which a registration or rotation claims its proof and its name. Of two processes that claim the same, the
 * second finds the item of the first.
 */
export function claimWrites(one: NewRegistration): Write[] {
  const { id, federated } = one
  if (federated === null) return []
  return [
    ...(federated.proof === null ? [] : [put(claimedProof(federated.proof, id))]),
    ...(federated.holdsName ? [put(heldName(one))] : []),
  ]
}

/**
 * Returns what another registration holds of that which this one wants to claim; `undefined`: nothing. Read one after the other,
 * in this order: a registration that fails meanwhile gives all back in one transaction, so that what is found first is never
 * missing while the rest is still there.
 */
export async function findHolder(
  db: DynamoDbConnection,
  { tokenId, name, idempotency, federated }: NewRegistration,
): Promise<Exclude<BeginOutcome, { outcome: 'begun' }> | undefined> {
  if (idempotency !== null && (await db.get(idempotencyKey(tokenId, idempotency.keyHash))) !== undefined)
    return { outcome: 'duplicate' }
  const proof = federated?.proof && (await db.get(proofKey(federated.proof.hash)))
  if (proof) return { outcome: 'replayed', holder: readHolder(proof) }
  const holder = federated?.holdsName ? await findNameHolder(db, tokenId, name) : undefined
  return holder === undefined ? undefined : { outcome: 'name_taken', registrationId: holder }
}

/** The id of the registration that holds a name. */
export async function findNameHolder(
  db: DynamoDbConnection,
  tokenId: string,
  name: string,
): Promise<string | undefined> {
  const item = await db.get(nameKey(tokenId, name))
  return item === undefined ? undefined : (readHolder(item) ?? undefined)
}

/** The proofs that these registrations and rotations still hold, by the ids of the holders. */
export async function readProofs(
  db: DynamoDbConnection,
  registrations: readonly NewRegistration[],
): Promise<ReadonlySet<string>> {
  const keys = registrations.flatMap(({ federated }) =>
    federated?.proof ? proofKey(federated.proof.hash) : [],
  )
  return new Set((keys.length === 0 ? [] : await db.getAll(keys)).flatMap((item) => readHolder(item) ?? []))
}

/** The item belongs to this registration or rotation, or there is none. */
const ownOrNone = (id: string): Condition => ({
  when: 'attribute_not_exists(#pk) OR #holder = :holder',
  values: { holder: id },
})

/** The write by which a registration or rotation that fails gives its proof back. */
export function giveProofBack({ id, federated }: NewRegistration): Write[] {
  return federated?.proof ? [remove(proofKey(federated.proof.hash), ownOrNone(id))] : []
}

/** The write by which a registration that holds its place gives its name back. */
export function giveNameBack({ id, tokenId, name, federated, holdsPlace }: StoredRegistration): Write[] {
  return holdsPlace && federated?.holdsName ? [remove(nameKey(tokenId, name), ownOrNone(id))] : []
}
