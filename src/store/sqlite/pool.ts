import { FROM_THE_POOL, type HandOut, type HandOutOutcome, type PoolStore } from '../pool.ts'
import type { SqliteAudit } from './audit.ts'
import type { SqliteConnection } from './connection.ts'
import { sqliteMintSteps } from './mint-steps.ts'
import { countRow, readPoolHolders, readPoolKeys } from './rows.ts'
import type { Statements } from './statements.ts'

/** The time for which a holder is kept after its end (ms). */
const HOLDER_KEPT_MS = 24 * 3_600_000

/** {@link PoolStore} on SQLite. Every writing method is one transaction, so that each is atomic as a whole. */
export function sqlitePool(
  { use, transact }: SqliteConnection,
  sql: Statements,
  audit: SqliteAudit,
): PoolStore {
  const { begin, complete } = sqliteMintSteps(sql, audit)

  /** Hands one key out, within a transaction. */
  function handOut(
    { poolKeyId, owner, registration, apiKeyId, actor, isAwaited }: HandOut,
    now: number,
  ): HandOutOutcome {
    const { id, usagePlanId, expiresAt } = registration
    if (sql.poolKeyToHandOut.get({ id: poolKeyId, owner, apiKeyId, usagePlanId }) === undefined)
      return { outcome: 'key_lost' }
    if (!isAwaited()) return { outcome: 'not_awaited' }
    // Before anything is written: it would not be completed.
    if (expiresAt !== null && expiresAt <= now) return { outcome: 'expired' }
    const begun = begin(registration, { owner, until: now })
    if (begun.outcome !== 'begun') return begun
    const completion = { id, owner, registration, actor, apiKeyId, isAwaited: () => true }
    const completed = complete(completion, now, FROM_THE_POOL)
    if (completed === undefined) throw new Error(`${id} was begun, and cannot be completed with ${poolKeyId}`)
    sql.removePoolKey.run(poolKeyId)
    return { outcome: 'handed_out', replaced: completed.replaced }
  }

  /** Runs a statement for each id. @returns the ids of which it changed a record */
  const changed = (ids: readonly string[], change: (id: string) => { readonly changes: number | bigint }) =>
    new Set(ids.filter((id) => change(id).changes === 1))

  return {
    renewPoolHolder: ({ owner, until, sizes, trouble }) =>
      transact(() => {
        sql.dropOldPoolHolders.run({ until, kept: HOLDER_KEPT_MS })
        sql.renewPoolHolder.run({ owner, until, sizes: JSON.stringify(sizes), trouble })
      }),
    releasePoolHolder: (owner) =>
      transact(() => {
        sql.dropPoolHolder.run(owner)
        sql.freePoolKeys.run(owner)
      }),
    listPoolHolders: () => use(() => readPoolHolders(sql.poolHolders.all())),
    listPoolKeys: () => use(() => readPoolKeys(sql.poolKeys.all())),

    beginPoolKeys: (keys, owner, most) =>
      transact(() => {
        const plan = keys[0]?.plan ?? ''
        const room = most - countRow.parse(sql.countPoolKeys.get(plan)).count
        const fitting = keys.slice(0, Math.max(0, room))
        for (const key of fitting) sql.insertPoolKey.run({ ...key, owner })
        return new Set(fitting.map(({ id }) => id))
      }),
    advancePoolKeys: (changes, owner, now) =>
      transact(() => {
        const moved = new Set<string>()
        for (const { id, to, apiKeyId, seenWorking } of changes) {
          const statement = to === 'warming' ? sql.startWarming : sql.makeReady
          const { changes } = statement.run({ id, apiKeyId, seenWorking: Number(seenWorking), owner, now })
          if (changes === 1) moved.add(id)
        }
        return moved
      }),
    discardPoolKeys: (ids, owner, now) =>
      transact(() => changed(ids, (id) => sql.discardPoolKey.run({ id, owner, now }))),
    takePoolKeys: (ids, owner, now) =>
      transact(() => changed(ids, (id) => sql.takePoolKey.run({ id, owner, now }))),
    givePoolKeysUp: (ids, owner) =>
      transact(() => {
        for (const id of ids) sql.givePoolKeyUp.run({ id, owner })
      }),
    forgetPoolKeys: (ids, owner) =>
      transact(() => {
        for (const id of ids) sql.forgetPoolKey.run({ id, owner })
      }),

    handOutPoolKeys: (handOuts, now) => transact(() => handOuts.map((one) => handOut(one, now))),
  }
}
