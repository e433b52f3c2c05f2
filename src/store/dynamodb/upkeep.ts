import { isDue, isInDoubt, LONGEST_AHEAD_MS, needsRecovery } from '../../registration/lifecycle.ts'
import { entryOf, SERVICE } from '../audit.ts'
import type { Registration } from '../records.ts'
import type { UpkeepStore } from '../upkeep.ts'
import type { DynamoDbAudit } from './audit.ts'
import { hasCome, IS_ACTIVE, IS_ENDING, IS_FAILED, leaseIsOver } from './conditions.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Condition, remove, update } from './expressions.ts'
import { keyOf, NOT_OPEN, type StoredRegistration, toRegistration } from './item-codec.ts'
import { endWrites } from './places.ts'
import { readAll, readChosen, readDue, readOne } from './reads.ts'
import { stopRotations } from './rotations.ts'
import { readAbandoned, refundAbandoned } from './token-uses.ts'
import { withoutLease } from './work-leases.ts'

/** The most entries of a shard that are counted: the number of keys that an account can have. */
const MOST_COUNTED = 10_000
/** The latest time of an index. */
const ANY_TIME = Number.MAX_SAFE_INTEGER
/** Seconds after which DynamoDB removes a leader lease that is not renewed. */
const LEADER_LEASE_TTL_S = 86_400

/** {@link UpkeepStore} on DynamoDB. */
export function dynamoDbUpkeep(db: DynamoDbConnection, audit: DynamoDbAudit): UpkeepStore {
  return {
    async listRecoverable(now, limit) {
      const needed = (page: readonly StoredRegistration[]) => page.filter((one) => needsRecovery(one, now))
      const choose = (page: readonly StoredRegistration[]) => withoutLease(db, needed(page), now)
      const open = await readChosen(db, 'open', { to: now, limit, beyond: now + LONGEST_AHEAD_MS }, choose)
      return open.sort(byAge).slice(0, limit).map(toRegistration)
    },
    async listInDoubt(answeredBy, limit) {
      const choose = (page: readonly StoredRegistration[]) => page.filter((one) => isInDoubt(one, answeredBy))
      const found = await readChosen(db, 'undelivered', { to: answeredBy, limit }, choose)
      return found.sort(byAnswer).slice(0, limit).map(toRegistration)
    },
    async listAbandonedUses(now, limit) {
      return (await readAbandoned(db, now, limit)).map(({ tokenId, count }) => ({ tokenId, count }))
    },
    refundAbandonedUses: async (now, limit) => refundAbandoned(db, await readAbandoned(db, now, limit)),
    async finishSweeps(ids, dueBy) {
      await db.each(ids, async (id) => {
        const done = { sweepAt: undefined, leaseOwner: undefined, ...NOT_OPEN }
        if (await db.write(update(keyOf(id), { set: done }, IS_FAILED, hasCome('sweepAt', dueBy)))) return
        // A sweep that was scheduled while this one ran looks for a key that was created later: it stays due.
        await db.write(update(keyOf(id), { set: { leaseOwner: undefined } }, IS_FAILED))
      })
    },

    async listDue(now, limit, endedBy = now) {
      const due: StoredRegistration[] = []
      for (const kind of ['ends', 'revoked', 'rotated'] as const) {
        if (due.length >= limit) break
        const to = kind === 'revoked' ? now : endedBy
        const range = { to, limit, ...(kind === 'revoked' ? { beyond: to + LONGEST_AHEAD_MS } : {}) }
        const choose = (page: readonly StoredRegistration[]) => page.filter((one) => isDue(one, to))
        due.push(...(await readChosen(db, kind, range, choose)))
      }
      return due.sort(byReason).slice(0, limit).map(toRegistration)
    },
    async countWork({ now, answeredBy, expiringBy }) {
      const find = (
        kind: 'open' | 'undelivered' | 'ends' | 'revoked' | 'rotated',
        to: number,
        counts: (one: StoredRegistration) => boolean,
      ) => readChosen(db, kind, { to, limit: MOST_COUNTED }, (page) => page.filter(counts))
      const isEnding = (one: StoredRegistration) => one.status === 'ending' || isDue(one, now)
      // A key that could not be deleted is due again later.
      const endings = (['ends', 'revoked', 'rotated'] as const).map((kind) =>
        find(kind, kind === 'revoked' ? ANY_TIME : now + LONGEST_AHEAD_MS, isEnding),
      )
      const [pending, inDoubt, ending, expiring] = await Promise.all([
        find('open', ANY_TIME, ({ status }) => status === 'pending'),
        find('undelivered', answeredBy, (one) => isInDoubt(one, answeredBy)),
        Promise.all(endings).then((found) => found.flat()),
        Promise.all(expiringBy.map((to) => readDue(db, 'ends', { to, limit: MOST_COUNTED }))),
      ])
      return {
        pending: pending.length,
        inDoubt: inDoubt.length,
        ending: ending.length,
        failing: ending.filter(({ failure }) => failure !== null).length,
        expiring: expiring.map(({ length }) => length),
      }
    },
    async startEndings(ids, now) {
      const read = await readAll(db, ids)
      const due = ids
        .flatMap((id) => read.get(id) ?? [])
        .filter((one) => one.status === 'active' && isDue(one, now))
      const roots = await readAll(
        db,
        // A key that was replaced ends without its registration.
        due.flatMap(({ rotation, endReason }) => (endReason === null ? (rotation?.of ?? []) : [])),
      )
      const keys = due.map((one) => ({ one, root: roots.get(one.rotation?.of ?? '') ?? one }))
      const started = new Map<string, Registration>()
      const start = async ({ one, root }: DueKey) => {
        const ending = await startEnding(db, audit, one, root, now)
        if (ending !== undefined) started.set(one.id, toRegistration(ending))
      }
      const { placed = [], others = [] } = Object.groupBy(keys, ({ root }) =>
        root.holdsPlace ? 'placed' : 'others',
      )
      await db.each(others, start)
      // Those of one token give its places back one after the other: side by side they would only conflict.
      await db.each([...Map.groupBy(placed, ({ one }) => one.tokenId).values()], async (own) => {
        for (const key of own) await start(key)
      })
      return ids.flatMap((id) => started.get(id) ?? [])
    },
    async saveUsage(id, finalUsage) {
      await db.write(update(keyOf(id), { set: { finalUsage } }, IS_ENDING))
    },
    async finishEndings(ids, now) {
      await db.each(ids, async (id) => {
        const one = await readOne(db, id)
        if (one?.status !== 'ending') return
        // Again, before the ending is finished: the process that started it may have died before this step.
        await stopRotations(db, one.rotation?.of ?? id)
        const set = { status: 'ended', endedAt: now, failure: undefined, ends: undefined }
        const entry = entryOf('key.deleted', one, { at: now, actor: SERVICE, detail: one.endReason })
        await db.transact([update(keyOf(id), { set }, IS_ENDING), audit.write(entry)])
      })
    },
    async postponeEnding(id, failure, until) {
      await db.write(update(keyOf(id), { set: { failure, endsAt: until } }, IS_ENDING))
    },

    // The items expire.
    purgeProofs: async () => 0,

    takeLeaderLease(name, { owner, until }, now) {
      // Compare-and-swap: of two processes that take an expired leader lease one gets it.
      const isOver = leaseIsOver(now)
      const isFreeOrOwn: Condition = {
        when: `#owner = :owner OR ${isOver.when}`,
        values: { owner, ...isOver.values },
      }
      const set = { owner, until, ttl: Math.ceil(until / 1_000) + LEADER_LEASE_TTL_S }
      return db.write(update(leaderLeaseKey(name), { set }, isFreeOrOwn))
    },
    async releaseLeaderLease(name, owner) {
      await db.write(remove(leaderLeaseKey(name), { when: '#owner = :owner', values: { owner } }))
    },
  }
}

const leaderLeaseKey = (name: string) => keyOf(`duty#${name}`)

function byAge(a: Registration, b: Registration): number {
  return a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1)
}

function byAnswer(a: Registration, b: Registration): number {
  return (a.answeredAt ?? 0) - (b.answeredAt ?? 0) || (a.id < b.id ? -1 : 1)
}

/** Expired keys first, then revoked ones, then replaced ones; among them the longest due first. */
function byReason(a: Registration, b: Registration): number {
  const rank = ({ endReason }: Registration) =>
    endReason === 'rotated' ? 2 : endReason === 'revoked' ? 1 : 0
  const end = ({ endsAt }: Registration) => endsAt ?? Number.NEGATIVE_INFINITY
  return rank(a) - rank(b) || end(a) - end(b) || (a.id < b.id ? -1 : 1)
}

/** A key whose end has come, and the registration whose key it is. */
interface DueKey {
  readonly one: StoredRegistration
  readonly root: StoredRegistration
}

/** Moves a key to `ending`. @returns the record after that; `undefined`: it changed since it was read */
async function startEnding(
  db: DynamoDbConnection,
  audit: DynamoDbAudit,
  one: StoredRegistration,
  root: StoredRegistration,
  now: number,
): Promise<StoredRegistration | undefined> {
  const endReason = one.endReason ?? 'expired'
  const isOver: Condition = { when: '#endsAt <= :now', values: { now } }
  const set = { status: 'ending', endReason, ...NOT_OPEN }
  // A rotation that is answered meanwhile gives the key another reason.
  const isPresent: Condition = { when: 'attribute_not_exists(#endReason)' }
  const writes =
    endReason === 'expired'
      ? endWrites(one, root, set, IS_ACTIVE, isOver, isPresent)
      : [update(keyOf(one.id), { set }, IS_ACTIVE, isOver)]
  if (endReason === 'expired')
    writes.push(audit.write(entryOf('registration.expired', one, { at: now, actor: SERVICE })))
  if ((await db.transact(writes)).length > 0) return undefined
  await stopRotations(db, one.rotation?.of ?? one.id)
  return { ...one, status: 'ending', endReason }
}
