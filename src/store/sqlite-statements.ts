import type { DatabaseSync } from 'node:sqlite'

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
      WHERE token_id = ? AND idempotency_hash IS NOT NULL`),

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
                                 created_at, expires_at, idempotency_hash, request_hash, sealed,
                                 lease_owner, lease_until)
      VALUES (:id, :tokenId, 'pending', :name, :description, :plan, :usagePlanId, :managementHash,
              :createdAt, :expiresAt, :keyHash, :requestHash, :sealed, :owner, :until)`),
    registrationById: db.prepare('SELECT * FROM registrations WHERE id = ?'),
    registrationByKey: db.prepare('SELECT * FROM registrations WHERE token_id = ? AND idempotency_hash = ?'),

    // Guarded by status and lease: of a completion and an undoing that race, and of a worker that slept through its
    // lease and the one that took over, exactly one wins. What somebody began to undo, since this one looked, is not
    // handed out: its delete may yet take effect.
    complete: db.prepare(`
      UPDATE registrations
      SET status = 'active', api_key_id = :apiKeyId, ended_at = :now, answered_at = :answeredAt,
          lease_owner = NULL, lease_until = NULL
      WHERE id = :id AND status = 'pending' AND lease_owner = :owner AND undoing = 0`),
    // An answered registration never fails: a replay that marks it answered and an undoing of what nobody asked for
    // race here. Failing frees the idempotency key, so that the retry is a new attempt.
    fail: db.prepare(`
      UPDATE registrations
      SET status = 'failed', failure = :failure, ended_at = :now, sweep_at = :sweepAt,
          idempotency_hash = NULL, request_hash = NULL, sealed = NULL, lease_owner = NULL, lease_until = NULL
      WHERE id = :id AND status IN ('pending', 'active') AND answered_at IS NULL AND lease_owner = :owner
      RETURNING token_id`),
    // Written before the first delete: a delete without an answer may take effect late, so from here on no retry and
    // no recovery may hand this key out.
    startUndoing: db.prepare(`
      UPDATE registrations SET undoing = 1 WHERE id = :id AND status = 'pending' AND lease_owner = :owner`),
    markAnswered: db.prepare(`
      UPDATE registrations SET answered_at = coalesce(answered_at, :now)
      WHERE id = :id AND status = 'active'`),

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
  }
}
