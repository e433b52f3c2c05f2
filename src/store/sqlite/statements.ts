import type { DatabaseSync } from 'node:sqlite'
import { LONGEST_AHEAD_MS } from '../../registration/lifecycle.ts'

const rotated = (current: string) => `EXISTS (
        SELECT 1 FROM registrations AS root
        JOIN registrations AS current ON current.id = coalesce(root.current_id, root.id)
        WHERE root.id = registrations.rotation_of AND ${current})`

/** Condition: the registration that a row rotates has an active key. */
const ROTATED_HAS_KEY = rotated(`current.status = 'active'`)

/** Condition: the same, and the key is not suspended, so that the rotation can replace it. */
const ROTATED_CAN_BE_REPLACED = rotated(`current.status = 'active' AND current.suspended_at IS NULL`)

/** `publicStatusOf` of lifecycle.ts, by the row `current` of a registration's present key. */
const PUBLIC_STATUS = `
      CASE
        WHEN current.status IN ('ending', 'ended') AND current.end_reason = 'revoked' THEN 'revoked'
        WHEN current.status IN ('ending', 'ended') THEN 'expired'
        WHEN current.status = 'active' AND current.expires_at <= :now THEN 'expired'
        WHEN current.status = 'active' AND current.suspended_at IS NOT NULL THEN 'suspended'
        ELSE current.status
      END`

/** Condition, `mayHaveKey` of lifecycle.ts: API Gateway may hold a key for the row `key`. */
const MAY_HAVE_KEY = `key.status IN ('pending', 'active', 'ending')`

/** Condition, `hasCome` of lifecycle.ts. */
const hasCome = (time: string, now = ':now') =>
  `(${time} <= ${now} OR ${time} > ${now} + ${LONGEST_AHEAD_MS})`

/** Column: the registration of a row holds a place, so that its end may give it back. */
const ROOT_HOLDS_PLACE = `(
        SELECT root.holds_place FROM registrations AS root
        WHERE root.id = coalesce(registrations.rotation_of, registrations.id)) AS root_holds_place`

/** The end of a lease that is renewed to `:until`. */
const RENEWED = `CASE WHEN ${hasCome('lease_until', ':until')} THEN :until ELSE lease_until END`

/**
 * Every statement of the SQLite store, prepared once. Comments name the race that a condition closes. Conditions that
 * state a predicate of `registration/lifecycle.ts` name it; the contract suite compares them.
 */
export function prepareStatements(db: DatabaseSync) {
  return {
    insertToken: db.prepare(`
      INSERT INTO tokens (id, secret_hash, label, plans, max_uses, uses, expires_at, key_ttl_ms, name_prefix,
                          rate_per_minute, created_at, revoked_at, federation)
      VALUES (:id, :secretHash, :label, :plans, :maxUses, :uses, :expiresAt, :keyTtlMs, :namePrefix,
              :ratePerMinute, :createdAt, :revokedAt, :federation)
      ON CONFLICT DO NOTHING`),
    tokenByHash: db.prepare('SELECT * FROM tokens WHERE secret_hash = ? AND federation IS NULL'),
    tokenById: db.prepare('SELECT * FROM tokens WHERE id = ?'),
    allTokens: db.prepare('SELECT * FROM tokens ORDER BY created_at DESC, id DESC'),
    revokeToken: db.prepare(
      'UPDATE tokens SET revoked_at = coalesce(revoked_at, :now) WHERE id = :id RETURNING *',
    ),
    forgetOfToken: db.prepare(`
      UPDATE registrations SET idempotency_hash = NULL, request_hash = NULL, sealed = NULL
      WHERE token_id = ? AND idempotency_hash IS NOT NULL AND rotation_of IS NULL`),

    // Compare-and-swap: of two registrations that race for the last use, only one finds `uses < max_uses`. A revocation
    // that is committed first is seen here too.
    spendUse: db.prepare(`
      UPDATE tokens SET uses = uses + 1
      WHERE id = :token AND revoked_at IS NULL
        AND (expires_at IS NULL OR expires_at > :now)
        AND (max_uses IS NULL OR uses < max_uses)
        AND (federation ->> '$.maxLive' IS NULL OR uses < federation ->> '$.maxLive')`),
    updateGrant: db.prepare(`
      UPDATE tokens
      SET label = :label, plans = :plans, max_uses = :maxUses, expires_at = :expiresAt, key_ttl_ms = :keyTtlMs,
          name_prefix = :namePrefix, rate_per_minute = :ratePerMinute, federation = :federation
      WHERE id = :id RETURNING *`),
    proofHolder: db.prepare('SELECT holder FROM proofs WHERE hash = ?'),
    // Of two that claim the same proof, for a registration, a rotation or an access token, the second inserts nothing.
    claimProof: db.prepare(`
      INSERT INTO proofs (hash, holder, expires_at) VALUES (:hash, :holder, :expiresAt) ON CONFLICT DO NOTHING`),
    giveProofBack: db.prepare('DELETE FROM proofs WHERE hash = :hash AND holder = :holder'),
    purgeProofs: db.prepare(`
      DELETE FROM proofs WHERE hash IN (
        SELECT hash FROM proofs WHERE expires_at < :before ORDER BY expires_at LIMIT :limit)`),
    insertAccessToken: db.prepare(`
      INSERT INTO access_tokens (secret_hash, token_id, expires_at, proof_hash, proof_expires_at)
      VALUES (:secretHash, :tokenId, :expiresAt, :proofHash, :proofExpiresAt) ON CONFLICT DO NOTHING`),
    accessTokenByHash: db.prepare('SELECT * FROM access_tokens WHERE secret_hash = ?'),
    accessTokens: db.prepare('SELECT * FROM access_tokens ORDER BY expires_at, secret_hash'),
    purgeAccessTokens: db.prepare(`
      DELETE FROM access_tokens WHERE secret_hash IN (
        SELECT secret_hash FROM access_tokens WHERE expires_at < :before ORDER BY expires_at LIMIT :limit)`),
    // By the unique index of held names.
    nameHolder: db.prepare(`
      SELECT * FROM registrations WHERE token_id = ? AND name = ? AND holds_place = 1 AND holds_name = 1`),
    // Exactly once: of two ends of a registration, by whatever path, the second finds no place. A rotation that was answered
    // before has another present key.
    releasePlace: db.prepare(`
      UPDATE registrations SET holds_place = 0
      WHERE id = ? AND holds_place = 1 AND EXISTS (
        SELECT 1 FROM registrations AS current
        WHERE current.id = coalesce(registrations.current_id, registrations.id) AND current.status IN ('ending', 'ended'))
      RETURNING token_id, rotation_of`),
    giveUseBack: db.prepare('UPDATE tokens SET uses = uses - 1 WHERE id = ?'),
    // `holdsUse` of lifecycle.ts, in the words of its index: unfinished registrations only.
    refundable: db.prepare(`
      SELECT * FROM registrations
      WHERE token_id = :token AND rotation_of IS NULL AND status IN ('pending', 'active')
        AND (answered_at IS NULL OR undelivered = 1)
      ORDER BY created_at LIMIT :limit`),
    // `isDisplaceable` of lifecycle.ts. Of this and a retry that is answered, the second finds the other.
    displace: db.prepare(`
      UPDATE registrations SET idempotency_hash = NULL, request_hash = NULL, sealed = NULL
      WHERE id = ? AND rotation_of IS NULL AND status = 'active' AND answered_at IS NULL AND end_reason IS NULL
        AND idempotency_hash IS NOT NULL`),

    insertRegistration: db.prepare(`
      INSERT INTO registrations (id, token_id, status, name, description, plan, usage_plan_id, management_hash,
                                 created_at, expires_at, ends_at, idempotency_hash, request_hash, sealed,
                                 lease_owner, lease_until, rotation_of, overlap_ms, renews_management, client_metadata,
                                 proof_hash, proof_expires_at, holds_name, holds_place, seen_working)
      VALUES (:id, :tokenId, 'pending', :name, :description, :plan, :usagePlanId, :managementHash,
              :createdAt, :expiresAt, :expiresAt, :keyHash, :requestHash, :sealed, :owner, :until,
              :rotationOf, :overlapMs, :renewsManagement, :clientMetadata,
              :proofHash, :proofExpiresAt, :holdsName, :holdsPlace, :seenWorking)`),
    // Of two that adopt the same key, one inserts it.
    adoptKey: db.prepare(`
      INSERT INTO registrations (id, token_id, status, name, description, plan, usage_plan_id, management_hash,
                                 api_key_id, created_at, ended_at, answered_at, delivered_at)
      VALUES (:id, :tokenId, 'active', :name, :description, :plan, :usagePlanId, :managementHash,
              :apiKeyId, :createdAt, :now, :now, :now)
      ON CONFLICT DO NOTHING`),
    countUse: db.prepare('UPDATE tokens SET uses = uses + 1 WHERE id = ?'),
    registrationById: db.prepare('SELECT * FROM registrations WHERE id = ?'),
    registrationByKey: db.prepare('SELECT * FROM registrations WHERE token_id = ? AND idempotency_hash = ?'),

    // Guarded by status and lease: of a completion and an undoing that race, and of a worker whose lease expired and the
    // one that took over, exactly one wins. `undoing = 0`: a deletion that was started may still take effect.
    // Answered or with an idempotency key: otherwise no caller could ever receive the key.
    complete: db.prepare(`
      UPDATE registrations
      SET status = 'active', api_key_id = :apiKeyId, ended_at = :now, answered_at = :answeredAt,
          undelivered = :answeredAt IS NOT NULL, lease_owner = NULL, lease_until = NULL
      WHERE id = :id AND status = 'pending' AND lease_owner = :owner AND undoing = 0
        AND (ends_at IS NULL OR ends_at > :now)
        AND (:answeredAt IS NOT NULL OR idempotency_hash IS NOT NULL)
        AND (rotation_of IS NULL OR ${ROTATED_CAN_BE_REPLACED})
      RETURNING token_id, rotation_of`),
    // An answered registration never fails: a replay that marks it answered races here with the undoing of an unanswered
    // one. Failing frees the idempotency key, so that a retry begins anew.
    fail: db.prepare(`
      UPDATE registrations
      SET status = 'failed', failure = :failure, ended_at = :now, sweep_at = :sweepAt,
          idempotency_hash = NULL, request_hash = NULL, sealed = NULL, lease_owner = NULL, lease_until = NULL,
          holds_place = 0
      WHERE id = :id AND status IN ('pending', 'active') AND answered_at IS NULL AND lease_owner = :owner
      RETURNING token_id, rotation_of, proof_hash`),
    // Written before the first deletion: a deletion whose response is lost may take effect late, so from here on no
    // retry and no recovery may return this key.
    startUndoing: db.prepare(`
      UPDATE registrations SET undoing = 1 WHERE id = :id AND status = 'pending' AND lease_owner = :owner`),
    // Of a withdrawal and a rotation or revocation by an operator, the second finds another status. Of a withdrawal and a
    // delivery, the first wins: a management call or a response that is recorded first keeps the key. A retry that is being
    // answered has moved answered_at.
    withdraw: db.prepare(`
      UPDATE registrations
      SET status = 'pending', undoing = 1, answered_at = NULL, undelivered = 0, lease_owner = :owner, lease_until = :until
      WHERE id = :id AND status = 'active' AND undelivered = 1 AND answered_at <= :answeredBy
        AND idempotency_hash IS NULL AND rotation_of IS NULL AND current_id IS NULL AND end_reason IS NULL`),
    // A retry that is being answered, here or in another process, has moved answered_at.
    retract: db.prepare(`
      UPDATE registrations SET answered_at = NULL, undelivered = 0
      WHERE id = :id AND status = 'active' AND undelivered = 1 AND answered_at = :answeredAt
        AND idempotency_hash IS NOT NULL AND rotation_of IS NULL AND current_id IS NULL AND end_reason IS NULL`),
    markDelivered: db.prepare(`
      UPDATE registrations SET delivered_at = :now, undelivered = 0 WHERE id = :id AND undelivered = 1`),
    // `isInDoubt` of lifecycle.ts, by a small index of undelivered registrations.
    inDoubt: db.prepare(`
      SELECT * FROM registrations
      WHERE status = 'active' AND undelivered = 1 AND answered_at <= :answeredBy AND end_reason IS NULL
      ORDER BY answered_at, id LIMIT :limit`),
    // `isReplayable` of lifecycle.ts. A rotation that was not answered takes its place only while there is a key to replace.
    markAnswered: db.prepare(`
      UPDATE registrations
      SET answered_at = CASE
            WHEN answered_at IS NULL THEN :now WHEN undelivered = 1 THEN max(:now, answered_at + 1) ELSE answered_at END,
          undelivered = answered_at IS NULL OR undelivered = 1
      WHERE id = :id AND status = 'active' AND end_reason IS NULL AND (ends_at IS NULL OR ends_at > :now)
        AND suspended_at IS NULL
        AND (answered_at IS NOT NULL OR idempotency_hash IS NOT NULL)
        AND (rotation_of IS NULL OR answered_at IS NOT NULL OR ${ROTATED_CAN_BE_REPLACED})`),

    // Compare-and-swap: of two processes that find the same expired lease one takes it, and none if the registration
    // was answered, ended or swept since it was listed. An active one becomes pending in the same step, so that no retry
    // can receive a key that is about to be deleted.
    takeLease: db.prepare(`
      UPDATE registrations
      SET lease_owner = :owner, lease_until = :until,
          undoing = CASE status WHEN 'active' THEN 1 ELSE undoing END,
          status = CASE status WHEN 'active' THEN 'pending' ELSE status END
      WHERE id = :id AND status = :status AND (lease_until IS NULL OR ${hasCome('lease_until')})
        AND (status <> 'active' OR (answered_at IS NULL AND idempotency_hash IS NULL))
        AND (status <> 'failed' OR sweep_at IS NOT NULL)`),
    // A registration that another worker took over has another owner, and is not extended by the one who lost it. Two
    // statements, so that each finds its small index: pending registrations, and failed ones that are swept.
    renewPending: db.prepare(`
      UPDATE registrations SET lease_until = ${RENEWED}
      WHERE status = 'pending' AND lease_owner = :owner`),
    renewSweeps: db.prepare(`
      UPDATE registrations SET lease_until = ${RENEWED}
      WHERE sweep_at IS NOT NULL AND lease_owner = :owner`),
    releaseLease: db.prepare(`
      UPDATE registrations SET lease_owner = NULL, lease_until = NULL WHERE id = :id AND lease_owner = :owner`),
    // `needsRecovery` of lifecycle.ts, and no lease. Three small indexes, each of unfinished registrations only.
    recoverable: db.prepare(`
      SELECT * FROM (
        SELECT * FROM registrations WHERE status = 'pending'
        UNION ALL
        SELECT * FROM registrations
        WHERE status = 'active' AND answered_at IS NULL AND idempotency_hash IS NULL
        UNION ALL
        SELECT * FROM registrations WHERE sweep_at IS NOT NULL AND ${hasCome('sweep_at')}
      )
      WHERE lease_until IS NULL OR ${hasCome('lease_until')}
      ORDER BY created_at, id LIMIT :limit`),
    // A sweep that was scheduled while this one ran looks for a key that was created later: it stays due.
    finishSweep: db.prepare(`
      UPDATE registrations
      SET sweep_at = CASE WHEN NOT ${hasCome('sweep_at', ':dueBy')} THEN sweep_at END, lease_owner = NULL, lease_until = NULL
      WHERE id = :id AND status = 'failed'`),
    sweepAgain: db.prepare(`UPDATE registrations SET sweep_at = :at WHERE id = :id AND status = 'failed'`),
    forgetOld: db.prepare(`
      UPDATE registrations SET idempotency_hash = NULL, request_hash = NULL, sealed = NULL
      WHERE idempotency_hash IS NOT NULL AND created_at < ?`),
    registrations: db.prepare(`
      SELECT * FROM registrations
      WHERE (:status IS NULL OR status = :status) AND (:tokenId IS NULL OR token_id = :tokenId)
      ORDER BY created_at DESC, id DESC LIMIT :limit`),
    withKeys: db.prepare(`
      SELECT root.id AS id, current.id AS current_id
      FROM registrations AS root JOIN registrations AS current ON current.id = coalesce(root.current_id, root.id)
      WHERE root.rotation_of IS NULL
        AND (:status IS NULL OR :status = ${PUBLIC_STATUS})
        AND (:tokenId IS NULL OR root.token_id = :tokenId)
        AND (:plan IS NULL OR current.plan = :plan)
        AND (:expiringBy IS NULL
          OR (current.status = 'active' AND current.expires_at > :now AND current.expires_at <= :expiringBy))
        AND (:inDoubtBy IS NULL OR (current.status = 'active' AND current.end_reason IS NULL
          AND current.undelivered = 1 AND current.answered_at <= :inDoubtBy))
        AND (NOT :withKey OR EXISTS (
          SELECT 1 FROM registrations AS key
          WHERE (key.id = root.id OR key.rotation_of = root.id) AND ${MAY_HAVE_KEY}))
        AND (:afterId IS NULL OR (root.created_at, root.id) < (:afterCreatedAt, :afterId))
      ORDER BY root.created_at DESC, root.id DESC LIMIT :limit`),
    countByStatus: db.prepare(`
      SELECT current.plan AS plan, ${PUBLIC_STATUS} AS status, count(*) AS count
      FROM registrations AS root JOIN registrations AS current ON current.id = coalesce(root.current_id, root.id)
      WHERE root.rotation_of IS NULL
      GROUP BY 1, 2 ORDER BY 1, 2`),
    countKeys: db.prepare(`SELECT count(*) AS count FROM registrations WHERE status IN ('active', 'ending')`),
    registrationByManagementHash: db.prepare(`
      SELECT * FROM registrations WHERE management_hash = ? AND rotation_of IS NULL`),
    rotations: db.prepare('SELECT * FROM registrations WHERE rotation_of = ? ORDER BY created_at, id'),

    // A rotation begins only while there is a key to replace, and one at a time: of two that race, one finds the other.
    // `awaitsDeletion` of lifecycle.ts: nor while an earlier key has to be deleted.
    rotatable: db.prepare(`
      SELECT
        current.status = 'active' AND (current.ends_at IS NULL OR current.ends_at > :now) AS has_key,
        current.suspended_at IS NOT NULL AS suspended,
        EXISTS (
          SELECT 1 FROM registrations WHERE rotation_of = :id AND status = 'pending' AND undoing = 0) AS busy,
        EXISTS (
          SELECT 1 FROM registrations AS earlier
          WHERE (earlier.id = :id OR earlier.rotation_of = :id) AND earlier.id <> current.id
            AND (earlier.status = 'ending'
              OR (earlier.status = 'pending' AND earlier.undoing = 1)
              OR (earlier.status = 'active' AND earlier.end_reason = 'rotated' AND earlier.ends_at <= :now)
              OR (earlier.status = 'active' AND earlier.answered_at IS NULL AND earlier.idempotency_hash IS NULL))
        ) AS deleting
      FROM registrations AS root JOIN registrations AS current ON current.id = coalesce(root.current_id, root.id)
      WHERE root.id = :id`),
    // No caller received its key: once forgotten, recovery undoes it.
    forgetUnanswered: db.prepare(`
      UPDATE registrations SET idempotency_hash = NULL, request_hash = NULL, sealed = NULL
      WHERE rotation_of = ? AND status = 'active' AND answered_at IS NULL`),
    // Four steps of one transaction, when a rotation is answered: a key that overlaps already is due at once, the replaced
    // key ends after its overlap, and the registration has the new one. A revocation is committed before all of them or
    // after.
    endOverlap: db.prepare(`
      UPDATE registrations SET ends_at = min(ends_at, :now)
      WHERE (id = :root OR rotation_of = :root) AND status = 'active' AND end_reason = 'rotated'`),
    startOverlap: db.prepare(`
      UPDATE registrations SET end_reason = 'rotated', ends_at = min(coalesce(ends_at, :until), :until)
      WHERE id = :id`),
    setReplaced: db.prepare('UPDATE registrations SET replaced_id = :replaced WHERE id = :id'),
    // A registration that was rotated counts as delivered: it must not be undone, and its use stays spent.
    setCurrent: db.prepare(`
      UPDATE registrations
      SET current_id = :current, answered_at = coalesce(answered_at, :now),
          delivered_at = CASE undelivered WHEN 1 THEN :now ELSE delivered_at END, undelivered = 0
      WHERE id = :root`),
    renewManagement: db.prepare(`
      UPDATE registrations SET previous_management_hash = management_hash, management_hash = :hash
      WHERE id = :root`),

    // Written before the first deletion: from here on no replay returns the key, and no rotation replaces it. A key that
    // is revoked already keeps the time of its next deletion attempt.
    revoke: db.prepare(`
      UPDATE registrations SET status = 'ending', end_reason = 'revoked', ends_at = :now
      WHERE (id = :id OR rotation_of = :id)
        AND (status = 'active' OR (status = 'ending' AND end_reason <> 'revoked'))
      RETURNING *, ${ROOT_HOLDS_PLACE}`),
    newestToRevoke: db.prepare(`
      SELECT * FROM registrations
      WHERE (id = :id OR rotation_of = :id)
        AND (status = 'active' OR (status = 'ending' AND end_reason <> 'revoked')
          OR (status = 'pending' AND undoing = 0))
      ORDER BY created_at DESC, id DESC LIMIT 1`),
    // A revocation races with the completion of a pending key: the completion finds this, or is found by the revocation.
    undoPending: db.prepare(`
      UPDATE registrations SET undoing = 1 WHERE (id = :id OR rotation_of = :id) AND status = 'pending'`),
    endKey: db.prepare(`
      UPDATE registrations SET status = 'ending', end_reason = 'revoked', ends_at = :now
      WHERE id = :id AND status = 'active' RETURNING *, ${ROOT_HOLDS_PLACE}`),
    endingOf: db.prepare(`
      SELECT * FROM registrations WHERE (id = :id OR rotation_of = :id) AND status = 'ending'
      ORDER BY rotation_of IS NOT NULL, created_at, id`),
    // As a registration ends, a pending rotation of it can only be undone, and an unanswered one is forgotten. A
    // completion or a retry that races with this finds it, or is found.
    undoRotations: db.prepare(`
      UPDATE registrations
      SET undoing = CASE status WHEN 'pending' THEN 1 ELSE undoing END,
          idempotency_hash = CASE status WHEN 'pending' THEN idempotency_hash END,
          request_hash = CASE status WHEN 'pending' THEN request_hash END,
          sealed = CASE status WHEN 'pending' THEN sealed END
      WHERE rotation_of = :id AND status IN ('pending', 'active') AND answered_at IS NULL
        AND NOT ${ROTATED_HAS_KEY}`),
    // `isDue` of lifecycle.ts. Two small indexes: active keys with an end, and keys that are to be deleted.
    due: db.prepare(`
      SELECT * FROM (
        SELECT * FROM registrations WHERE status = 'active' AND ends_at <= :endedBy
        UNION ALL
        SELECT * FROM registrations
        WHERE status = 'ending'
          AND CASE end_reason WHEN 'revoked' THEN ${hasCome('ends_at')} ELSE ends_at <= :endedBy END
      )
      ORDER BY CASE end_reason WHEN 'rotated' THEN 2 WHEN 'revoked' THEN 1 ELSE 0 END, ends_at, id LIMIT :limit`),
    // Each part by an index of its own that has no other rows.
    countWork: db.prepare(`
      SELECT
        (SELECT count(*) FROM registrations WHERE status = 'pending') AS pending,
        (SELECT count(*) FROM registrations
         WHERE status = 'active' AND undelivered = 1 AND answered_at <= :answeredBy AND end_reason IS NULL) AS inDoubt,
        (SELECT count(*) FROM registrations WHERE status = 'ending')
          + (SELECT count(*) FROM registrations WHERE status = 'active' AND ends_at <= :now) AS ending,
        (SELECT count(*) FROM registrations WHERE status = 'ending' AND failure IS NOT NULL) AS failing`),
    countExpiring: db.prepare(`
      SELECT
        (SELECT count(*) FROM registrations WHERE status = 'active' AND ends_at <= :by AND end_reason IS NULL)
          + (SELECT count(*) FROM registrations WHERE status = 'ending' AND ends_at <= :by AND end_reason = 'expired')
          + (SELECT count(*) FROM registrations WHERE status = 'pending' AND ends_at <= :by) AS count`),
    startEnding: db.prepare(`
      UPDATE registrations SET status = 'ending', end_reason = coalesce(end_reason, 'expired')
      WHERE id = :id AND status = 'active' AND ends_at <= :now
      RETURNING *, ${ROOT_HOLDS_PLACE}`),
    saveUsage: db.prepare(
      `UPDATE registrations SET final_usage = :usage WHERE id = :id AND status = 'ending'`,
    ),
    // Added up here: a registration that is rotated often has thousands of records.
    finalUsage: db.prepare(`
      SELECT day.key AS date, sum(day.value) AS used
      FROM registrations, json_each(registrations.final_usage) AS day
      WHERE (registrations.id = :id OR registrations.rotation_of = :id)
        AND registrations.final_usage IS NOT NULL AND day.key BETWEEN :from AND :to
      GROUP BY day.key`),
    finishEnding: db.prepare(`
      UPDATE registrations SET status = 'ended', ended_at = :now, failure = NULL
      WHERE id = :id AND status = 'ending'
      RETURNING *`),
    postponeEnding: db.prepare(`
      UPDATE registrations SET failure = :failure, ends_at = :until WHERE id = :id AND status = 'ending'`),
    // A rotation that is completed or answered meanwhile is committed before this, and its key is suspended too, or after it,
    // and finds the present key suspended.
    suspend: db.prepare(`
      UPDATE registrations SET suspended_at = :now, switch_at = :now
      WHERE (id = :id OR rotation_of = :id) AND status = 'active' AND suspended_at IS NULL
      RETURNING *`),
    resume: db.prepare(`
      UPDATE registrations SET suspended_at = NULL, switch_at = :now
      WHERE (id = :id OR rotation_of = :id) AND status = 'active' AND suspended_at IS NOT NULL
      RETURNING *`),
    switchesOf: db.prepare(`
      SELECT * FROM registrations WHERE (id = :id OR rotation_of = :id) AND switch_at IS NOT NULL
      ORDER BY rotation_of IS NOT NULL, created_at, id`),
    // `isSwitchDue` of lifecycle.ts. A small index: keys that are to be switched.
    switches: db.prepare(`
      SELECT * FROM registrations
      WHERE switch_at IS NOT NULL AND ${hasCome('switch_at')}
      ORDER BY switch_at, id LIMIT :limit`),
    // A key that was suspended or resumed while it was switched stays to be switched.
    finishSwitch: db.prepare(`
      UPDATE registrations SET switch_at = NULL WHERE id = :id AND suspended_at IS :suspendedAt`),
    postponeSwitch: db.prepare(`
      UPDATE registrations SET switch_at = :until WHERE id = :id AND switch_at IS NOT NULL`),
    // Compare-and-swap: of two processes that take an expired leader lease one gets it.
    takeLeaderLease: db.prepare(`
      INSERT INTO duties (name, owner, until) VALUES (:name, :owner, :until)
      ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
      WHERE owner = excluded.owner OR ${hasCome('until')}`),
    releaseLeaderLease: db.prepare('DELETE FROM duties WHERE name = :name AND owner = :owner'),
    // One statement: of two processes that count at once neither loses its count.
    countRequest: db.prepare(`
      INSERT INTO requests (token_id, window, count) VALUES (:tokenId, :window, 1)
      ON CONFLICT (token_id, window) DO UPDATE SET count = count + 1
      RETURNING count`),
    dropOldCounts: db.prepare('DELETE FROM requests WHERE token_id = :tokenId AND window < :window - 1'),

    renewPoolHolder: db.prepare(`
      INSERT INTO pool_holders (owner, until, sizes, trouble) VALUES (:owner, :until, :sizes, :trouble)
      ON CONFLICT (owner) DO UPDATE
      SET until = excluded.until, sizes = excluded.sizes, trouble = excluded.trouble`),
    dropOldPoolHolders: db.prepare(`
      DELETE FROM pool_holders WHERE until < :until - :kept OR until > :until + :kept`),
    dropPoolHolder: db.prepare('DELETE FROM pool_holders WHERE owner = ?'),
    freePoolKeys: db.prepare('UPDATE pool_keys SET holder = NULL WHERE holder = ?'),
    poolHolders: db.prepare('SELECT * FROM pool_holders ORDER BY owner'),
    poolKeys: db.prepare('SELECT * FROM pool_keys ORDER BY created_at, id'),
    countPoolKeys: db.prepare('SELECT count(*) AS count FROM pool_keys WHERE plan = ?'),
    insertPoolKey: db.prepare(`
      INSERT INTO pool_keys (id, plan, usage_plan_id, state, holder, created_at, changed_at)
      VALUES (:id, :plan, :usagePlanId, 'making', :owner, :createdAt, :createdAt)`),
    // Guarded by state and holder: of a holder whose time is over and the one that took its keys over, the second alone moves them.
    startWarming: db.prepare(`
      UPDATE pool_keys SET state = 'warming', api_key_id = :apiKeyId, seen_working = :seenWorking, changed_at = :now
      WHERE id = :id AND state = 'making' AND holder = :owner`),
    makeReady: db.prepare(`
      UPDATE pool_keys SET state = 'ready', seen_working = :seenWorking, changed_at = :now
      WHERE id = :id AND state = 'warming' AND holder = :owner AND api_key_id = :apiKeyId`),
    discardPoolKey: db.prepare(`
      UPDATE pool_keys SET state = 'discarding', changed_at = :now
      WHERE id = :id AND state <> 'discarding' AND holder = :owner`),
    // Compare-and-swap: of two processes that take the same key, the second finds a holder whose time is not over. One that
    // renews its time is committed before this, and keeps the key, or after it, and finds another holder.
    takePoolKey: db.prepare(`
      UPDATE pool_keys SET holder = :owner
      WHERE id = :id AND (holder IS NULL OR holder = :owner OR NOT EXISTS (
        SELECT 1 FROM pool_holders WHERE owner = pool_keys.holder AND NOT ${hasCome('until')}))`),
    givePoolKeyUp: db.prepare('UPDATE pool_keys SET holder = NULL WHERE id = :id AND holder = :owner'),
    forgetPoolKey: db.prepare(`
      DELETE FROM pool_keys WHERE id = :id AND state = 'discarding' AND holder = :owner`),
    // Exactly once: of two hand-outs of a key, of a hand-out and a take-over, and of a hand-out and a discarding, the first wins.
    poolKeyToHandOut: db.prepare(`
      SELECT 1 FROM pool_keys
      WHERE id = :id AND state = 'ready' AND holder = :owner AND api_key_id = :apiKeyId AND usage_plan_id = :usagePlanId`),
    removePoolKey: db.prepare('DELETE FROM pool_keys WHERE id = ?'),

    metaValue: db.prepare('SELECT value FROM meta WHERE name = ?'),
    deleteMeta: db.prepare('DELETE FROM meta WHERE name = :name AND value = :value'),
    // As many pages as a registration takes: a disk that is nearly full may have room for one page.
    ping: db.prepare('INSERT OR REPLACE INTO pings (id, content) VALUES (1, zeroblob(49152))'),
  }
}

export type Statements = ReturnType<typeof prepareStatements>
