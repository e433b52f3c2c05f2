import type { DatabaseSync } from 'node:sqlite'
import { hasTables, shapeFaults } from './shape.ts'

/** The differences of schemas that an error names. */
const MOST_FAULTS = 5

/**
 * The schema as a list of steps; `PRAGMA user_version` counts the steps a database file has taken.
 * A step that was released is never edited: a change is a new step.
 */
export const migrations: readonly string[] = [
  `CREATE TABLE tokens (
     id TEXT PRIMARY KEY,
     secret_hash BLOB NOT NULL UNIQUE,
     label TEXT NOT NULL,
     plans TEXT NOT NULL,
     max_uses INTEGER,
     uses INTEGER NOT NULL,
     expires_at INTEGER,
     key_ttl_ms INTEGER,
     name_prefix TEXT NOT NULL,
     rate_per_minute INTEGER,
     created_at INTEGER NOT NULL,
     revoked_at INTEGER,
     CHECK (uses >= 0 AND (max_uses IS NULL OR uses <= max_uses))
   ) STRICT;

   CREATE TABLE registrations (
     id TEXT PRIMARY KEY,
     token_id TEXT NOT NULL REFERENCES tokens (id),
     status TEXT NOT NULL CHECK (status IN ('pending', 'active', 'failed')),
     name TEXT NOT NULL,
     description TEXT NOT NULL,
     plan TEXT NOT NULL,
     usage_plan_id TEXT NOT NULL,
     management_hash BLOB NOT NULL,
     api_key_id TEXT,
     created_at INTEGER NOT NULL,
     ended_at INTEGER,
     expires_at INTEGER,
     failure TEXT
   ) STRICT;

   CREATE INDEX registrations_pending ON registrations (created_at) WHERE status = 'pending';`,

  // Registrations that became active before answers were recorded had been answered: there was no other way.
  `ALTER TABLE registrations ADD COLUMN idempotency_hash BLOB;
   ALTER TABLE registrations ADD COLUMN request_hash BLOB;
   ALTER TABLE registrations ADD COLUMN sealed BLOB;
   ALTER TABLE registrations ADD COLUMN answered_at INTEGER;
   ALTER TABLE registrations ADD COLUMN lease_owner TEXT;
   ALTER TABLE registrations ADD COLUMN lease_until INTEGER;
   ALTER TABLE registrations ADD COLUMN sweep_at INTEGER;
   ALTER TABLE registrations ADD COLUMN undoing INTEGER NOT NULL DEFAULT 0;
   UPDATE registrations SET answered_at = ended_at WHERE status = 'active';

   CREATE UNIQUE INDEX registrations_idempotency ON registrations (token_id, idempotency_hash)
     WHERE idempotency_hash IS NOT NULL;
   CREATE INDEX registrations_unanswered ON registrations (created_at)
     WHERE status = 'active' AND answered_at IS NULL;
   CREATE INDEX registrations_sweep ON registrations (sweep_at) WHERE sweep_at IS NOT NULL;
   CREATE INDEX registrations_remembered ON registrations (created_at) WHERE idempotency_hash IS NOT NULL;
   CREATE INDEX registrations_created ON registrations (created_at);`,

  // A CHECK cannot be changed: the table is recreated for two more statuses, with the columns for endings and rotations.
  `CREATE TABLE registrations_new (
     id TEXT PRIMARY KEY,
     token_id TEXT NOT NULL REFERENCES tokens (id),
     status TEXT NOT NULL CHECK (status IN ('pending', 'active', 'failed', 'ending', 'ended')),
     name TEXT NOT NULL,
     description TEXT NOT NULL,
     plan TEXT NOT NULL,
     usage_plan_id TEXT NOT NULL,
     management_hash BLOB NOT NULL,
     api_key_id TEXT,
     created_at INTEGER NOT NULL,
     ended_at INTEGER,
     expires_at INTEGER,
     failure TEXT,
     idempotency_hash BLOB,
     request_hash BLOB,
     sealed BLOB,
     answered_at INTEGER,
     lease_owner TEXT,
     lease_until INTEGER,
     sweep_at INTEGER,
     undoing INTEGER NOT NULL DEFAULT 0,
     ends_at INTEGER,
     end_reason TEXT CHECK (end_reason IN ('expired', 'revoked', 'rotated')),
     rotation_of TEXT,
     overlap_ms INTEGER,
     renews_management INTEGER,
     replaced_id TEXT,
     current_id TEXT,
     previous_management_hash BLOB
   ) STRICT;
   INSERT INTO registrations_new
     (id, token_id, status, name, description, plan, usage_plan_id, management_hash, api_key_id, created_at, ended_at,
      expires_at, failure, idempotency_hash, request_hash, sealed, answered_at, lease_owner, lease_until, sweep_at,
      undoing, ends_at)
     SELECT
      id, token_id, status, name, description, plan, usage_plan_id, management_hash, api_key_id, created_at, ended_at,
      expires_at, failure, idempotency_hash, request_hash, sealed, answered_at, lease_owner, lease_until, sweep_at,
      undoing, expires_at
     FROM registrations ORDER BY rowid;
   DROP TABLE registrations;
   ALTER TABLE registrations_new RENAME TO registrations;

   CREATE INDEX registrations_pending ON registrations (created_at) WHERE status = 'pending';
   CREATE UNIQUE INDEX registrations_idempotency ON registrations (token_id, idempotency_hash)
     WHERE idempotency_hash IS NOT NULL;
   CREATE INDEX registrations_unanswered ON registrations (created_at)
     WHERE status = 'active' AND answered_at IS NULL;
   CREATE INDEX registrations_sweep ON registrations (sweep_at) WHERE sweep_at IS NOT NULL;
   CREATE INDEX registrations_remembered ON registrations (created_at) WHERE idempotency_hash IS NOT NULL;
   CREATE INDEX registrations_created ON registrations (created_at);
   CREATE INDEX registrations_management ON registrations (management_hash) WHERE rotation_of IS NULL;
   CREATE INDEX registrations_management_before ON registrations (previous_management_hash)
     WHERE previous_management_hash IS NOT NULL;
   CREATE INDEX registrations_rotations ON registrations (rotation_of) WHERE rotation_of IS NOT NULL;
   CREATE INDEX registrations_due ON registrations (ends_at) WHERE status = 'active' AND ends_at IS NOT NULL;
   CREATE INDEX registrations_ending ON registrations (ends_at) WHERE status = 'ending';

   CREATE TABLE duties (name TEXT PRIMARY KEY, owner TEXT NOT NULL, until INTEGER NOT NULL) STRICT;`,

  // AUTOINCREMENT: the number of a purged entry is never reused, so that the cursor of a page stays valid.
  `CREATE TABLE audit (
     seq INTEGER PRIMARY KEY AUTOINCREMENT,
     at INTEGER NOT NULL,
     actor_kind TEXT NOT NULL,
     actor_id TEXT,
     action TEXT NOT NULL,
     detail TEXT,
     token_id TEXT,
     registration_id TEXT,
     api_key_id TEXT,
     request_id TEXT,
     client_address TEXT
   ) STRICT;

   CREATE INDEX audit_at ON audit (at);
   CREATE INDEX audit_registration ON audit (registration_id) WHERE registration_id IS NOT NULL;
   CREATE INDEX audit_token ON audit (token_id) WHERE token_id IS NOT NULL;
   CREATE TRIGGER audit_append_only BEFORE UPDATE ON audit
     BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;

   DROP INDEX registrations_management_before;

   CREATE TABLE requests (token_id TEXT PRIMARY KEY, window INTEGER NOT NULL, count INTEGER NOT NULL) STRICT;`,

  // A count for each window: a process whose clock is behind does not reset the count of a newer one.
  `DROP TABLE requests;
   CREATE TABLE requests (
     token_id TEXT NOT NULL,
     window INTEGER NOT NULL,
     count INTEGER NOT NULL,
     PRIMARY KEY (token_id, window)
   ) STRICT, WITHOUT ROWID;`,

  'CREATE TABLE pings (id INTEGER PRIMARY KEY CHECK (id = 1), content BLOB NOT NULL) STRICT;',

  // Earlier versions do not set `undelivered`. Their answers count as delivered, also while one runs beside this one.
  `ALTER TABLE registrations ADD COLUMN delivered_at INTEGER;
   ALTER TABLE registrations ADD COLUMN undelivered INTEGER NOT NULL DEFAULT 0;

   CREATE INDEX registrations_undelivered ON registrations (answered_at)
     WHERE status = 'active' AND undelivered = 1;`,

  `ALTER TABLE registrations ADD COLUMN suspended_at INTEGER;
   ALTER TABLE registrations ADD COLUMN switch_at INTEGER;
   CREATE INDEX registrations_switch ON registrations (switch_at) WHERE switch_at IS NOT NULL;`,

  // The uses of a token that can still be refunded.
  `CREATE INDEX registrations_refundable ON registrations (token_id, created_at)
     WHERE rotation_of IS NULL AND status IN ('pending', 'active') AND (answered_at IS NULL OR undelivered = 1);`,

  'ALTER TABLE registrations ADD COLUMN final_usage TEXT;',

  'CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;',

  'ALTER TABLE registrations ADD COLUMN client_metadata TEXT;',

  // A virtual token, and what its registrations hold: a place, a name, a proof. An index of its own finds the holder of a name.
  `ALTER TABLE tokens ADD COLUMN federation TEXT;
   ALTER TABLE registrations ADD COLUMN proof_hash BLOB;
   ALTER TABLE registrations ADD COLUMN proof_expires_at INTEGER;
   ALTER TABLE registrations ADD COLUMN holds_name INTEGER;
   ALTER TABLE registrations ADD COLUMN holds_place INTEGER NOT NULL DEFAULT 0;
   ALTER TABLE audit ADD COLUMN actor_identity TEXT;

   CREATE UNIQUE INDEX registrations_held_names ON registrations (token_id, name)
     WHERE holds_place = 1 AND holds_name = 1;
   CREATE TABLE proofs (hash BLOB PRIMARY KEY, holder TEXT, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
   CREATE INDEX proofs_expiry ON proofs (expires_at);
   CREATE TABLE access_tokens (
     secret_hash BLOB PRIMARY KEY,
     token_id TEXT NOT NULL REFERENCES tokens (id),
     expires_at INTEGER NOT NULL,
     proof_hash BLOB,
     proof_expires_at INTEGER
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX access_tokens_expiry ON access_tokens (expires_at);`,

  // Keys that are made before they are asked for, without their values, and the processes that hold them.
  `CREATE TABLE pool_keys (
     id TEXT PRIMARY KEY,
     plan TEXT NOT NULL,
     usage_plan_id TEXT NOT NULL,
     state TEXT NOT NULL,
     api_key_id TEXT,
     holder TEXT,
     seen_working INTEGER NOT NULL DEFAULT 0,
     created_at INTEGER NOT NULL,
     changed_at INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX pool_keys_plan ON pool_keys (plan);
   CREATE TABLE pool_holders (
     owner TEXT PRIMARY KEY,
     until INTEGER NOT NULL,
     sizes TEXT NOT NULL,
     trouble TEXT
   ) STRICT, WITHOUT ROWID;`,

  // The probes of a key of the pool are no use by the caller that it is given to.
  'ALTER TABLE registrations ADD COLUMN seen_working INTEGER NOT NULL DEFAULT 0;',
]

const versionOf = (db: DatabaseSync) => Number(db.prepare('PRAGMA user_version').get()?.['user_version'])

/**
 * Checks that a database is a store of this version or of an earlier one, or empty. The caller holds a transaction. Changes
 * nothing.
 * @throws Error if it was written by a newer or an unreleased version of firstkey, or by another program
 */
export function requireOwnSchema(db: DatabaseSync): void {
  const version = versionOf(db)
  if (version > migrations.length) {
    throw new Error(
      `it was written by a newer firstkey (schema ${version}, this one knows ${migrations.length}): ` +
        'run that version, or give this one a store of its own',
    )
  }
  if (version === 0 && hasTables(db))
    throw new Error('it is the database of another program: give firstkey a store of its own')
  const faults = shapeFaults(db, migrations.slice(0, version))
  if (faults.length === 0) return
  const named = [...faults.slice(0, MOST_FAULTS), ...(faults.length > MOST_FAULTS ? ['and more'] : [])]
  throw new Error(
    `it was written by an unreleased firstkey or by another program, because it differs from schema ${version}: ` +
      `${named.join(', ')}. Run the version that wrote it, or give this one a store of its own`,
  )
}

/**
 * Brings a database that passed {@link requireOwnSchema} up to date. The caller holds a write transaction, so that two
 * processes that start together do not both migrate.
 */
export function migrate(db: DatabaseSync): void {
  const steps = migrations.slice(versionOf(db))
  if (steps.length === 0) return
  for (const step of steps) db.exec(step)
  db.exec(`PRAGMA user_version = ${migrations.length}`)
}
