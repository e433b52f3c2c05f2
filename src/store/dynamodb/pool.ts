import type { PoolStore } from '../pool.ts'
import type { DynamoDbAudit } from './audit.ts'
import type { DynamoDbConnection } from './connection.ts'
import { handOutPoolKeys } from './hand-out.ts'
import { dynamoDbPoolKeys } from './pool-keys.ts'

/** {@link PoolStore} on DynamoDB. @param findRestore as {@link RestoreStore.findRestore} */
export function dynamoDbPool(
  db: DynamoDbConnection,
  audit: DynamoDbAudit,
  findRestore: () => Promise<number | null>,
): PoolStore {
  /** As it was found last. A hand-out reads nothing for it: a process holds only keys that it made or took before. */
  let restoredAsOf: number | null | undefined
  const findAgain = async () => {
    restoredAsOf = await findRestore()
    return restoredAsOf
  }
  return {
    ...dynamoDbPoolKeys(db, findAgain),
    async handOutPoolKeys(handOuts, now) {
      const asOf = restoredAsOf === undefined ? await findAgain() : restoredAsOf
      return handOutPoolKeys({ db, audit, now, restoredAsOf: asOf }, handOuts)
    },
  }
}
