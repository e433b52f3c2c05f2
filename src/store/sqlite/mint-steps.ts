import { entryOf } from '../audit.ts'
import type { BeginOutcome, Completed, Completion } from '../minting.ts'
import type { Lease, NewRegistration, Proof } from '../records.ts'
import type { SqliteAudit } from './audit.ts'
import { sqliteRotations } from './rotations.ts'
import { holderRow, originRow, readRegistration, readToken } from './rows.ts'
import type { Statements } from './statements.ts'

/** The first and the last step of minting, within transactions of the store. */
export interface SqliteMintSteps {
  /** Begins one registration or rotation. */
  begin(registration: NewRegistration, lease: Lease): BeginOutcome
  /**
   * Completes one registration or rotation.
   * @param detail that of its audit entry
   * @returns `undefined`: it is refused
   */
  complete(completion: Completion, now: number, detail?: string): Completed | undefined
}

export function sqliteMintSteps(sql: Statements, audit: SqliteAudit): SqliteMintSteps {
  const rotations = sqliteRotations(sql)

  /** The outcome for a proof that is claimed already; `undefined`: it is not. */
  function whoHolds({ hash }: Proof): BeginOutcome | undefined {
    const row = holderRow.optional().parse(sql.proofHolder.get(hash))
    return row && { outcome: 'replayed', holder: row.holder }
  }

  return {
    begin({ idempotency, rotation, federated, ...registration }, lease) {
      const { tokenId, createdAt } = registration
      // Of two processes that begin the same request at once, the second finds the record of the first here.
      if (idempotency !== null && sql.registrationByKey.get(tokenId, idempotency.keyHash) !== undefined) {
        return { outcome: 'duplicate' }
      }
      const replayed = federated?.proof && whoHolds(federated.proof)
      if (replayed) return replayed
      if (federated?.holdsName) {
        const holder = readRegistration(sql.nameHolder.get(tokenId, registration.name))
        if (holder !== undefined) return { outcome: 'name_taken', registrationId: holder.id }
      }
      if (rotation !== null) {
        const refusal = rotations.refusal(rotation.of, createdAt)
        if (refusal !== undefined) return { outcome: refusal }
        rotations.makeRoom(rotation.of)
      } else if (sql.spendUse.run({ token: tokenId, now: createdAt }).changes === 0) {
        return { outcome: 'refused', token: readToken(sql.tokenById.get(tokenId)) ?? null }
      }
      if (federated?.proof) sql.claimProof.run({ ...federated.proof, holder: registration.id })
      const { keyHash, requestHash, sealed } = idempotency ?? {
        keyHash: null,
        requestHash: null,
        sealed: null,
      }
      sql.insertRegistration.run({
        ...registration,
        ...{ keyHash, requestHash, sealed },
        ...lease,
        rotationOf: rotation?.of ?? null,
        overlapMs: rotation?.overlapMs ?? null,
        renewsManagement: rotation === null ? null : Number(rotation.renewsManagement),
        proofHash: federated?.proof?.hash ?? null,
        proofExpiresAt: federated?.proof?.expiresAt ?? null,
        holdsName: federated === null ? null : Number(federated.holdsName),
        holdsPlace: Number(federated !== null && rotation === null),
        seenWorking: Number(registration.seenWorking ?? false),
      })
      return { outcome: 'begun' }
    },

    complete({ id, owner, actor, apiKeyId, isAwaited }, now, detail) {
      const answered = isAwaited()
      const answeredAt = answered ? now : null
      const row = sql.complete.get({ id, owner, apiKeyId, now, answeredAt })
      if (row === undefined) return undefined
      const { tokenId, rotation } = originRow.parse(row)
      const replaced = rotation !== null && answered ? rotations.takePlace(id, now) : null
      const action = rotation === null ? 'registration.created' : 'registration.rotated'
      audit.add(
        entryOf(action, { id, tokenId, rotation, apiKeyId }, { at: now, actor, detail: detail ?? null }),
      )
      return { answered, replaced }
    },
  }
}
