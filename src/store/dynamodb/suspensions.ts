import { isSwitchDue } from '../../registration/lifecycle.ts'
import { entryOf } from '../audit.ts'
import type { Registration } from '../records.ts'
import type { SuspensionStore } from '../suspensions.ts'
import type { DynamoDbAudit } from './audit.ts'
import { IS_ACTIVE } from './conditions.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Condition, check, put, remove, update, type Write } from './expressions.ts'
import { keyOf, type StoredRegistration, switchAt, switchKey, toRegistration } from './item-codec.ts'
import { readAll, readPair, readRotations, readSwitches } from './reads.ts'
import { sameRotations } from './rotations.ts'

/** {@link SuspensionStore} on DynamoDB. Every key that is to be switched has an item, by which it is found. */
export function dynamoDbSuspensions(db: DynamoDbConnection, audit: DynamoDbAudit): SuspensionStore {
  return {
    async setSuspended(id, suspended, actor, now) {
      for (;;) {
        const pair = await readPair(db, id)
        if (pair === undefined) return []
        const all = [pair.root, ...(await readRotations(db, id))]
        const changing = all.filter(
          ({ status, suspendedAt }) => status === 'active' && (suspendedAt === null) === suspended,
        )
        const newest = changing.at(-1)
        if (newest === undefined) return all.filter((one) => one.switchAt !== null).map(toRegistration)
        // A rotation that was completed or answered since it was read changed the registration: everything is read again.
        const unchanged = sameRotations(pair.root)
        const set = { suspendedAt: suspended ? now : undefined, switchAt: now }
        const writes: Write[] = changing.flatMap((one) => [
          update(keyOf(one.id), { set }, IS_ACTIVE, sameSuspension(one), ...(one.id === id ? unchanged : [])),
          put(switchAt(one.id, now), 'any'),
        ])
        if (!changing.some((one) => one.id === id)) writes.push(check(keyOf(id), ...unchanged))
        const action = suspended ? 'registration.suspended' : 'registration.resumed'
        writes.push(audit.write(entryOf(action, newest, { at: now, actor })))
        if ((await db.transact(writes)).length > 0) continue
        const ids = all.map((one) => one.id)
        const after = await readAll(db, ids)
        return ids.flatMap((each) => {
          const one = after.get(each)
          return one === undefined || one.switchAt === null ? [] : toRegistration(one)
        })
      }
    },
    async listSwitches(now, limit) {
      const choose = (page: readonly StoredRegistration[]) => page.filter((one) => isSwitchDue(one, now))
      return (await readSwitches(db, { to: Number.MAX_SAFE_INTEGER, limit }, choose)).map(toRegistration)
    },
    async finishSwitch(seen) {
      const unmet = await db.transact([
        update(keyOf(seen.id), { set: { switchAt: undefined } }, sameSuspension(seen)),
        remove(switchKey(seen.id)),
      ])
      return unmet.length === 0
    },
    async postponeSwitch(id, until) {
      const isDue: Condition = { when: 'attribute_exists(#switchAt)' }
      await db.transact([
        update(keyOf(id), { set: { switchAt: until } }, isDue),
        put(switchAt(id, until), 'any'),
      ])
    },
  }
}

/** The key was neither suspended nor resumed since it was read. */
function sameSuspension({ suspendedAt }: Pick<Registration, 'suspendedAt'>): Condition {
  return suspendedAt === null
    ? { when: 'attribute_not_exists(#suspendedAt)' }
    : { when: '#suspendedAt = :suspendedAt', values: { suspendedAt } }
}
