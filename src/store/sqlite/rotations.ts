import { z } from 'zod'
import type { RotationRefusal } from '../minting.ts'
import type { Registration } from '../records.ts'
import { readRegistration } from './rows.ts'
import type { Statements } from './statements.ts'

/** The steps that rotations add to transactions of the store. */
export interface SqliteRotations {
  /** Returns why a rotation cannot begin; `undefined`: it can. */
  refusal(registrationId: string, now: number): RotationRefusal | undefined
  /** Makes room for a rotation that begins: an unanswered rotation loses its idempotency key. */
  makeRoom(registrationId: string): void
  /**
   * Makes the key of a rotation the present key of its registration.
   * @returns the record whose key it replaced
   */
  takePlace(rotationId: string, now: number): Registration
}

const rotatableRow = z.object({
  has_key: z.number().nullable(),
  suspended: z.number(),
  busy: z.number(),
  deleting: z.number(),
})

export function sqliteRotations(sql: Statements): SqliteRotations {
  function required(id: string): Registration {
    const one = readRegistration(sql.registrationById.get(id))
    if (one === undefined) throw new Error(`the record ${id}, which another record refers to, is missing`)
    return one
  }

  return {
    refusal(registrationId, now) {
      const row = rotatableRow.optional().parse(sql.rotatable.get({ id: registrationId, now }))
      if (row?.has_key !== 1) return 'ended'
      if (row.suspended === 1) return 'suspended'
      if (row.busy === 1) return 'busy'
      return row.deleting === 1 ? 'deleting' : undefined
    },
    makeRoom(registrationId) {
      sql.forgetUnanswered.run(registrationId)
    },
    takePlace(rotationId, now) {
      const { rotation, managementHash } = required(rotationId)
      if (rotation === null) throw new Error(`${rotationId} is no rotation`)
      const { of: root, overlapMs, renewsManagement } = rotation
      const replaced = required(root).currentId ?? root
      sql.endOverlap.run({ root, now })
      sql.startOverlap.run({ id: replaced, until: now + overlapMs })
      sql.setReplaced.run({ id: rotationId, replaced })
      sql.setCurrent.run({ root, current: rotationId, now })
      if (renewsManagement) sql.renewManagement.run({ root, hash: managementHash })
      return required(replaced)
    },
  }
}
