import type { Registration } from '../records.ts'
import { endingRow, originRow, readRegistrations } from './rows.ts'
import type { Statements } from './statements.ts'

/** The step by which keys that end give the places and the names of their registrations back. */
export interface SqlitePlaces {
  /**
   * Reads rows that became `ending` in the transaction that is running; `undefined` are left out. A registration that holds a place,
   * and whose present key is among them, gives that back.
   */
  releaseAll(rows: readonly unknown[]): Registration[]
}

export function sqlitePlaces(sql: Statements): SqlitePlaces {
  return {
    releaseAll(rows) {
      const found = rows.filter((row) => row !== undefined)
      const ending = readRegistrations(found)
      for (const [i, { id, rotation }] of ending.entries()) {
        if (endingRow.parse(found[i]).root_holds_place === 0) continue
        const released = sql.releasePlace.get(rotation?.of ?? id)
        if (released !== undefined) sql.giveUseBack.run(originRow.parse(released).tokenId)
      }
      return ending
    },
  }
}
