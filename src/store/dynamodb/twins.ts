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

/** The places of earlier ones that claim the same: a transaction writes each item once. */
type Firsts = Readonly<Record<'poolKey' | 'idempotency' | 'proof' | 'name', number | undefined>>

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
 * @param begin begins those of which no two claim the same. @returns their outcomes, in their order
 * @returns the outcomes, in the order of `all`
 */
export async function beginInTurn<T, O extends { readonly outcome: string }>(
  all: readonly T[],
  beginningOf: (one: T) => Beginning,
  begin: (fresh: readonly T[]) => Promise<readonly (O | undefined)[]>,
): Promise<(O | Held)[]> {
  const beginnings = all.map(beginningOf)
  const firsts = findFirsts(beginnings)
  const outcomes: (O | Held | undefined)[] = []
  /** Begins those at these places. */
  const run = async (
    places: readonly number[],
    begin: (some: readonly T[]) => Promise<readonly (O | Held | undefined)[]>,
  ) => {
    const some = places.flatMap((place) => all.slice(place, place + 1))
    const own = some.length === 0 ? [] : await begin(some)
    for (const [i, place] of places.entries()) outcomes[place] = own[i]
  }
  const places = [...all.keys()]
  await run(
    places.filter((place) => !firsts.has(place)),
    begin,
  )
  for (const [place, claimed] of firsts) outcomes[place] = outcomeOfTwin(claimed, beginnings, outcomes)
  await run(
    places.filter((place) => firsts.has(place) && outcomes[place] === undefined),
    (left) => beginInTurn(left, beginningOf, begin),
  )
  return beginnings.map(({ registration }, place) => {
    const outcome = outcomes[place]
    if (outcome === undefined) throw new Error(`beginning ${registration.id} had no outcome`)
    return outcome
  })
}

/** Finds those that claim the same as an earlier one, by their places. */
function findFirsts(beginnings: readonly Beginning[]): ReadonlyMap<number, Firsts> {
  const seen = new Map<string, number>()
  const found = new Map<number, Firsts>()
  for (const [place, { registration, poolKeyId }] of beginnings.entries()) {
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
    if (Object.values(firsts).some((first) => first !== undefined)) found.set(place, firsts)
    else for (const claim of Object.values(claims)) if (claim) seen.set(claim, place)
  }
  return found
}

/** The outcome of one whose claims earlier ones have; `undefined`: it is to be begun, because none of those does now. */
function outcomeOfTwin<O extends { readonly outcome: string }>(
  { poolKey, idempotency, proof, name }: Firsts,
  beginnings: readonly Beginning[],
  outcomes: readonly (O | undefined)[],
): O | Held | undefined {
  if (poolKey !== undefined) return undefined // The table says whether the key is left.
  const outcomeOf = (first: number | undefined) => (first === undefined ? undefined : outcomes[first])
  const begunOf = (first: number | undefined) =>
    first !== undefined && BEGUN.has(outcomeOf(first)?.outcome ?? '')
      ? beginnings[first]?.registration
      : undefined
  if (begunOf(idempotency)) return { outcome: 'duplicate' }
  const replayed = begunOf(proof)
  if (replayed) return { outcome: 'replayed', holder: replayed.id }
  const named = begunOf(name)
  if (named) return { outcome: 'name_taken', registrationId: named.id }
  const same = outcomeOf(idempotency)
  const isOwn = proof !== undefined || name !== undefined || OF_ITS_OWN.has(same?.outcome ?? '')
  return isOwn ? undefined : same
}
