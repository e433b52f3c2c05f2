import { entryOf, SERVICE } from '../audit.ts'
import type { Registration } from '../records.ts'
import type { Store } from '../store.ts'
import type { DynamoDbAudit } from './audit.ts'
import { IS_ACTIVE } from './conditions.ts'
import type { DynamoDbConnection } from './connection.ts'
import { keyOf, NOT_OPEN, revokedAt, type StoredRegistration } from './items.ts'
import { ofShards } from './leases.ts'
import { readAll, readOne, readPair, readRotations } from './reads.ts'
import { sameRotations, stopRotations } from './rotations.ts'
import { type Condition, check, update, type Write } from './writes.ts'

type Endings = Pick<
  Store,
  'listRotations' | 'revokeRegistration' | 'endKeys' | 'listDue' | 'finishEndings' | 'postponeEnding'
>

const IS_ENDING: Condition = { when: '#status = :ending', values: { ending: 'ending' } }

/** The part of the store in which keys come to their end. */
export function dynamoDbEndings(db: DynamoDbConnection, audit: DynamoDbAudit): Endings {
  return {
    listRotations: (id) => readRotations(db, id),

    async revokeRegistration(id, actor, now) {
      for (;;) {
        const pair = await readPair(db, id)
        if (pair === undefined) return []
        const all = [pair.root, ...(await readRotations(db, id))]
        // A rotation that began since it was looked at changed the registration: then all is looked at once more.
        const unchanged = sameRotations(pair.root)
        const own = revoke(pair.root, now, ...unchanged)
        const writes = [...own, ...all.slice(1).flatMap((one) => revoke(one, now))]
        const newest = all.filter((one) => isToRevoke(one)).at(-1)
        if (newest !== undefined)
          writes.push(audit.write(entryOf('registration.revoked', newest, { at: now, actor })))
        const [first, ...others] = unchanged
        if (writes.length > 0 && own.length === 0) writes.push(check(keyOf(id), first, ...others))
        if (writes.length === 0 || (await db.transact(writes)).length === 0) {
          const after = await readAll(
            db,
            all.map((one) => one.id),
          )
          const ending = [...after.values()].filter(({ status }) => status === 'ending')
          // They go anyway; that they were revoked is all that changes.
          await db.each(ending, (one) => db.write(endAsRevoked(one.id, now, NOT_REVOKED)))
          return ending
        }
      }
    },

    async endKeys(ids, actor, now) {
      const ended: Registration[] = []
      for (const id of ids) {
        const one = await readOne(db, id)
        if (one?.status !== 'active') continue
        const ending: StoredRegistration = { ...one, status: 'ending', endReason: 'revoked', endsAt: now }
        const entry = entryOf('registration.revoked', ending, { at: now, actor, detail: 'key_missing' })
        if ((await db.transact([endAsRevoked(id, now, IS_ACTIVE), audit.write(entry)])).length > 0) continue
        await stopRotations(db, one.rotation?.of ?? id)
        ended.push(ending)
      }
      return ended
    },

    async listDue(now, limit) {
      const due = await ofShards(db, 'ends', '#endsAt <= :to', now, limit)
      // What was taken back comes after what expired: it is a promise that this goes within a minute.
      if (due.length < limit) due.push(...(await ofShards(db, 'revoked', '#endsAt <= :to', now, limit)))
      const read = await readAll(
        db,
        due.map(({ pk }) => String(pk)),
      )
      const found = await db.each([...read.values()], async (one) => {
        if (one.status !== 'active' || one.endsAt === null || one.endsAt > now) return one
        return (await startEnding(db, audit, one, now)) ? await readOne(db, one.id) : undefined
      })
      return found
        .flatMap((one) => (one?.status === 'ending' && (one.endsAt ?? 0) <= now ? one : []))
        .sort((a, b) => byReason(a) - byReason(b) || (a.endsAt ?? 0) - (b.endsAt ?? 0))
        .slice(0, limit)
    },

    async finishEndings(ids, now) {
      await db.each(ids, async (id) => {
        const one = await readOne(db, id)
        if (one?.status !== 'ending') return
        // Once more, before it is done for good: whoever ended it may have died right after.
        await stopRotations(db, one.rotation?.of ?? id)
        const set = { status: 'ended', endedAt: now, failure: undefined, ends: undefined }
        const entry = entryOf('key.deleted', one, { at: now, actor: SERVICE, detail: one.endReason })
        await db.transact([update(keyOf(id), { set }, IS_ENDING), audit.write(entry)])
      })
    },
    async postponeEnding(id, failure, until) {
      await db.write(update(keyOf(id), { set: { failure, endsAt: until } }, IS_ENDING))
    },
  }
}

const byReason = ({ endReason }: Registration): number => (endReason === 'revoked' ? 1 : 0)

function isToRevoke({ status, endReason, undoing }: StoredRegistration): boolean {
  if (status === 'ending') return endReason !== 'revoked'
  return status === 'active' || (status === 'pending' && !undoing)
}

/** What is active goes now, as revoked; what is being made can only be undone. As it was seen. */
function revoke({ id, status }: StoredRegistration, now: number, ...conditions: Condition[]): Write[] {
  const asSeen: Condition = { when: '#status = :seen', values: { seen: status } }
  if (status === 'pending') return [update(keyOf(id), { set: { undoing: true } }, asSeen, ...conditions)]
  return status === 'active' ? [endAsRevoked(id, now, asSeen, ...conditions)] : []
}

const NOT_REVOKED: Condition = {
  when: '#status = :ending AND #endReason <> :revoked',
  values: { ending: 'ending', revoked: 'revoked' },
}

function endAsRevoked(id: string, now: number, ...conditions: Condition[]): Write {
  const set = { status: 'ending', endReason: 'revoked', ...revokedAt(id, now), ...NOT_OPEN }
  return update(keyOf(id), { set }, ...conditions)
}

/** @returns whether it became `ending` now, by this process */
async function startEnding(
  db: DynamoDbConnection,
  audit: DynamoDbAudit,
  one: StoredRegistration,
  now: number,
): Promise<boolean> {
  const endReason = one.endReason ?? 'expired'
  const isOver: Condition = {
    when: `${IS_ACTIVE.when} AND #endsAt <= :now`,
    values: { active: 'active', now },
  }
  const set = { status: 'ending', endReason, ...NOT_OPEN }
  const writes = [update(keyOf(one.id), { set }, isOver)]
  if (endReason === 'expired')
    writes.push(audit.write(entryOf('registration.expired', one, { at: now, actor: SERVICE })))
  if ((await db.transact(writes)).length > 0) return false
  await stopRotations(db, one.rotation?.of ?? one.id)
  return true
}
