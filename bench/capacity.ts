// Measures the DynamoDB read and write units of a registration, with and without a pool. The service's requests pass through a proxy that asks for
// the consumed capacity of each. dynoxide computes it by DynamoDB's rules: 4 KB a read unit, half for a read of an index,
// 1 KB a write unit, two for each item of a transaction, one for each change of an index.
import { once } from 'node:events'
import { createServer, request as forward, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { issueBootstrapToken } from '../src/auth/bootstrap-token.ts'
import { SERVICE } from '../src/store/audit.ts'
import { createTable } from '../src/store/dynamodb/create-table.ts'
import { openDynamoDbStore } from '../src/store/dynamodb.ts'
import { findOrBuildDynoxide } from '../test/support/dynamodb/binary.ts'
import { startDynoxide } from '../test/support/dynamodb/server.ts'
import { useDynamoDbAt } from '../test/support/dynamodb/test-env.ts'
import { unlimitedPolicy } from '../test/support/service.ts'
import { startProcess } from './process.ts'
import { startBenchServer } from './server.ts'

const region = 'eu-west-1'
const IDLE_S = 60
const TIMES = 100
/** Deliveries are recorded after the responses. */
const DELIVERIES_MS = 1_000

interface Capacity {
  readonly CapacityUnits?: number
  readonly GlobalSecondaryIndexes?: Readonly<Record<string, { readonly CapacityUnits?: number }>>
}

/** The capacity units of a response's tables and, among them, of their indexes. */
function unitsOf({ ConsumedCapacity = [] }: { ConsumedCapacity?: Capacity | Capacity[] }) {
  const sum = (each: readonly Capacity[]) =>
    each.reduce((all, { CapacityUnits = 0 }) => all + CapacityUnits, 0)
  const tables = [ConsumedCapacity].flat()
  const indexes = tables.flatMap(({ GlobalSecondaryIndexes = {} }) => Object.values(GlobalSecondaryIndexes))
  return { all: sum(tables), ofIndexes: sum(indexes) }
}

const dynoxide = await startDynoxide(await findOrBuildDynoxide())
useDynamoDbAt(dynoxide.endpoint)
const table = 'measured'
const client = new DynamoDBClient({ region, endpoint: dynoxide.endpoint })
await createTable(client, table)
client.destroy()

const READS = ['GetItem', 'BatchGetItem', 'Query']
const WRITES = ['TransactWriteItems', 'UpdateItem']

interface Units {
  read: number
  /** With those of the indexes. */
  write: number
  indexWrite: number
}

const units: Units = { read: 0, write: 0, indexWrite: 0 }
const proxy = createServer(async (incoming, outgoing) => {
  const body = JSON.parse(await text(incoming))
  const operation = String(incoming.headers['x-amz-target']).split('.')[1] ?? ''
  const kind = READS.includes(operation) ? 'read' : WRITES.includes(operation) ? 'write' : undefined
  if (kind) body.ReturnConsumedCapacity = 'INDEXES'
  const { 'content-length': _length, ...headers } = incoming.headers
  const sent = forward(new URL(incoming.url ?? '/', dynoxide.endpoint), { method: 'POST', headers })
  sent.end(JSON.stringify(body))
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  const answered = await text(answer)
  if (kind) {
    const { all, ofIndexes } = unitsOf(JSON.parse(answered))
    units[kind] += all
    if (kind === 'write') units.indexWrite += ofIndexes
  }
  outgoing.writeHead(answer.statusCode ?? 500, { 'content-type': 'application/x-amz-json-1.0' }).end(answered)
})
proxy.listen(0, '127.0.0.1')
await once(proxy, 'listening')

const proxyUrl = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`

const gateway = await startProcess('emulator/main.ts', ['--port', '0'], {})
const start = (settings: Readonly<Record<string, string>> = {}) =>
  startBenchServer(gateway.url, {
    STORE: `dynamodb:${table}`,
    AWS_ENDPOINT_URL_DYNAMODB: proxyUrl,
    AWS_CALLS_PER_SECOND: '0',
    ...settings,
  })
// Not measured.
const store = await openDynamoDbStore({ table, region, endpoint: dynoxide.endpoint })
const { secret } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, Date.now())
let service = await start()

/** Registers `count` agents at the same time, with idempotency keys. Resolves when all have their keys. */
async function register(count: number): Promise<void> {
  const answers = await Promise.all(
    Array.from({ length: count }, () =>
      fetch(`${service.url}/register`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${secret}`,
          'content-type': 'application/json',
          'idempotency-key': crypto.randomUUID(),
        },
        body: '{"name":"bench-agent"}',
      }),
    ),
  )
  if (answers.some(({ status }) => status !== 201)) throw new Error('a registration failed')
}

type Measured = Units & { readonly s: number }

async function measure(work: () => Promise<unknown>): Promise<Measured> {
  Object.assign(units, { read: 0, write: 0, indexWrite: 0 })
  const startedAt = performance.now()
  await work()
  await sleep(DELIVERIES_MS)
  return { ...units, s: (performance.now() - startedAt) / 1_000 }
}

/** Resolves when the pool is full again. */
async function poolIsFull(): Promise<void> {
  const countReady = async () => (await store.listPoolKeys()).filter(({ state }) => state === 'ready').length
  while ((await countReady()) < TIMES) await sleep(100)
}

async function oneAfterTheOther(): Promise<void> {
  for (let i = 0; i < TIMES; i++) await register(1)
}

/** Units of each registration, without those that the service spends idle in the same time. */
function each(measured: Measured, idle: Measured, kind: keyof Units): string {
  return (Math.max(0, measured[kind] - (idle[kind] / idle.s) * measured.s) / TIMES).toFixed(1)
}
const anHour = (idle: Measured, kind: keyof Units): string =>
  String(Math.round((idle[kind] / idle.s) * 3_600))
const print = (...columns: string[]) =>
  console.log(columns.map((text, i) => (i < 3 ? text.padStart([10, 11, 14][i] ?? 0) : text)).join('   '))
print('read units', 'write units', 'of its indexes', 'with an Idempotency-Key')
const KINDS = ['read', 'write', 'indexWrite'] as const
/**
 * Measures registrations and an idle service.
 * @param which service it is, in the rows
 * @param more resolves when the work that a registration causes has ended
 */
async function printRows(which: string, more: () => Promise<void>): Promise<void> {
  await register(1)
  await more()
  const idle = await measure(() => sleep(IDLE_S * 1_000))
  const alone = await measure(() => oneAfterTheOther().then(more))
  const together = await measure(() => register(TIMES).then(more))
  print(...KINDS.map((kind) => each(alone, idle, kind)), `one alone${which}`)
  print(...KINDS.map((kind) => each(together, idle, kind)), `${TIMES} together, each${which}`)
  print(...KINDS.map((kind) => anHour(idle, kind)), `an idle service${which}, per hour`)
}

await printRows('', async () => undefined)
await service.stop()
service = await start({ POOL: `default:${TIMES}`, POOL_SETTLE: '0s' })
await poolIsFull()
// With the making of the keys that take the place of those that were handed out.
await printRows(` with a pool of ${TIMES}`, poolIsFull)

await store.close()
await service.stop()
await gateway.stop()
proxy.closeAllConnections()
proxy.close()
await dynoxide.stop()
