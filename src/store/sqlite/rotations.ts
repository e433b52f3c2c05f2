import type { Registration } from '../records.ts'
import { readRegistration } from './rows.ts'
import type { Statements } from './statements.ts'

/** The steps that rotations add to transactions of the store. */
export interface SqliteRotations {
  /** Whether a rotation may begin; one that waits for its retry gives way to it. `undefined`: it may. */
  whyNotBegun(registrationId: string, now: number): 'ended' | 'busy' | undefined
  /** The key of a rotation becomes the one of the registration, which has one now. Answers what it replaced. */
  takePlace(rotationId: string, now: number): Registration | null
}

export function sqliteRotations(sql: Statements): SqliteRotations {
  return {
    whyNotBegun(registrationId, now) {
      const row = sql.rotatable.get({ id: registrationId, now })
      if (row?.['has_key'] !== 1) return 'ended'
      if (row['busy'] === 1) return 'busy'
      sql.forgetUnanswered.run(registrationId)
      return undefined
    },
    takePlace(rotationId, now) {
      const taker = readRegistration(sql.registrationById.get(rotationId))
      if (!taker?.rotation) throw new Error(`${rotationId} is no rotation`)
      const { of: root, overlapMs, renewsManagement } = taker.rotation
      const replaced = readRegistration(sql.registrationById.get(root))?.currentId ?? root
      sql.endOverlap.run({ root, now })
      sql.startOverlap.run({ id: replaced, until: now + overlapMs })
      sql.setReplaced.run({ id: rotationId, replaced })
      sql.setCurrent.run({ root, current: rotationId, now })
      if (renewsManagement) sql.renewManagement.run({ root, hash: taker.managementHash })
      return readRegistration(sql.registrationById.get(replaced)) ?? null
    },
  }
}
