import { setTimeout as sleep } from 'node:timers/promises'
import {
  ConditionalCheckFailedException,
  DynamoDBClient,
  TransactionCanceledException,
  TransactionConflictException,
} from '@aws-sdk/client-dynamodb'
import {
  BatchGetCommand,
  DynamoDBDocumentClient,
  GetCommand,
  QueryCommand,
  type QueryCommandInput,
  TransactWriteCommand,
  UpdateCommand,
} from '@aws-sdk/lib-dynamodb'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import pLimit from 'p-limit'
import { ServiceError } from '../../errors.ts'
import { coalesceReads } from './coalesce.ts'
import { inPortions } from './portions.ts'
import type { IndexName } from './table.ts'
import { type Item, type Key, namesIn, type Write } from './writes.ts'

/** How long what meets another transaction is tried again, and the first and the longest pause between (ms). */
const CONFLICT_RETRY_MS = 5_000
const FIRST_PAUSE_MS = 8
const LONGEST_PAUSE_MS = 250
/** Seconds to wait after DynamoDB asked to slow down. */
const THROTTLED_RETRY_S = 2
const UNAVAILABLE_RETRY_S = 5
/** DynamoDB's limits: items read by one BatchGetItem. */
const READ_AT_ONCE = 100
/**
 * Requests under way, and sockets. What is more waits here: in the agent's own line the time-outs would run already, and a
 * burst would be told that a healthy table does not answer.
 */
const SOCKETS = 64
/** Requests of one operation of the store that are under way side by side. */
const SIDE_BY_SIDE = 12

const THROTTLED = new Set([
  'ProvisionedThroughputExceededException',
  'RequestLimitExceeded',
  'ThrottlingException',
  'Throttling',
])

export interface DynamoDbOptions {
  readonly table: string
  readonly region: string
  readonly endpoint: string | undefined
}

/** A table, and how its failures become the service's. Reads are consistent, but for those of an index. */
export interface DynamoDbConnection {
  readonly table: string
  readonly client: DynamoDBClient
  get(key: Key): Promise<Item | undefined>
  /** The items of these keys that there are, in any order. */
  getAll(keys: readonly Key[]): Promise<Item[]>
  /** What a query finds, a page at a time as it is asked for. */
  query(query: Query): AsyncGenerator<Item[]>
  /**
   * Writes all or none. What meets another transaction is tried again, with jitter.
   * @returns the places of those writes whose condition was not met; empty: all was written
   */
  transact(writes: readonly Write[]): Promise<number[]>
  /** One write. @returns whether its condition was met */
  write(write: Write): Promise<boolean>
  /** Adds one to the count of an item that goes by itself at `ttl` (seconds), and answers it. */
  count(key: Key, ttl: number): Promise<number>
  /** Runs `work` for each, some side by side; answers in their order. */
  each<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]>
}

export interface Query {
  readonly index?: IndexName
  /** As in `#pk = :pk AND #sk < :before`. */
  readonly where: string
  readonly values: Readonly<Record<string, unknown>>
  readonly descending?: boolean
  readonly pageSize?: number
}

export function connect({ table, region, endpoint }: DynamoDbOptions): DynamoDbConnection {
  const client = new DynamoDBClient({
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    maxAttempts: 4,
    retryMode: 'standard',
    requestHandler: new NodeHttpHandler({
      httpsAgent: { maxSockets: SOCKETS },
      httpAgent: { maxSockets: SOCKETS },
      connectionTimeout: 1_000,
      requestTimeout: 3_000,
      throwOnRequestTimeout: true,
    }),
  })
  const documents = DynamoDBDocumentClient.from(client, { marshallOptions: { removeUndefinedValues: true } })

  const line = pLimit(SOCKETS)

  /** What is no answer to a condition or a conflict becomes an error of the service. */
  async function send<T>(request: () => Promise<T>): Promise<T> {
    try {
      return await line(request)
    } catch (error) {
      if (error instanceof ConditionalCheckFailedException) throw error
      if (error instanceof TransactionConflictException) throw error
      if (error instanceof TransactionCanceledException) throw error
      throw toServiceError(error)
    }
  }

  async function transact(writes: readonly Write[]): Promise<number[]> {
    const giveUpAt = performance.now() + CONFLICT_RETRY_MS
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
      try {
        const TransactItems = writes.map((write) => inTable(write, table))
        await send(() => documents.send(new TransactWriteCommand({ TransactItems })))
        return []
      } catch (error) {
        const reasons = whyCanceled(error)
        if (reasons === undefined) throw error
        const unmet = reasons.flatMap((code, i) => (code === 'ConditionalCheckFailed' ? [i] : []))
        if (unmet.length > 0) return unmet
        const passing = reasons.every((code) => code === 'None' || isPassing(code))
        if (!passing) throw unavailable(error)
        if (performance.now() > giveUpAt) throw throttled(error)
      }
      await sleep(Math.random() * pause)
    }
  }

  const each = <T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> => {
    const limit = pLimit(SIDE_BY_SIDE)
    return Promise.all(items.map((item) => limit(() => work(item))))
  }

  return {
    table,
    client,
    get: coalesceReads(getOne, getPortion, READ_AT_ONCE),
    async getAll(keys) {
      const unique = [...new Map(keys.map((key) => [`${key.pk} ${key.sk}`, key])).values()]
      return (await each(inPortions(unique, READ_AT_ONCE), getPortion)).flat()
    },
    async *query({ index, where, values, descending = false, pageSize }) {
      const input: QueryCommandInput = {
        TableName: table,
        KeyConditionExpression: where,
        ExpressionAttributeNames: namesIn(where),
        ExpressionAttributeValues: values,
        ScanIndexForward: !descending,
        ...(index === undefined ? { ConsistentRead: true } : { IndexName: index }),
        ...(pageSize === undefined ? {} : { Limit: pageSize }),
      }
      let next: QueryCommandInput['ExclusiveStartKey']
      do {
        const from = next === undefined ? {} : { ExclusiveStartKey: next }
        const page = await send(() => documents.send(new QueryCommand({ ...input, ...from })))
        yield page.Items ?? []
        next = page.LastEvaluatedKey
      } while (next !== undefined)
    },
    transact,
    // A transaction of one: it waits for others instead of failing, and repeats itself safely after a lost answer.
    write: async (write) => (await transact([write])).length === 0,
    async count(key, ttl) {
      // One update: of two processes that count at once neither loses its one. Repeated after a lost answer it may count
      // one too many, which makes a limit no looser.
      const command = new UpdateCommand({
        TableName: table,
        Key: key,
        UpdateExpression: 'ADD #count :one SET #ttl = :ttl',
        ExpressionAttributeNames: { '#count': 'count', '#ttl': 'ttl' },
        ExpressionAttributeValues: { ':one': 1, ':ttl': ttl },
        ReturnValues: 'UPDATED_NEW',
      })
      return Number((await send(() => documents.send(command))).Attributes?.['count'])
    },
    each,
  }

  async function getOne(key: Key): Promise<Item | undefined> {
    const command = new GetCommand({ TableName: table, Key: key, ConsistentRead: true })
    return (await send(() => documents.send(command))).Item
  }

  async function getPortion(keys: readonly Key[]): Promise<Item[]> {
    const found: Item[] = []
    let left: readonly Key[] = keys
    const giveUpAt = performance.now() + CONFLICT_RETRY_MS
    for (let pause = FIRST_PAUSE_MS; left.length > 0; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
      const command = new BatchGetCommand({
        RequestItems: { [table]: { Keys: [...left], ConsistentRead: true } },
      })
      const { Responses, UnprocessedKeys } = await send(() => documents.send(command))
      found.push(...(Responses?.[table] ?? []))
      left = (UnprocessedKeys?.[table]?.Keys ?? []) as Key[]
      if (left.length > 0 && performance.now() > giveUpAt) throw throttled(undefined)
      if (left.length > 0) await sleep(Math.random() * pause)
    }
    return found
  }
}

function inTable(write: Write, TableName: string) {
  if ('Put' in write) return { Put: { TableName, ...write.Put } }
  if ('Update' in write) return { Update: { TableName, ...write.Update } }
  if ('Delete' in write) return { Delete: { TableName, ...write.Delete } }
  return { ConditionCheck: { TableName, ...write.ConditionCheck } }
}

/** Why each write of a transaction was not made; `undefined`: the error says something else. */
function whyCanceled(error: unknown): string[] | undefined {
  if (error instanceof TransactionCanceledException)
    return (error.CancellationReasons ?? []).map(({ Code }) => Code ?? 'None')
  return error instanceof TransactionConflictException ? ['TransactionConflict'] : undefined
}

function isPassing(code: string): boolean {
  return code === 'TransactionConflict' || code === 'ThrottlingError' || THROTTLED.has(`${code}Exception`)
}

function toServiceError(error: unknown): ServiceError {
  const name = error instanceof Error ? error.name : ''
  return THROTTLED.has(name) ? throttled(error) : unavailable(error)
}

function throttled(cause: unknown): ServiceError {
  return new ServiceError('upstream_throttled', 'The store of the service is asked for too much at once.', {
    retryAfter: THROTTLED_RETRY_S,
    cause,
  })
}

function unavailable(cause: unknown): ServiceError {
  return new ServiceError('store_unavailable', 'The store of the service cannot be used right now.', {
    retryAfter: UNAVAILABLE_RETRY_S,
    cause,
  })
}
