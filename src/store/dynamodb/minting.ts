import { isDisplaceable } from '../../registration/lifecycle.ts'
import type { MintingStore } from '../minting.ts'
import type { DynamoDbAudit } from './audit.ts'
import { beginRegistrations } from './begin-registrations.ts'
import { readRotatable } from './begin-rotation.ts'
import { findNameHolder } from './claims.ts'
import { dynamoDbCompleting } from './complete-registrations.ts'
import type { DynamoDbConnection } from './connection.ts'
import { dynamoDbForgetting } from './forget-idempotency.ts'
import { idempotencyKey, readPointer, toRegistration } from './item-codec.ts'
import { readOne, readReferenced } from './reads.ts'
import { forgetUnanswered } from './rotations.ts'
import { findHeldUses } from './token-uses.ts'
import { dynamoDbUndoing } from './undo-registrations.ts'
import { dynamoDbLeases } from './work-leases.ts'

/** {@link MintingStore} on DynamoDB. */
export function dynamoDbMinting(db: DynamoDbConnection, audit: DynamoDbAudit): MintingStore {
  return {
    beginRegistrations: (registrations, lease) => beginRegistrations(db, registrations, lease),
    async whyNotRotatable(registrationId, now) {
      const found = await readRotatable(db, registrationId, now)
      return typeof found === 'string' ? found : undefined
    },
    async findByIdempotencyKey(tokenId, keyHash) {
      const pointer = await db.get(idempotencyKey(tokenId, keyHash))
      const found = pointer && (await readOne(db, readPointer(pointer)))
      return found === undefined || found.idempotency === null ? undefined : toRegistration(found)
    },
    async findLiveByName(tokenId, name) {
      const holder = await findNameHolder(db, tokenId, name)
      const one = holder === undefined ? undefined : await readReferenced(db, holder)
      return one?.holdsPlace ? toRegistration(one) : undefined
    },
    findHeldUses: (tokenId, limit) => findHeldUses(db, tokenId, limit),
    async displaceUnanswered(id) {
      const one = await readOne(db, id)
      if (one === undefined || !isDisplaceable(one)) return false
      return (await db.transact(forgetUnanswered(one))).length === 0
    },
    ...dynamoDbCompleting(db, audit),
    ...dynamoDbUndoing(db, audit),
    ...dynamoDbLeases(db),
    ...dynamoDbForgetting(db),
  }
}
