import type { DatabaseSync } from 'node:sqlite'

/** Whether the registration that a row rotates still has a key, which the rotation can replace. */
const ROTATED_HAS_KEY = `EXISTS (
        SELECT 1 FROM registrations AS root
        JOIN registrations AS current ON current.id = coalesce(root.current_id, root.id)
        WHERE root.id = registrations.rotation_of AND current.status = 'active')`

/** A lease that ends so much later (ms) than one taken now was taken by a clock that was wrong. */
const CLOCK_FAULT_MS = 60_000

/** The standing of a registration, by the row `current` of its key. */
const STANDING = `
      CASE
        WHEN current.status IN ('ending', 'ended') AND current.end_reason = 'revoked' THEN 'revoked'
        WHEN current.status IN ('ending', 'ended') THEN 'expired'
        WHEN current.status = 'active' AND current.expires_at <= :now THEN 'expired'
        ELSE current.status
      END`

/** Every statement of the SQLite store, prepared once. The comments name the race that a condition closes. */
export function prepareStatements(db: DatabaseSync) {
  return {
    insertToken: db.prepare(`
      INSERT INTO tokens (id, secret_hash, label, plans, max_uses, uses, expires_at, key_ttl_ms, name_prefix,
                          rate_per_minute, created_at, revoked_at)
      VALUES (:id, :secretHash, :label, :plans, :maxUses, :uses, :expiresAt, :keyTtlMs, :namePrefix,
              :ratePerMinute, :createdAt, :revokedAt)`),
    tokenByHash: db.prepare('SELECT * FROM tokens WHERE secret_hash = ?'),
    tokenById: db.prepare('SELECT * FROM tokens WHERE id = ?'),
    allTokens: db.prepare('SELECT * FROM tokens ORDER BY created_at DESC, rowid DESC'),
    revokeToken: db.prepare(
      'UPDATE tokens SET revoked_at = coalesce(revoked_at, :now) WHERE id = :id RETURNING *',
    ),
    forgetOfToken: db.prepare(`
      UPDATE registrations SET idempotency_hash = NULL, request_hash = NULL, sealed = NULL
      WHERE token_id = ? AND idempotency_hash IS NOT NULL AND rotation_of IS NULL`),

    // Compare-and-swap: two registrations that race for the last use meet in this one statement, and only one of
    // them finds `uses < max_uses`. A revocation that lands first is seen here too.
    spendUse: db.prepare(`
      UPDATE tokens SET uses = uses + 1
      WHERE id = :token AND revoked_at IS NULL
        AND (expires_at IS NULL OR expires_at > :now)
        AND (max_uses IS NULL OR uses < max_uses)`),
    giveUseBack: db.prepare('UPDATE tokens SET uses = uses - 1 WHERE id = ?'),

    insertRegistration: db.prepare(`
      INSERT INTO registrations (id, token_id, status, name, description, plan, usage_plan_id, management_hash,
                                 created_at, expires_at, ends_at, idempotency_hash, request_hash, sealed,
                                 lease_owner, lease_until, rotation_of, overlap_ms, renews_management)
      VALUES (:id, :tokenId, 'pending', :name, :description, :plan, :usagePlanId, :managementHash,
              :createdAt, :expiresAt, :expiresAt, :keyHash, :requestHash, :sealed, :owner, :until,
              :rotationOf, :overlapMs, :renewsManagement)`),
    registrationById: db.prepare('SELECT * FROM registrations WHERE id = ?'),
    registrationByKey: db.prepare('SELECT * FROM registrations WHERE token_id = ? AND idempotency_hash = ?'),

    // Guarded by status and lease: of a completion and an undoing that race, and of a worker that slept through its
    // lease and the one that took over, exactly one wins. What somebody began to undo, since this one looked, is not
    // handed out: its delete may yet take effect.
    complete: db.prepare(`
      UPDATE registrations
      SET status = 'active', api_key_id = :apiKeyId, ended_at = :now, answered_at = :answeredAt,
          lease_owner = NULL, lease_until = NULL
      WHERE id = :id AND status = 'pending' AND lease_owner = :owner AND undoing = 0
        AND (ends_at IS NULL OR ends_at > :now)
        AND (rotation_of IS NULL OR ${ROTATED_HAS_KEY})
      RETURNING token_id, rotation_of`),
    // An answered registration never fails: a replay that marks it answered and an undoing of what nobody asked for
    // race here. Failing frees the idempotency key, so that the retry is a new attempt.
    fail: db.prepare(`
      UPDATE registrations
      SET status = 'failed', failure = :failure, ended_at = :now, sweep_at = :sweepAt,
          idempotency_hash = NULL, request_hash = NULL, sealed = NULL, lease_owner = NULL, lease_until = NULL
      WHERE id = :id AND status IN ('pending', 'active') AND answered_at IS NULL AND lease_owner = :owner
      RETURNING token_id, rotation_of`),
    // Written before the first delete: a delete without an answer may take effect late, so from here on no retry and
    // no recovery may hand this key out.
    startUndoing: db.prepare(`
      UPDATE registrations SET undoing = 1 WHERE id = :id AND status = 'pending' AND lease_owner = :owner`),
    // Whoever wins of a withdrawal and a rotation or revocation by the operator, the other finds another status.
    withdraw: db.prepare(`
      UPDATE registrations
      SET status = 'pending', undoing = 1, answered_at = NULL, lease_owner = :owner, lease_until = :until
      WHERE id = :id AND status = 'active' AND idempotency_hash IS NULL AND rotation_of IS NULL
        AND current_id IS NULL AND end_reason IS NULL`),
    // What is on its way out is handed out no more, nor is a rotation that gave way to a newer one.
    markAnswered: db.prepare(`
      UPDATE registrations SET answered_at = coalesce(answered_at, :now)
      WHERE id = :id AND status = 'active' AND end_reason IS NULL AND (ends_at IS NULL OR ends_at > :now)
        AND (answered_at IS NOT NULL OR idempotency_hash IS NOT NULL)
        AND (rotation_of IS NULL OR answered_at IS NOT NULL OR ${ROTATED_HAS_KEY})`),

    // Compare-and-swap: of two processes that find the same lapsed lease one takes it, and none if the registration
    // ended since it was looked at. What is active goes back to pending with it, so that a retry cannot be given a
    // key that is about to be deleted.
    takeLease: db.prepare(`
      UPDATE registrations
      SET lease_owner = :owner, lease_until = :until,
          undoing = CASE status WHEN 'active' THEN 1 ELSE undoing END,
          status = CASE status WHEN 'active' THEN 'pending' ELSE status END
      WHERE id = :id AND status = :status AND (lease_until IS NULL OR lease_until <= :now)
        AND (status <> 'active' OR (answered_at IS NULL AND idempotency_hash IS NULL))`),
    // A lease that somebody took over has another owner and is not extended by the one who lost it.
    renewLeases: db.prepare(`
      UPDATE registrations SET lease_until = max(lease_until, :until)
      WHERE status = 'pending' AND lease_owner = :owner`),
    releaseLease: db.prepare(`
      UPDATE registrations SET lease_owner = NULL, lease_until = NULL WHERE id = :id AND lease_owner = :owner`),
    // Three small indexes, each holding only what is not finished.
    recoverable: db.prepare(`
      SELECT * FROM (
        SELECT * FROM registrations WHERE status = 'pending'
        UNION ALL
        SELECT * FROM registrations
        WHERE status = 'active' AND answered_at IS NULL AND idempotency_hash IS NULL
        UNION ALL
        SELECT * FROM registrations WHERE sweep_at IS NOT NULL AND sweep_at <= :now
      )
      WHERE lease_until IS NULL OR lease_until <= :now
      ORDER BY created_at LIMIT :limit`),
    // A sweep that was asked for while this one ran looks for a key that came later: it stays due.
    finishSweep: db.prepare(`
      UPDATE registrations
      SET sweep_at = CASE WHEN sweep_at > :dueBy THEN sweep_at END, lease_owner = NULL, lease_until = NULL
      WHERE id = :id`),
    sweepAgain: db.prepare(`UPDATE registrations SET sweep_at = :at WHERE id = :id AND status = 'failed'`),
    forgetOld: db.prepare(`
      UPDATE registrations SET idempotency_hash = NULL, request_hash = NULL, sealed = NULL
      WHERE idempotency_hash IS NOT NULL AND created_at < ?`),
    registrations: db.prepare(`
      SELECT * FROM registrations
      WHERE (:status IS NULL OR status = :status) AND (:tokenId IS NULL OR token_id = :tokenId)
      ORDER BY created_at DESC, rowid DESC LIMIT :limit`),
    withKeys: db.prepare(`
      SELECT root.id AS id, current.id AS current_id
      FROM registrations AS root JOIN registrations AS current ON current.id = coalesce(root.current_id, root.id)
      WHERE root.rotation_of IS NULL
        AND (:standing IS NULL OR :standing = ${STANDING})
        AND (:tokenId IS NULL OR root.token_id = :tokenId)
        AND (:plan IS NULL OR root.plan = :plan)
        AND (:expiringBy IS NULL
          OR (current.status = 'active' AND current.expires_at > :now AND current.expires_at <= :expiringBy))
        AND (NOT :withKey OR EXISTS (
          SELECT 1 FROM registrations AS key
          WHERE (key.id = root.id OR key.rotation_of = root.id)
            AND key.status IN ('pending', 'active', 'ending')))
        AND (:afterId IS NULL OR (root.created_at, root.id) < (:afterCreatedAt, :afterId))
      ORDER BY root.created_at DESC, root.id DESC LIMIT :limit`),
    countByStanding: db.prepare(`
      SELECT root.plan AS plan, ${STANDING} AS standing, count(*) AS count
      FROM registrations AS root JOIN registrations AS current ON current.id = coalesce(root.current_id, root.id)
      WHERE root.rotation_of IS NULL
      GROUP BY 1, 2 ORDER BY 1, 2`),
    countKeys: db.prepare(`SELECT count(*) AS count FROM registrations WHERE status IN ('active', 'ending')`),
    registrationByManagementHash: db.prepare(`
      SELECT * FROM registrations WHERE management_hash = ? AND rotation_of IS NULL`),
    rotations: db.prepare('SELECT * FROM registrations WHERE rotation_of = ? ORDER BY created_at, rowid'),

    // A rotation is begun only while there is a key to replace, and one at a time: two that race meet here.
    rotatable: db.prepare(`
      SELECT
        current.status = 'active' AND (current.ends_at IS NULL OR current.ends_at > :now) AS has_key,
        EXISTS (SELECT 1 FROM registrations WHERE rotation_of = :id AND status = 'pending') AS busy
      FROM registrations AS root JOIN registrations AS current ON current.id = coalesce(root.current_id, root.id)
      WHERE root.id = :id`),
    // Nobody was given its key: forgotten, it is undone by recovery.
    forgetUnanswered: db.prepare(`
      UPDATE registrations SET idempotency_hash = NULL, request_hash = NULL, sealed = NULL
      WHERE rotation_of = ? AND status = 'active' AND answered_at IS NULL`),
    // Four steps of one transaction, when a rotation is answered: the key before the last goes at once, the last one
    // when its overlap is over, and the registration has the new one. A revocation comes before all of them or after.
    endOverlap: db.prepare(`
      UPDATE registrations SET ends_at = min(ends_at, :now)
      WHERE (id = :root OR rotation_of = :root) AND status = 'active' AND end_reason = 'rotated'`),
    startOverlap: db.prepare(`
      UPDATE registrations SET end_reason = 'rotated', ends_at = min(coalesce(ends_at, :until), :until)
      WHERE id = :id`),
    setReplaced: db.prepare('UPDATE registrations SET replaced_id = :replaced WHERE id = :id'),
    // Whose key was replaced needs nobody's retry any more: it must not be undone, and its use stays spent.
    setCurrent: db.prepare(`
      UPDATE registrations SET current_id = :current, answered_at = coalesce(answered_at, :now) WHERE id = :root`),
    renewManagement: db.prepare(`
      UPDATE registrations SET previous_management_hash = management_hash, management_hash = :hash
      WHERE id = :root`),

    // Written before the first delete: from here on no replay hands the key out, and no rotation replaces it.
    revoke: db.prepare(`
      UPDATE registrations SET status = 'ending', end_reason = 'revoked', ends_at = :now
      WHERE (id = :id OR rotation_of = :id) AND status IN ('active', 'ending')`),
    newestToRevoke: db.prepare(`
      SELECT * FROM registrations
      WHERE (id = :id OR rotation_of = :id)
        AND (status = 'active' OR (status = 'ending' AND end_reason <> 'revoked')
          OR (status = 'pending' AND undoing = 0))
      ORDER BY created_at DESC, rowid DESC LIMIT 1`),
    // What is being made when it is revoked: its completion finds this, whoever comes first.
    undoPending: db.prepare(`
      UPDATE registrations SET undoing = 1 WHERE (id = :id OR rotation_of = :id) AND status = 'pending'`),
    endKey: db.prepare(`
      UPDATE registrations SET status = 'ending', end_reason = 'revoked', ends_at = :now
      WHERE id = :id AND status = 'active' RETURNING *`),
    endingOf: db.prepare(`
      SELECT * FROM registrations WHERE (id = :id OR rotation_of = :id) AND status = 'ending'`),
    // A rotation that is under way, or waits for its retry, when its registration ends: a completion and a retry find
    // this, whoever comes first.
    undoRotations: db.prepare(`
      UPDATE registrations
      SET undoing = CASE status WHEN 'pending' THEN 1 ELSE undoing END,
          idempotency_hash = NULL, request_hash = NULL, sealed = NULL
      WHERE rotation_of = :id AND status IN ('pending', 'active') AND answered_at IS NULL
        AND NOT ${ROTATED_HAS_KEY}`),
    startEndings: db.prepare(`
      UPDATE registrations SET status = 'ending', end_reason = coalesce(end_reason, 'expired')
      WHERE status = 'active' AND ends_at <= :now
      RETURNING *`),
    dueEndings: db.prepare(`
      SELECT * FROM registrations WHERE status = 'ending' AND ends_at <= :now
      ORDER BY end_reason = 'revoked', ends_at LIMIT :limit`),
    finishEnding: db.prepare(`
      UPDATE registrations SET status = 'ended', ended_at = :now, failure = NULL
      WHERE id = :id AND status = 'ending'
      RETURNING *`),
    postponeEnding: db.prepare(`
      UPDATE registrations SET failure = :failure, ends_at = :until WHERE id = :id AND status = 'ending'`),
    // Compare-and-swap: of two processes that want a duty that lapsed one gets it.
    takeDuty: db.prepare(`
      INSERT INTO duties (name, owner, until) VALUES (:name, :owner, :until)
      ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
      WHERE owner = excluded.owner OR until <= :now OR until > excluded.until + ${CLOCK_FAULT_MS}`),
    // One statement: of two processes that count at once neither loses its one. Older windows are swept out by the way.
    countRequest: db.prepare(`
      INSERT INTO requests (token_id, window, count) VALUES (:tokenId, :window, 1)
      ON CONFLICT (token_id) DO UPDATE SET
        count = CASE window WHEN excluded.window THEN count + 1 ELSE 1 END, window = excluded.window
      RETURNING count`),
    releaseDuty: db.prepare('DELETE FROM duties WHERE name = :name AND owner = :owner'),
  }
}

export type Statements = ReturnType<typeof prepareStatements>
