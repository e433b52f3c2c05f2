import { entryOf, SERVICE } from '../audit.ts'
import type { BeginOutcome, Completed, Completion, MintingStore } from '../minting.ts'
import { hasUseLeft, type Lease, type NewRegistration, type Proof } from '../records.ts'
import type { SqliteAudit } from './audit.ts'
import type { SqliteConnection } from './connection.ts'
import { sqliteRotations } from './rotations.ts'
import {
  failedRow,
  holderRow,
  leaseRow,
  originRow,
  readRegistration,
  readRegistrations,
  readToken,
} from './rows.ts'
import type { Statements } from './statements.ts'

/** {@link MintingStore} on SQLite. Every method is one transaction, so that each is atomic as a whole. */
export function sqliteMinting(
  { use, transact }: SqliteConnection,
  sql: Statements,
  audit: SqliteAudit,
): MintingStore {
  const rotations = sqliteRotations(sql)

  /** The outcome for a proof that is claimed already, within a transaction; `undefined`: it is not. */
  function whoHolds({ hash }: Proof): BeginOutcome | undefined {
    const row = holderRow.optional().parse(sql.proofHolder.get(hash))
    return row && { outcome: 'replayed', holder: row.holder }
  }

  /** Begins one registration or rotation, within a transaction. */
  function begin(
    { idempotency, rotation, federated, ...registration }: NewRegistration,
    lease: Lease,
  ): BeginOutcome {
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
    const { keyHash, requestHash, sealed } = idempotency ?? { keyHash: null, requestHash: null, sealed: null }
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
    })
    return { outcome: 'begun' }
  }

  /** Completes one registration or rotation, within a transaction. @returns `undefined`: it is refused */
  function complete(
    { id, owner, actor, apiKeyId, isAwaited }: Completion,
    now: number,
  ): Completed | undefined {
    const answered = isAwaited()
    const answeredAt = answered ? now : null
    const row = sql.complete.get({ id, owner, apiKeyId, now, answeredAt })
    if (row === undefined) return undefined
    const { tokenId, rotation } = originRow.parse(row)
    const replaced = rotation !== null && answered ? rotations.takePlace(id, now) : null
    const action = rotation === null ? 'registration.created' : 'registration.rotated'
    audit.add(entryOf(action, { id, tokenId, rotation, apiKeyId }, { at: now, actor }))
    return { answered, replaced }
  }

  return {
    beginRegistrations: (registrations, lease) =>
      transact(() => registrations.map((registration) => begin(registration, lease))),
    whyNotRotatable: (registrationId, now) => use(() => rotations.refusal(registrationId, now)),
    completeRegistrations: (completions, now) =>
      transact(() => {
        const completed = new Map<string, Completed>()
        for (const completion of completions) {
          const one = complete(completion, now)
          if (one !== undefined) completed.set(completion.id, one)
        }
        return completed
      }),
    failRegistrations: (held, { failure, now, sweepAt }) =>
      transact(() => {
        const failed = new Set<string>()
        for (const { id, owner } of held) {
          const row = sql.fail.get({ id, owner, failure, now, sweepAt })
          if (row === undefined) continue
          const { tokenId, rotation, proofHash } = failedRow.parse(row)
          if (rotation === null) sql.giveUseBack.run(tokenId)
          if (proofHash !== null) sql.giveProofBack.run({ hash: proofHash, holder: id })
          const undone = { id, tokenId, rotation, apiKeyId: null }
          audit.add(entryOf('registration.undone', undone, { at: now, actor: SERVICE, detail: failure }))
          failed.add(id)
        }
        return failed
      }),
    startUndoing: (held) =>
      transact(() => {
        const marked = held.filter(({ id, owner }) => sql.startUndoing.run({ id, owner }).changes === 1)
        return new Set(marked.map(({ id }) => id))
      }),
    markAnswered: (id, actor, now) =>
      transact(() => {
        const before = readRegistration(sql.registrationById.get(id))
        if (before === undefined || sql.markAnswered.run({ id, now }).changes === 0) return undefined
        audit.add(entryOf('registration.replayed', before, { at: now, actor }))
        if (before.rotation !== null && before.answeredAt === null)
          return { replaced: rotations.takePlace(id, now) }
        const { replacedId } = before
        const replaced = replacedId === null ? undefined : sql.registrationById.get(replacedId)
        return { replaced: readRegistration(replaced) ?? null }
      }),
    markDelivered: (ids, now) =>
      transact(() => {
        for (const id of ids) sql.markDelivered.run({ id, now })
      }),
    withdrawAnswers: (ids, answeredBy, lease) =>
      transact(
        () => new Set(ids.filter((id) => sql.withdraw.run({ id, answeredBy, ...lease }).changes === 1)),
      ),
    retractAnswers: (ids, answeredAt) =>
      transact(() => {
        for (const id of ids) sql.retract.run({ id, answeredAt })
      }),
    findByIdempotencyKey: (tokenId, keyHash) =>
      use(() => readRegistration(sql.registrationByKey.get(tokenId, keyHash))),
    findLiveByName: (tokenId, name) => use(() => readRegistration(sql.nameHolder.get(tokenId, name))),
    // One transaction: a use that is refunded and spent again between two reads would be seen by neither.
    findHeldUses: (tokenId, limit) =>
      transact(() => {
        const token = readToken(sql.tokenById.get(tokenId))
        const rows = sql.refundable.all({ token: tokenId, limit })
        const leaseUntil = rows.map((row) => leaseRow.parse(row).lease_until)
        const held = readRegistrations(rows).map((one, i) => ({
          registration: one,
          leaseUntil: leaseUntil[i] ?? null,
        }))
        return {
          isOneLeft: token !== undefined && hasUseLeft(token),
          held,
          isComplete: rows.length < limit,
        }
      }),
    displaceUnanswered: (id) => transact(() => sql.displace.run(id).changes === 1),

    takeLeases: (ids, status, lease, now) =>
      transact(
        () => new Set(ids.filter((id) => sql.takeLease.run({ id, status, ...lease, now }).changes === 1)),
      ),
    renewLeases: (owners, until) =>
      transact(() => {
        for (const owner of owners) {
          sql.renewPending.run({ owner, until })
          sql.renewSweeps.run({ owner, until })
        }
      }),
    releaseLeases: (held) =>
      transact(() => {
        for (const { id, owner } of held) sql.releaseLease.run({ id, owner })
      }),
    sweepAgain: (ids, at) =>
      transact(() => {
        for (const id of ids) sql.sweepAgain.run({ id, at })
      }),
    forgetIdempotency: (createdBefore) =>
      transact(() => {
        sql.forgetOld.run(createdBefore)
      }),
  }
}
