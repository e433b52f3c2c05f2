import type { DatabaseSync } from 'node:sqlite'
import { z } from 'zod'
import {
  ACTOR_KINDS,
  AUDIT_ACTIONS,
  type AuditEntry,
  type AuditFilter,
  type AuditTrail,
  type RecordedEntry,
} from '../audit.ts'
import { identityJson, parseRecord } from '../parse-record.ts'
import type { SqliteConnection } from './connection.ts'

const auditRow = z
  .object({
    seq: z.number(),
    at: z.number(),
    actor_kind: z.enum(ACTOR_KINDS),
    actor_id: z.string().nullable(),
    action: z.enum(AUDIT_ACTIONS),
    detail: z.string().nullable(),
    token_id: z.string().nullable(),
    registration_id: z.string().nullable(),
    api_key_id: z.string().nullable(),
    request_id: z.string().nullable(),
    client_address: z.string().nullable(),
    actor_identity: identityJson.nullable(),
  })
  .transform(
    (row): RecordedEntry => ({
      id: `${String(row.at).padStart(15, '0')}#${row.seq}`,
      at: row.at,
      actor: {
        kind: row.actor_kind,
        id: row.actor_id,
        requestId: row.request_id,
        clientAddress: row.client_address,
        identity: row.actor_identity,
      },
      action: row.action,
      detail: row.detail,
      tokenId: row.token_id,
      registrationId: row.registration_id,
      apiKeyId: row.api_key_id,
    }),
  )

export interface SqliteAudit {
  /** Adds an entry to the transaction that is running. */
  add(entry: AuditEntry): void
  readonly trail: AuditTrail
}

/** The id of an entry: its time, by which the list is ordered, and its number among those of the same time. */
const CURSOR = /^(\d{15})#(\d+)$/

/** The audit trail on SQLite. Every writing method is one transaction, so that each is atomic as a whole. */
export function sqliteAudit({ db, use, transact }: SqliteConnection): SqliteAudit {
  const insert = db.prepare(`
    INSERT INTO audit (at, actor_kind, actor_id, action, detail, token_id, registration_id, api_key_id, request_id,
                       client_address, actor_identity)
    VALUES (:at, :kind, :id, :action, :detail, :tokenId, :registrationId, :apiKeyId, :requestId, :clientAddress,
            :identity)`)
  // Spares entries of registrations for which `mayHaveKey` of lifecycle.ts holds.
  const purge = db.prepare(`
    DELETE FROM audit WHERE seq IN (
      SELECT seq FROM audit
      WHERE at < :before AND NOT EXISTS (
        SELECT 1 FROM registrations AS key
        WHERE (key.id = audit.registration_id OR key.rotation_of = audit.registration_id)
          AND key.status IN ('pending', 'active', 'ending'))
      ORDER BY at LIMIT :limit)`)

  const add = ({ actor, ...entry }: AuditEntry) => {
    const identity = actor.identity && JSON.stringify(actor.identity)
    insert.run({ ...entry, ...actor, identity })
  }
  return {
    add,
    trail: {
      appendAudit: (entries) => transact(() => entries.forEach(add)),
      listAudit: (filter) => use(() => list(db, filter)),
      purgeAudit: (before, limit) => transact(() => Number(purge.run({ before, limit }).changes)),
    },
  }
}

/** Only the conditions that the filter has, so that each finds its index. */
function list(
  db: DatabaseSync,
  { since, registrationId, tokenId, after, limit }: AuditFilter,
): RecordedEntry[] {
  const conditions = ['TRUE']
  const bound: Record<string, string | number> = { limit }
  const where = (condition: string, name: string, value: string | number | undefined) => {
    if (value === undefined) return
    conditions.push(condition)
    bound[name] = value
  }
  where('at >= :since', 'since', since)
  where('registration_id = :registrationId', 'registrationId', registrationId)
  where('token_id = :tokenId', 'tokenId', tokenId)
  if (after !== undefined) {
    const [, at, seq] = after.match(CURSOR) ?? []
    if (at === undefined || seq === undefined) throw new Error(`"${after}" is not the id of an audit entry`)
    conditions.push('(at, seq) < (:afterAt, :afterSeq)')
    Object.assign(bound, { afterAt: Number(at), afterSeq: Number(seq) })
  }
  const select = db.prepare(`
    SELECT * FROM audit WHERE ${conditions.join(' AND ')} ORDER BY at DESC, seq DESC LIMIT :limit`)
  return select.all(bound).map((row) => parseRecord(auditRow, row, `audit entry ${row['seq']}`))
}
