import { entryOf, SERVICE } from '../audit.ts'
import type { Completed, MintingStore } from '../minting.ts'
import { hasUseLeft } from '../records.ts'
import type { SqliteAudit } from './audit.ts'
import type { SqliteConnection } from './connection.ts'
import { sqliteMintSteps } from './mint-steps.ts'
import { sqliteRotations } from './rotations.ts'
import { failedRow, leaseRow, readRegistration, readRegistrations, readToken } from './rows.ts'
import type { Statements } from './statements.ts'

/** {@link MintingStore} on SQLite. Every method is one transaction, so that each is atomic as a whole. */
export function sqliteMinting(
  { use, transact }: SqliteConnection,
  sql: Statements,
  audit: SqliteAudit,
): MintingStore {
  const rotations = sqliteRotations(sql)
  const { begin, complete } = sqliteMintSteps(sql, audit)

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
