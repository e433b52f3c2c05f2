// What a registration costs in DynamoDB's read and write units. The requests that the service makes are recorded on their
// way to DynamoDB Local. Reads count as DynamoDB Local counts them. It miscounts transactions of several items, so the
// writes are repeated one item at a time, in their order, on a second table, and counted there.
import { once } from 'node:events'
import { createServer, request as forward, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { DynamoDBClient, type TransactWriteItem, TransactWriteItemsCommand } from '@aws-sdk/client-dynamodb'
import { issueBootstrapToken } from '../src/auth/bootstrap-token.ts'
import { SERVICE } from '../src/store/audit.ts'
import { createTable } from '../src/store/dynamodb/create-table.ts'
import { openDynamoDbStore } from '../src/store/dynamodb.ts'
import { startDynamoDbLocal } from '../test/dynamodb-local/dynamodb-local.ts'
import { anyUse } from '../test/service.ts'
import { startProcess } from './process.ts'
import { startBenchServer } from './server.ts'

const region = 'eu-west-1'
const IDLE_S = 20
const TOGETHER = 100

interface Consumed {
  readonly ConsumedCapacity?: { CapacityUnits?: number } | { CapacityUnits?: number }[]
}

const unitsOf = ({ ConsumedCapacity: consumed = [] }: Consumed): number =>
  [consumed].flat().reduce((sum, { CapacityUnits = 0 }) => sum + CapacityUnits, 0)

process.env['AWS_ACCESS_KEY_ID'] = 'dynamodblocal'
process.env['AWS_SECRET_ACCESS_KEY'] = 'dynamodblocal'
const local = await startDynamoDbLocal()
const client = new DynamoDBClient({ region, endpoint: local.endpoint })
for (const table of ['measured', 'repeated']) await createTable(client, table)

let readUnits = 0
const written: TransactWriteItem[] = []
const proxy = createServer(async (incoming, outgoing) => {
  const body = JSON.parse(await text(incoming))
  const operation = String(incoming.headers['x-amz-target']).split('.')[1] ?? ''
  const isRead = ['GetItem', 'BatchGetItem', 'Query'].includes(operation)
  if (isRead) body.ReturnConsumedCapacity = 'TOTAL'
  const { 'content-length': _length, ...headers } = incoming.headers
  const sent = forward(new URL(incoming.url ?? '/', local.endpoint), { method: 'POST', headers })
  sent.end(JSON.stringify(body))
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  const answered = await text(answer)
  if (isRead) readUnits += unitsOf(JSON.parse(answered))
  else if (operation === 'TransactWriteItems' && answer.statusCode === 200)
    written.push(...body.TransactItems)
  outgoing.writeHead(answer.statusCode ?? 500, { 'content-type': 'application/x-amz-json-1.0' }).end(answered)
})
proxy.listen(0, '127.0.0.1')
await once(proxy, 'listening')

const proxyUrl = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`

const gateway = await startProcess('src/local/main.ts', ['--port', '0'], {})
const service = await startBenchServer(gateway.url, {
  STORE: 'dynamodb:measured',
  AWS_ENDPOINT_URL_DYNAMODB: proxyUrl,
  AWS_CALLS_PER_SECOND: '0',
})
const store = await openDynamoDbStore({ table: 'measured', region, endpoint: proxyUrl })
const { secret } = await issueBootstrapToken(store, anyUse, SERVICE, Date.now())
await store.close()

/** Registers with idempotency keys, at once; answers when all have their keys. */
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

/** The units of the writes since the last time, each item repeated by itself. */
async function writeUnits(): Promise<number> {
  let units = 0
  for (const item of written.splice(0)) {
    const moved = JSON.parse(
      JSON.stringify(item).replaceAll('"TableName":"measured"', '"TableName":"repeated"'),
      bytes,
    )
    const command = new TransactWriteItemsCommand({ TransactItems: [moved], ReturnConsumedCapacity: 'TOTAL' })
    units += unitsOf((await client.send(command)) as Consumed)
  }
  return units
}

/** Bytes are base64 on the wire. */
function bytes(name: string, value: unknown): unknown {
  return name === 'B' && typeof value === 'string' ? Buffer.from(value, 'base64') : value
}

async function measure(work: () => Promise<unknown>): Promise<{ reads: number; writes: number; s: number }> {
  readUnits = 0
  await writeUnits()
  const startedAt = performance.now()
  await work()
  const s = (performance.now() - startedAt) / 1_000
  return { reads: readUnits, writes: await writeUnits(), s }
}

await register(1)
const idle = await measure(() => sleep(IDLE_S * 1_000))
const rows = [
  ['one alone', 1, await measure(() => register(1))],
  [`${TOGETHER} together, each`, TOGETHER, await measure(() => register(TOGETHER))],
] as const
console.log('read units   write units   with an Idempotency-Key')
for (const [name, count, { reads, writes, s }] of rows) {
  const own = [reads - (idle.reads / IDLE_S) * s, writes - (idle.writes / IDLE_S) * s]
  const [read, write] = own.map((units) => (Math.max(0, units) / count).toFixed(1))
  console.log(`${read?.padStart(10)}   ${write?.padStart(11)}   ${name}`)
}
const perHour = [idle.reads, idle.writes].map((units) => Math.round((units / IDLE_S) * 3_600))
console.log(
  `${String(perHour[0]).padStart(10)}   ${String(perHour[1]).padStart(11)}   an idle service, an hour`,
)

await service.stop()
await gateway.stop()
proxy.closeAllConnections()
proxy.close()
client.destroy()
await local.stop()
