import { entryOf } from '../audit.ts'
import { FROM_THE_POOL, type HandOut, type HandOutOutcome } from '../pool.ts'
import type { Rotation } from '../records.ts'
import type { DynamoDbAudit } from './audit.ts'
import { linkOf, readRotatable } from './begin-rotation.ts'
import { countBeginWrites, pointerOf } from './begin-writes.ts'
import { chunkBySize, MAX_WRITES } from './chunk.ts'
import { claimWrites, findHolder } from './claims.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Condition, put, remove, type Write } from './expressions.ts'
import { toAnsweredItem } from './item-codec.ts'
import { poolKey, readPoolKey } from './pool-items.ts'
import { forgetUnanswered, readUnanswered, sameRotations, takePlace } from './rotations.ts'
import { groupByToken, spend, spendRecord, WRITES_OF_A_TOKEN, whyRefused } from './token-uses.ts'
import { beginInTurn } from './twins.ts'

type Outcomes = Map<HandOut, HandOutOutcome>

/** The writes of a hand-out besides those of beginning: the pool key, and the audit entry. */
const WRITES_OF_A_KEY = 2

/** Before the first pool key was recorded. */
const NEVER = -1

/** The parts of the store that a hand-out needs, and its time. */
interface Context {
  readonly db: DynamoDbConnection
  readonly audit: DynamoDbAudit
  readonly now: number
  /** The time of the backup from which the table was restored: earlier pool keys are not handed out. `null`: it was not. */
  readonly restoredAsOf: number | null
}

/**
 * {@link PoolStore.handOutPoolKeys}. As many registrations as fit are one transaction, with one spend of each token; a rotation
 * has its own. If one transaction fails, the others are ended before this throws: then none is on its way from here.
 */
export async function handOutPoolKeys(
  context: Context,
  handOuts: readonly HandOut[],
): Promise<HandOutOutcome[]> {
  const errors: unknown[] = []
  return beginInTurn(
    handOuts,
    (one) => one,
    async (fresh) => {
      const outcomes: Outcomes = new Map()
      await context.db.each(inLines(fresh), async (line) => {
        try {
          for (const chunk of line) await handOutChunk(context, chunk, outcomes)
        } catch (error) {
          errors.push(error)
        }
      })
      if (errors.length > 0) throw errors[0]
      return fresh.map((one) => outcomes.get(one))
    },
  )
}

/**
 * Splits hand-outs into chunks of one transaction each, and these into lines. The chunks of a line are written one after the
 * other, because they change the same token or the same registration: side by side they would only conflict.
 */
function inLines(handOuts: readonly HandOut[]): HandOut[][][] {
  const { roots = [], rotations = [] } = Object.groupBy(handOuts, ({ registration }) =>
    registration.rotation === null ? 'roots' : 'rotations',
  )
  const byToken = [...Map.groupBy(roots, ({ registration }) => registration.tokenId).values()]
  const room = MAX_WRITES - WRITES_OF_A_TOKEN
  const isSmall = (own: readonly HandOut[]) => sizeOf(own) <= room
  const small = chunkBySize(byToken.filter(isSmall), (own) => sizeOf(own) + WRITES_OF_A_TOKEN)
  const large = byToken.filter((own) => !isSmall(own))
  const byRoot = Map.groupBy(rotations, ({ registration }) => registration.rotation?.of)
  return [
    ...small.map((groups) => [groups.flat()]),
    ...large.map((own) => chunkBySize(own, (one) => sizeOf([one]), room)),
    ...[...byRoot.values()].map((own) => own.map((one) => [one])),
  ]
}

/** The number of writes of hand-outs, without those of their tokens. */
function sizeOf(handOuts: readonly HandOut[]): number {
  return handOuts.reduce((sum, { registration }) => sum + WRITES_OF_A_KEY + countBeginWrites(registration), 0)
}

async function handOutChunk(context: Context, chunk: readonly HandOut[], outcomes: Outcomes): Promise<void> {
  const [first] = chunk
  const rotation = first?.registration.rotation
  if (first && rotation) outcomes.set(first, await handOutRotation(context, first, rotation))
  else await handOutTogether(context, chunk, outcomes)
}

/**
 * Spends the uses, records the registrations and removes the pool keys in one transaction. Those whose condition is not met drop
 * out, and the others are tried again.
 */
async function handOutTogether(
  context: Context,
  chunk: readonly HandOut[],
  outcomes: Outcomes,
): Promise<void> {
  const { db, now } = context
  const settle = (some: readonly HandOut[], outcome: HandOutOutcome) => {
    for (const one of some) outcomes.set(one, outcome)
  }
  for (let left = chunk; left.length > 0; left = left.filter((one) => !outcomes.has(one))) {
    const unwanted = left.flatMap((one) => {
      const outcome = whyUnwanted(one, now)
      return outcome === undefined ? [] : [{ one, outcome }]
    })
    const lost = await findLost(
      context,
      unwanted.map(({ one }) => one),
    )
    for (const { one, outcome } of unwanted)
      outcomes.set(one, lost.has(one) ? { outcome: 'key_lost' } : outcome)
    const wanted = left.filter((one) => !outcomes.has(one))
    if (wanted.length === 0) return
    const tokens = groupByToken(wanted.map(({ registration }) => registration))
    const spends = [
      ...tokens.map(([tokenId, own]) => spend(tokenId, own)),
      ...tokens.map(([tokenId, own]) => put(spendRecord(tokenId, own))),
    ]
    const own = wanted.flatMap((one) => handOutWrites(context, one).map((write) => ({ one, ...write })))
    const unmet = await db.transact([...spends, ...own.map(({ write }) => write)])
    if (unmet.length === 0) return settle(wanted, { outcome: 'handed_out', replaced: null })
    const refused = unmet.flatMap((place) => own[place - spends.length] ?? [])
    settle(
      refused.filter(({ isOfKey }) => isOfKey).map(({ one }) => one),
      { outcome: 'key_lost' },
    )
    const claiming = new Set(refused.map(({ one }) => one).filter((one) => !outcomes.has(one)))
    await db.each([...claiming], async (one) => {
      const held = await findHolder(db, one.registration)
      // Given back meanwhile: it is tried again.
      if (held !== undefined) outcomes.set(one, held)
    })
    for (const [place, [tokenId]] of tokens.entries()) {
      if (!unmet.includes(place)) continue
      const others = wanted.filter((one) => one.registration.tokenId === tokenId && !outcomes.has(one))
      const { allowed, token } = await whyRefused(
        db,
        tokenId,
        others.map(({ registration }) => registration),
      )
      settle(others.slice(allowed), { outcome: 'refused', token })
    }
  }
}

/**
 * Hands out a pool key for a rotation, which begins and takes its place in one transaction: of two that race for one
 * registration, in this process or another, one finds that the registration has changed, and reads it again.
 */
async function handOutRotation(context: Context, one: HandOut, { of }: Rotation): Promise<HandOutOutcome> {
  const { db, now } = context
  const { registration } = one
  for (;;) {
    if ((await findLost(context, [one])).has(one)) return { outcome: 'key_lost' }
    const held = await findHolder(db, registration)
    const found = await readRotatable(db, of, registration.createdAt)
    const unwanted = whyUnwanted(one, now)
    if (unwanted !== undefined) return unwanted
    if (held !== undefined) return held
    if (typeof found === 'string') return { outcome: found }
    const { root, current } = found
    const unanswered = await readUnanswered(db, root)
    const place = await takePlace(db, registration, found, now, {
      set: unanswered === undefined ? {} : { forgottenRotation: unanswered.id },
      conditions: sameRotations(root),
    })
    const own = handOutWrites(context, one, current.id)
    const unmet = await db.transact([
      ...own.map(({ write }) => write),
      put(linkOf(registration, of)),
      ...place.writes,
      ...(unanswered === undefined ? [] : forgetUnanswered(unanswered)),
    ])
    if (unmet.length === 0) return { outcome: 'handed_out', replaced: place.replaced }
    if (unmet.some((place) => own[place]?.isOfKey)) return { outcome: 'key_lost' }
  }
}

/** The outcome of a hand-out that nothing is to be written for, if its key is there; `undefined`: it is to be made. */
function whyUnwanted(
  { registration: { expiresAt }, isAwaited }: HandOut,
  now: number,
): HandOutOutcome | undefined {
  if (!isAwaited()) return { outcome: 'not_awaited' }
  return expiresAt !== null && expiresAt <= now ? { outcome: 'expired' } : undefined
}

/** Those of the hand-outs whose keys cannot be handed out. */
async function findLost(
  { db, restoredAsOf }: Context,
  handOuts: readonly HandOut[],
): Promise<ReadonlySet<HandOut>> {
  if (handOuts.length === 0) return new Set()
  const items = await db.getAll(handOuts.map(({ poolKeyId }) => poolKey(poolKeyId)))
  const keys = new Map(items.map(readPoolKey).map((key) => [key.id, key]))
  return new Set(
    handOuts.filter(({ poolKeyId, owner, apiKeyId, registration: { usagePlanId } }) => {
      const key = keys.get(poolKeyId)
      const isSame = key?.holder === owner && key.apiKeyId === apiKeyId && key.usagePlanId === usagePlanId
      return !(isSame && key.state === 'ready' && key.createdAt > (restoredAsOf ?? NEVER))
    }),
  )
}

interface HandOutWrite {
  readonly write: Write
  /** Its condition is that the pool key is there: it was not handed out, discarded or taken over. */
  readonly isOfKey: boolean
}

/** The writes of a hand-out. @param replacedId of a rotation: the record whose key it replaces */
function handOutWrites(
  { audit, now, restoredAsOf }: Context,
  { poolKeyId, owner, registration, apiKeyId, actor }: HandOut,
  replacedId?: string,
): HandOutWrite[] {
  const { idempotency, rotation, usagePlanId } = registration
  // Exactly once: of two hand-outs of a key, of a hand-out and a take-over, and of a hand-out and a discarding, the first wins.
  const isThere: Condition = {
    when: '#state = :ready AND #holder = :owner AND #apiKeyId = :apiKeyId AND #usagePlanId = :usagePlanId AND #createdAt > :asOf',
    values: { ready: 'ready', owner, apiKeyId, usagePlanId, asOf: restoredAsOf ?? NEVER },
  }
  const action = rotation === null ? 'registration.created' : 'registration.rotated'
  const entry = entryOf(action, { ...registration, apiKeyId }, { at: now, actor, detail: FROM_THE_POOL })
  const replaced = replacedId === undefined ? {} : { replacedId }
  return [
    ...[
      remove(poolKey(poolKeyId), isThere),
      put({ ...toAnsweredItem(registration, apiKeyId, now), ...replaced }),
    ].map((write) => ({ write, isOfKey: true })),
    ...[
      ...(idempotency === null ? [] : [put(pointerOf(registration, idempotency.keyHash))]),
      ...claimWrites(registration),
      audit.write(entry),
    ].map((write) => ({ write, isOfKey: false })),
  ]
}
