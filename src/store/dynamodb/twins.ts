import type { BeginOutcome } from '../minting.ts'
import type { NewRegistration } from '../records.ts'
import { idempotencyKey, nameKey, proofKey } from './item-codec.ts'

/** A registration or rotation that begins, and the pool key that it takes, if it takes one. */
interface Beginning {
  readonly registration: NewRegistration
  readonly poolKeyId?: string
}

/** The outcomes that follow from what an earlier one of the same call holds. */
type Held = Extract<BeginOutcome, { readonly outcome: 'duplicate' | 'replayed' | 'name_taken' }>

/** What an earlier one of the same call claims as well: a transaction writes each item once. */
type Firsts = Readonly<Record<'poolKey' | 'idempotency' | 'proof' | 'name', NewRegistration | undefined>>

/** The outcomes of a first that say nothing about a second one with the same idempotency key. */
const OF_ITS_OWN: ReadonlySet<string> = new Set([
  'replayed',
  'name_taken',
  'key_lost',
  'not_awaited',
  'expired',
])
const BEGUN: ReadonlySet<string> = new Set(['begun', 'handed_out'])

/**
 * Begins registrations and rotations as if one after the other, although the second of two with one pool key, idempotency key,
 * proof or name cannot be written together with the first: it is begun afterwards, unless the first settles its outcome.
 * @param begin begins those of which no two claim the same. @returns their outcomes
 * @returns the outcomes, in the order of `all`
 */
export async function beginInTurn<T, O extends { readonly outcome: string }>(
  all: readonly T[],
  beginningOf: (one: T) => Beginning,
  begin: (fresh: readonly T[]) => Promise<ReadonlyMap<T, O>>,
): Promise<(O | Held)[]> {
  const { fresh, twins } = withoutTwins(all, beginningOf)
  const outcomes = new Map<T, O | Held>(await begin(fresh))
  const byFirst = new Map(fresh.map((one) => [beginningOf(one).registration, outcomes.get(one)]))
  const left: T[] = []
  for (const [twin, firsts] of twins) {
    const outcome = outcomeOfTwin(firsts, byFirst)
    if (outcome === undefined) left.push(twin)
    else outcomes.set(twin, outcome)
  }
  const later = left.length === 0 ? [] : await beginInTurn(left, beginningOf, begin)
  for (const [i, outcome] of later.entries()) {
    const twin = left[i]
    if (twin !== undefined) outcomes.set(twin, outcome)
  }
  return all.map((one) => {
    const outcome = outcomes.get(one)
    if (outcome === undefined) throw new Error(`beginning ${beginningOf(one).registration.id} had no outcome`)
    return outcome
  })
}

/** Sets aside the second of two that claim the same. */
function withoutTwins<T>(all: readonly T[], beginningOf: (one: T) => Beginning) {
  const seen = new Map<string, NewRegistration>()
  const twins = new Map<T, Firsts>()
  const fresh = all.filter((one) => {
    const { registration, poolKeyId } = beginningOf(one)
    const { tokenId, name, idempotency, federated } = registration
    const claims = {
      poolKey: poolKeyId,
      idempotency: idempotency && idempotencyKey(tokenId, idempotency.keyHash).pk,
      proof: federated?.proof && proofKey(federated.proof.hash).pk,
      name: federated?.holdsName ? nameKey(tokenId, name).pk : null,
    }
    const firstOf = (claim: string | null | undefined) => (claim ? seen.get(claim) : undefined)
    const firsts: Firsts = {
      poolKey: firstOf(claims.poolKey),
      idempotency: firstOf(claims.idempotency),
      proof: firstOf(claims.proof),
      name: firstOf(claims.name),
    }
    if (Object.values(firsts).some((first) => first !== undefined)) {
      twins.set(one, firsts)
      return false
    }
    for (const claim of Object.values(claims)) if (claim) seen.set(claim, registration)
    return true
  })
  return { fresh, twins }
}

/** The outcome of one that was set aside; `undefined`: it is to be begun, because none before it claimed the same. */
function outcomeOfTwin<O extends { readonly outcome: string }>(
  { poolKey, idempotency, proof, name }: Firsts,
  outcomes: ReadonlyMap<NewRegistration, O | undefined>,
): O | Held | undefined {
  if (poolKey) return undefined // The database says that the key is gone, or that it is left.
  const outcomeOf = (first: NewRegistration | undefined) => first && outcomes.get(first)
  const isBegun = (first: NewRegistration | undefined) => BEGUN.has(outcomeOf(first)?.outcome ?? '')
  if (isBegun(idempotency)) return { outcome: 'duplicate' }
  if (proof && isBegun(proof)) return { outcome: 'replayed', holder: proof.id }
  if (name && isBegun(name)) return { outcome: 'name_taken', registrationId: name.id }
  const same = outcomeOf(idempotency)
  return proof || name || OF_ITS_OWN.has(same?.outcome ?? '') ? undefined : same
}
