import { isRevocable } from '../../registration/lifecycle.ts'
import { entryOf } from '../audit.ts'
import type { OwnerStore } from '../owners.ts'
import type { DynamoDbAudit } from './audit.ts'
import { sameStatus } from './conditions.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Condition, check, update, type Write } from './expressions.ts'
import { keyOf, NOT_OPEN, revokedAt, type StoredRegistration, toRegistration } from './item-codec.ts'
import { HOLDS_PLACE, NO_PLACE, releaseWrites } from './places.ts'
import { readAll, readOne, readPair, readRotations } from './reads.ts'
import { sameRotations } from './rotations.ts'

/** {@link OwnerStore} on DynamoDB. */
export function dynamoDbOwners(db: DynamoDbConnection, audit: DynamoDbAudit): OwnerStore {
  return {
    async sumFinalUsage(id, { from, to }) {
      const root = await readOne(db, id)
      const total: Record<string, number> = {}
      for (const one of root === undefined ? [] : [root, ...(await readRotations(db, id))])
        for (const [date, used] of Object.entries(one.finalUsage ?? {}))
          if (date >= from && date <= to) total[date] = (total[date] ?? 0) + used
      return total
    },
    async revokeRegistration(id, actor, now) {
      for (;;) {
        const pair = await readPair(db, id)
        if (pair === undefined) return []
        const all = [pair.root, ...(await readRotations(db, id))]
        // A rotation that began since it was read changed the registration: then everything is read again.
        const { root, current } = pair
        const unchanged = sameRotations(root)
        const releases = root.holdsPlace && current.status === 'active'
        const own = releases ? release(root, now, ...unchanged) : revoke(root, now, ...unchanged)
        const writes = [...own, ...all.slice(1).flatMap((one) => revoke(one, now))]
        const newest = all.filter(isRevocable).at(-1)
        if (newest !== undefined)
          writes.push(audit.write(entryOf('registration.revoked', newest, { at: now, actor })))
        if (writes.length > 0 && own.length === 0) writes.push(check(keyOf(id), ...unchanged))
        if (writes.length > 0 && (await db.transact(writes)).length > 0) continue
        const ids = all.map((one) => one.id)
        const ending = [...(await readAll(db, ids)).values()].filter(({ status }) => status === 'ending')
        // Those that were ending already are deleted in any case: only the reason changes.
        await db.each(ending, ({ id: each }) =>
          db.write(update(keyOf(each), { set: revokedNow(each, now) }, IS_ENDING_OTHERWISE)),
        )
        const after = await readAll(db, ids)
        return ids.flatMap((each) => {
          const one = after.get(each)
          return one?.status === 'ending' ? toRegistration(one) : []
        })
      }
    },
  }
}

/** Ends an active key as revoked, and marks a pending registration as being undone. Only if it has the status it had. */
function revoke(one: StoredRegistration, now: number, ...conditions: Condition[]): Write[] {
  const { id, status } = one
  if (status === 'pending')
    return [update(keyOf(id), { set: { undoing: true } }, sameStatus(one), ...conditions)]
  return status === 'active'
    ? [update(keyOf(id), { set: revokedNow(id, now) }, sameStatus(one), ...conditions)]
    : []
}

/** The same for a registration that holds a place, which comes back with its name: its present key is active. */
function release(root: StoredRegistration, now: number, ...conditions: Condition[]): Write[] {
  const set = { ...(root.status === 'active' ? revokedNow(root.id, now) : {}), ...NO_PLACE }
  return [
    update(keyOf(root.id), { set }, sameStatus(root), HOLDS_PLACE, ...conditions),
    ...releaseWrites(root),
  ]
}

const IS_ENDING_OTHERWISE: Condition = {
  when: '#status = :ending AND #endReason <> :revoked',
  values: { ending: 'ending', revoked: 'revoked' },
}

/** The attributes of a key that ends as revoked, at once. */
export function revokedNow(id: string, now: number) {
  return { status: 'ending', endReason: 'revoked', ...revokedAt(id, now), ...NOT_OPEN }
}
