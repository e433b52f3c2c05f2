import { setTimeout as sleep } from 'node:timers/promises'
import type { HandOutOutcome } from '../../store/pool.ts'
import type { Registration } from '../../store/records.ts'
import type { RegistrationDeps } from '../deps.ts'
import { registrationIdOfPoolKey, rotationIdOfPoolKey } from '../key-names.ts'
import { answerRecorded, type Recorded } from '../mint/complete.ts'
import { heldUntil, isAwaited, type MintRequest, notAwaited, type PendingMint } from '../mint/mint-request.ts'
import { prepare, refusalOf } from '../mint/record-pending.ts'
import { registrationEnded, takenOver } from '../use-case-errors.ts'
import type { HeldKey } from './held-keys.ts'
import type { Pool } from './pool.ts'
import type { KeyRenamer } from './rename-keys.ts'

export interface HandOutDeps extends RegistrationDeps {
  readonly pool: Pool
  readonly renamer: KeyRenamer
}

/** A request, and the key that was taken for it. */
export interface Offer {
  readonly request: MintRequest
  readonly key: HeldKey
}

/** An offer whose key can be handed out. */
interface PreparedOffer extends Offer {
  /** The API accepts the key; `null`: that was not seen. */
  readonly ready: boolean | null
}

/** The pauses between looks at the store after it failed (ms): a look that fails as well says nothing. */
const LOOK_PAUSES_MS = [0, 200, 500, 1_000, 2_000, 4_000]

/**
 * Hands out keys of the pool in one commit, without a call to AWS, and resolves or rejects their requests. A caller that waits for
 * a key that works waits for one that was not seen to, and delays no others. Never throws.
 * @param reopen called with a request whose key this process does not hold any more: it needs another key
 */
export async function handOut(
  deps: HandOutDeps,
  offers: readonly Offer[],
  reopen: (request: MintRequest) => void,
): Promise<void> {
  const { now = [], later = [] } = Object.groupBy(offers, (offer) => (isHeld(deps, offer) ? 'later' : 'now'))
  const commitNow = now.map((offer) => ({ ...offer, ready: offer.key.seenWorking || null }))
  await Promise.all([
    commit(deps, commitNow, reopen),
    ...later.map(async (offer) => commit(deps, [{ ...offer, ready: await probed(deps, offer) }], reopen)),
  ])
}

function isHeld({ keyProbe }: HandOutDeps, { request, key }: Offer): boolean {
  return keyProbe !== null && !key.seenWorking && heldUntil(request) !== null
}

async function probed({ keyProbe }: HandOutDeps, { request, key }: Offer): Promise<boolean | null> {
  const { apiKeyId: keyId, value } = key
  const tokenId = request.token.id
  return (await keyProbe?.untilAccepted({ keyId, value, tokenId }, () => heldUntil(request))) ?? null
}

async function commit(
  deps: HandOutDeps,
  offers: readonly PreparedOffer[],
  reopen: (request: MintRequest) => void,
): Promise<void> {
  if (offers.length === 0) return
  const { clock, meter, pool, renamer, store } = deps
  const mints = offers.map((offer) => prepareMint(deps, offer))
  const handOuts = offers.map(({ request, key }, i) => ({
    ...{ poolKeyId: key.id, owner: pool.heldKeys.owner, apiKeyId: key.apiKeyId },
    ...{ registration: mintAt(mints, i).registration, actor: request.call.actor },
    isAwaited: () => isAwaited(request),
  }))
  const at = clock()
  const recorded: Recorded[] = []
  const outcomes = await store
    .handOutPoolKeys(handOuts, at)
    .catch((error: unknown) => Promise.all(mints.map((mint) => lookUp(deps, mint, error))))
  for (const [i, { request, key, ready }] of offers.entries()) {
    const outcome = outcomes[i]
    switch (outcome?.outcome) {
      case 'handed_out':
        pool.heldKeys.handedOut(key)
        meter?.handedOut(key.plan)
        recorded.push({
          ...{ mint: mintAt(mints, i), apiKeyId: key.apiKeyId, ready },
          ...{ answered: true, replaced: outcome.replaced },
        })
        continue
      case 'key_lost':
        pool.heldKeys.suspect(key)
        reopen(request)
        continue
      case 'unknown':
        pool.heldKeys.suspect(key)
        request.reject(outcome.error)
        continue
      case 'not_awaited':
        request.reject(notAwaited(request))
        break
      case 'expired':
        request.reject(request.rotation === null ? takenOver(deps.timing) : registrationEnded())
        break
      case 'failed':
        request.reject(outcome.error)
        break
      default:
        // Not awaited: the others are answered meanwhile.
        Promise.resolve(refusalOf(deps, request, outcome)).then(request.reject, request.reject)
    }
    pool.heldKeys.putBack(key)
  }
  await answerRecorded(deps, recorded, at)
  for (const { mint, apiKeyId } of recorded) renamer.add(mint.registration, apiKeyId)
}

function prepareMint(deps: HandOutDeps, { request, key, ready }: PreparedOffer): PendingMint {
  const id = request.rotation === null ? registrationIdOfPoolKey(key.id) : rotationIdOfPoolKey(key.id)
  const secrets = { apiKeyValue: key.value, seenWorking: ready === true }
  const mint = prepare(deps, request, { id, owner: deps.pool.heldKeys.owner, ...secrets })
  const registration = key.seenWorking ? { ...mint.registration, seenWorking: true } : mint.registration
  return { ...mint, registration, keyMayExist: true, apiKeyId: key.apiKeyId }
}

function mintAt(mints: readonly PendingMint[], i: number): PendingMint {
  const mint = mints[i]
  if (mint === undefined) throw new Error('there are fewer registrations than offers')
  return mint
}

/** The outcome of a hand-out for which the store failed. `failed`: it is not handed out. `unknown`: it may be. */
type LateOutcome = HandOutOutcome | { readonly outcome: 'failed' | 'unknown'; readonly error: unknown }

/**
 * Looks whether a registration was recorded although the store failed. One whose write takes effect later is found by a retry
 * with its idempotency key, or stays in doubt; its key is not handed out twice, because a hand-out needs the pool key's record.
 */
async function lookUp(
  { store }: HandOutDeps,
  { id, registration }: PendingMint,
  error: unknown,
): Promise<LateOutcome> {
  for (const pause of LOOK_PAUSES_MS) {
    await sleep(pause)
    try {
      const record = await store.getRegistration(id)
      if (record === undefined) return { outcome: 'failed', error }
      // Another process took the key over since then, and handed it out.
      if (!Buffer.from(record.managementHash).equals(registration.managementHash))
        return { outcome: 'key_lost' }
      if (record.status !== 'active') return { outcome: 'unknown', error }
      const replaced = record.replacedId === null ? null : await replacedBy(store, record.replacedId)
      return { outcome: 'handed_out', replaced }
    } catch {
      // The store may be back for the next look.
    }
  }
  return { outcome: 'unknown', error }
}

async function replacedBy(store: RegistrationDeps['store'], id: string): Promise<Registration> {
  const replaced = await store.getRegistration(id)
  if (replaced === undefined) throw new Error(`the replaced record ${id} is missing`)
  return replaced
}
