import type { Log } from '../log.ts'
import type { OnCommit } from './measure-commit.ts'
import { sqliteAudit } from './sqlite/audit.ts'
import { connect } from './sqlite/connection.ts'
import { sqliteFederation } from './sqlite/federation.ts'
import { joinReads } from './sqlite/join-reads.ts'
import { sqliteMinting } from './sqlite/minting.ts'
import { sqliteOperators } from './sqlite/operators.ts'
import { sqliteOwners } from './sqlite/owners.ts'
import { sqlitePool } from './sqlite/pool.ts'
import { sqliteRestores } from './sqlite/restores.ts'
import { countRow, readRegistration, readRegistrations, readToken } from './sqlite/rows.ts'
import { prepareStatements } from './sqlite/statements.ts'
import { sqliteSuspensions } from './sqlite/suspensions.ts'
import { sqliteUpkeep } from './sqlite/upkeep.ts'
import type { Store } from './store.ts'

/**
 * Opens the embedded store: one SQLite file in WAL mode, on disk before a write resolves, shared by any number of
 * processes on one machine.
 * @param path a file path, or `:memory:`. A missing file is created with its folder, readable by this user only
 * @throws Error that names the path if it cannot be opened, is no database, or was written by a newer version
 */
export function openSqliteStore(path: string, log?: Log, onCommit?: OnCommit): Store {
  const connection = connect(path, log, onCommit)
  const { db, storeId, use, transact, close } = connection
  const sql = prepareStatements(db)
  const audit = sqliteAudit(connection)
  return {
    id: storeId,
    getToken: (id) => use(() => readToken(sql.tokenById.get(id))),
    getRegistration: (id) => use(() => readRegistration(sql.registrationById.get(id))),
    listRotations: (id) => use(() => readRegistrations(sql.rotations.all(id))),

    findTokenByHash: joinReads((secretHash) => use(() => readToken(sql.tokenByHash.get(secretHash)))),
    findByManagementHash: (hash) => use(() => readRegistration(sql.registrationByManagementHash.get(hash))),
    countRequest: (tokenId, window) =>
      transact(() => {
        sql.dropOldCounts.run({ tokenId, window })
        return countRow.parse(sql.countRequest.get({ tokenId, window })).count
      }),

    ...sqliteFederation(connection, sql, audit),
    ...sqliteMinting(connection, sql, audit),
    ...sqliteOwners(connection, sql, audit),
    ...sqliteSuspensions(connection, sql, audit),
    ...sqliteOperators(connection, sql, audit),
    ...sqliteUpkeep(connection, sql, audit),
    ...sqlitePool(connection, sql, audit),
    ...sqliteRestores(connection, sql),
    ...audit.trail,

    ping: async () => void (await transact(() => sql.ping.run())),
    close,
  }
}
