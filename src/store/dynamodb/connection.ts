import { randomUUID } from 'node:crypto'
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
import pLimit from 'p-limit'
import { z } from 'zod'
import { abortAfter } from '../../abort-after.ts'
import { renewCredentials } from '../../aws/credentials.ts'
import { createHttpHandler } from '../../aws/http-handler.ts'
import type { DateObserver } from '../../clock-check.ts'
import type { ProxyVariables } from '../../egress-proxy.ts'
import { ServiceError } from '../../errors.ts'
import { measureCommit, type OnCommit } from '../measure-commit.ts'
import { parseRecord } from '../parse-record.ts'
import { batchReads } from './batch-reads.ts'
import { chunk } from './chunk.ts'
import { type Item, type Key, namesIn, type Write } from './expressions.ts'
import type { IndexName } from './table.ts'

/** The time limits of one attempt: for its TCP connection, and from there to the last byte of the response (ms). */
const CONNECT_MS = 1_000
const ATTEMPT_MS = 3_000
/** The time limit of one request, with its retries and its wait for a turn (ms). */
const REQUEST_MS = 8_000
/** The time for which a write that conflicts with another transaction is repeated, its first and its longest pause (ms). */
const CONFLICT_RETRY_MS = 5_000
const FIRST_PAUSE_MS = 8
const LONGEST_PAUSE_MS = 250
/** `retryAfter` of errors: after DynamoDB asked to slow down, and after any other failure (s). */
const THROTTLED_RETRY_S = 2
const UNAVAILABLE_RETRY_S = 5
/** DynamoDB's limit: the items of one BatchGetItem. */
const READ_AT_ONCE = 100
/**
 * Simultaneous requests, and sockets. Further requests wait here: in the agent's own queue their time-outs would run
 * already, and a burst would find a healthy table unavailable.
 */
const SOCKETS = 64
/** Simultaneous requests of one operation of the store. */
const SIDE_BY_SIDE = 12

const THROTTLED = new Set([
  'ProvisionedThroughputExceededException',
  'RequestLimitExceeded',
  'ThrottlingException',
  'Throttling',
])

const countAttributes = z.object({ count: z.int() })

export interface DynamoDbOptions {
  readonly table: string
  readonly region: string
  readonly endpoint: string | undefined
  readonly observeDate?: DateObserver | undefined
  /** Receives every write transaction, when it has ended. */
  readonly onCommit?: OnCommit | undefined
  /** Left out: none. */
  readonly proxies?: ProxyVariables
}

/** A table. Its errors become errors of the service. Reads are strongly consistent, except those of an index. */
export interface DynamoDbConnection {
  readonly table: string
  readonly client: DynamoDBClient
  get(key: Key): Promise<Item | undefined>
  /** Reads the items with these keys, in any order; keys that do not exist are left out. */
  getAll(keys: readonly Key[]): Promise<Item[]>
  /** Reads the items that a query finds, one page at a time. */
  query(query: Query): AsyncGenerator<Item[]>
  /**
   * Writes all or none. A write that conflicts with another transaction is repeated, with jitter.
   * @returns the places of the writes whose condition was not met; empty: all are written
   */
  transact(writes: readonly Write[]): Promise<number[]>
  /** Makes one write. @returns `false`: its condition was not met */
  write(write: Write): Promise<boolean>
  /** Adds one to the count of an item that DynamoDB removes at `ttl` (seconds since the epoch). @returns the count */
  count(key: Key, ttl: number): Promise<number>
  /** Runs `work` for each item, several at once. @returns the results, in the order of the items */
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

export function connect({
  table,
  region,
  endpoint,
  observeDate,
  onCommit,
  proxies,
}: DynamoDbOptions): DynamoDbConnection {
  const client = new DynamoDBClient({
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    maxAttempts: 4,
    retryMode: 'standard',
    requestHandler: createHttpHandler({
      connectMs: CONNECT_MS,
      attemptMs: ATTEMPT_MS,
      maxSockets: SOCKETS,
      observeDate,
      proxies,
    }),
  })
  renewCredentials(client)
  const documents = DynamoDBDocumentClient.from(client, { marshallOptions: { removeUndefinedValues: true } })

  const line = pLimit(SOCKETS)

  /**
   * Sends a request when its turn comes. Every error except an unmet condition or a conflict becomes an error of the service.
   * @param endsAt the end of its time, on the clock of `performance.now()`
   */
  async function send<T>(
    request: (options: { readonly abortSignal: AbortSignal }) => Promise<T>,
    endsAt = performance.now() + REQUEST_MS,
  ): Promise<T> {
    try {
      return await inTime(endsAt, (abortSignal) =>
        line(() => {
          abortSignal.throwIfAborted()
          return request({ abortSignal })
        }),
      )
    } catch (error) {
      if (error instanceof ServiceError) throw error
      if (error instanceof ConditionalCheckFailedException) throw error
      if (error instanceof TransactionConflictException) throw error
      if (error instanceof TransactionCanceledException) throw error
      throw toServiceError(error)
    }
  }

  const transact = (writes: readonly Write[]) => measureCommit(onCommit, () => transactNow(writes))

  async function transactNow(writes: readonly Write[]): Promise<number[]> {
    const endsAt = performance.now() + REQUEST_MS
    const giveUpAt = performance.now() + CONFLICT_RETRY_MS
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
      try {
        const TransactItems = writes.map((write) => inTable(write, table))
        // By its token a repeated transaction has no second effect.
        const command = new TransactWriteCommand({ TransactItems, ClientRequestToken: randomUUID() })
        await send((options) => documents.send(command, options), endsAt)
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

  const read = batchReads(getOne, getChunk, READ_AT_ONCE)
  return {
    table,
    client,
    get: (key) => inTime(performance.now() + REQUEST_MS, () => read(key)),
    async getAll(keys) {
      const unique = [...new Map(keys.map((key) => [`${key.pk} ${key.sk}`, key])).values()]
      return (await each(chunk(unique, READ_AT_ONCE), getChunk)).flat()
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
        const page = await send((options) => documents.send(new QueryCommand({ ...input, ...from }), options))
        yield page.Items ?? []
        next = page.LastEvaluatedKey
      } while (next !== undefined)
    },
    transact,
    // A transaction of one: unlike a plain write it does not fail on a conflict, and can be repeated after a lost response.
    write: async (write) => (await transact([write])).length === 0,
    async count(key, ttl) {
      // One update: of two processes that count at once neither loses its count. Repeated after a lost response it may
      // count one too many, which makes a limit no looser.
      const command = new UpdateCommand({
        TableName: table,
        Key: key,
        UpdateExpression: 'ADD #count :one SET #ttl = :ttl',
        ExpressionAttributeNames: { '#count': 'count', '#ttl': 'ttl' },
        ExpressionAttributeValues: { ':one': 1, ':ttl': ttl },
        ReturnValues: 'UPDATED_NEW',
      })
      const { Attributes } = await send((options) => documents.send(command, options))
      return parseRecord(countAttributes, Attributes, `count ${key.pk}`).count
    },
    each,
  }

  async function getOne(key: Key): Promise<Item | undefined> {
    const command = new GetCommand({ TableName: table, Key: key, ConsistentRead: true })
    return (await send((options) => documents.send(command, options))).Item
  }

  async function getChunk(keys: readonly Key[]): Promise<Item[]> {
    const found: Item[] = []
    let left: readonly Key[] = keys
    const endsAt = performance.now() + REQUEST_MS
    const giveUpAt = performance.now() + CONFLICT_RETRY_MS
    for (let pause = FIRST_PAUSE_MS; left.length > 0; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
      const command = new BatchGetCommand({
        RequestItems: { [table]: { Keys: [...left], ConsistentRead: true } },
      })
      const { Responses, UnprocessedKeys } = await send((options) => documents.send(command, options), endsAt)
      found.push(...(Responses?.[table] ?? []))
      left = (UnprocessedKeys?.[table]?.Keys ?? []) as Key[]
      if (left.length > 0 && performance.now() > giveUpAt) throw throttled(undefined)
      if (left.length > 0) await sleep(Math.random() * pause)
    }
    return found
  }
}

/**
 * Runs `work` until `endsAt`, on the clock of `performance.now()`. What then waits for its turn ends without effect.
 * @throws ServiceError `store_unavailable` when the time is over; otherwise what `work` throws
 */
async function inTime<T>(endsAt: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const { signal, cancel } = abortAfter(Math.max(0, endsAt - performance.now()))
  const over = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(unavailable(signal.reason)), { once: true })
  })
  try {
    return await Promise.race([work(signal), over])
  } finally {
    cancel()
  }
}

function inTable(write: Write, TableName: string) {
  if ('Put' in write) return { Put: { TableName, ...write.Put } }
  if ('Update' in write) return { Update: { TableName, ...write.Update } }
  if ('Delete' in write) return { Delete: { TableName, ...write.Delete } }
  return { ConditionCheck: { TableName, ...write.ConditionCheck } }
}

/** The cancellation reason of each write of a transaction; `undefined`: the error is no cancellation. */
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
  return new ServiceError('upstream_throttled', 'The database of the service asks to slow down.', {
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
