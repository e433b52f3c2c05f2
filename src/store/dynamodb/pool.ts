import type { PoolStore } from '../pool.ts'

const missing = (): never => {
  throw new Error('a table in DynamoDB cannot hold the pool yet')
}

/** {@link PoolStore} on DynamoDB. The lists are empty, and every other method throws. */
export function dynamoDbPool(): PoolStore {
  return {
    renewPoolHolder: async () => missing(),
    releasePoolHolder: async () => undefined,
    listPoolHolders: async () => [],
    listPoolKeys: async () => [],
    beginPoolKeys: async () => missing(),
    advancePoolKeys: async () => missing(),
    discardPoolKeys: async () => missing(),
    takePoolKeys: async () => missing(),
    givePoolKeysUp: async () => missing(),
    forgetPoolKeys: async () => missing(),
    handOutPoolKeys: async () => missing(),
  }
}
