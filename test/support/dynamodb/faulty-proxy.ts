import { once } from 'node:events'
import { createServer, request as forward, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { TestContext } from 'node:test'

/** A failure of DynamoDB that dynoxide does not have. */
export interface DynamoDbFault {
  /** As in `TransactWriteItems`. */
  readonly operation: string
  /**
   * DynamoDB executes the call, but the connection breaks before the response (`cut`), there is no response (`hang`), or it
   * stops before its last byte (`half`). All others are error responses, and the call is not executed.
   */
  readonly kind: ErrorKind | Breakage
  readonly times: number
  /** Limits the fault to calls whose body contains this text. */
  readonly containing?: string
}

type ErrorKind = keyof typeof answers | 'conflict'
type Breakage = 'cut' | 'hang' | 'half'

export interface FaultyProxy {
  readonly endpoint: string
  order(fault: DynamoDbFault): void
  /** Cancels all faults that are left. */
  clearFaults(): void
  /** Called before each call; the call is passed on when the promise resolves. */
  onCall: (operation: string, body: string) => Promise<void>
  /** Returns the response in place of that of dynoxide, which may be an error; `undefined`: it stays. */
  editAnswer: (operation: string, answer: string) => object | undefined
  /** Returns the number of calls that got a fault. */
  faultCount(): number
}

const JSON_TYPE = 'application/x-amz-json-1.0'

const answers = {
  throttle: {
    __type: 'com.amazonaws.dynamodb.v20120810#ThrottlingException',
    message: 'Rate of requests exceeds the allowed throughput.',
  },
  'changed-twice': {
    __type: 'com.amazon.coral.validate#ValidationException',
    message: 'Time to live has been modified multiple times within a fixed interval',
  },
  denied: { __type: 'com.amazonaws.dynamodb.v20120810#AccessDeniedException', Message: 'not authorized' },
  'unknown-credentials': {
    __type: 'com.amazon.coral.service#UnrecognizedClientException',
    message: 'The security token included in the request is invalid.',
  },
}

/**
 * Starts a proxy in front of dynoxide that causes faults on demand. It stops at the end of the test.
 * @param clock the `Date` of the answers, in milliseconds since the epoch
 */
export async function startFaultyProxy(
  t: TestContext,
  target: string,
  clock: () => number = Date.now,
): Promise<FaultyProxy> {
  let ordered: (DynamoDbFault & { left: number })[] = []
  let count = 0
  const server = createServer(
    (incoming, outgoing) => void serve(incoming, outgoing).catch(() => incoming.destroy()),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })

  async function serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const body = await text(incoming)
    const operation = String(incoming.headers['x-amz-target']).split('.')[1]
    await proxy.onCall(String(operation), body)
    const fault = ordered.find(
      (one) => one.operation === operation && one.left > 0 && body.includes(one.containing ?? ''),
    )
    if (fault !== undefined) {
      fault.left -= 1
      count += 1
      if (!isBreakage(fault.kind)) return refuse(outgoing, fault.kind, body)
    }
    const { method = 'POST', url = '/', headers } = incoming
    const sent = forward(new URL(url, target), { method, headers })
    sent.end(body)
    const [answer] = (await once(sent, 'response')) as [IncomingMessage]
    const answered = await text(answer)
    const edited = proxy.editAnswer(String(operation), answered)
    if (edited !== undefined)
      return void outgoing.writeHead(200, { 'content-type': JSON_TYPE }).end(JSON.stringify(edited))
    if (fault?.kind === 'cut') return void incoming.socket.destroy()
    if (fault?.kind === 'half')
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers).write(answered.slice(0, -1))
    if (fault !== undefined) return
    // With the original headers: they include the checksum of the body, which the SDK verifies.
    const date = new Date(clock()).toUTCString()
    outgoing.writeHead(answer.statusCode ?? 500, { ...answer.headers, date }).end(answered)
  }

  const proxy: FaultyProxy = {
    onCall: async () => undefined,
    editAnswer: () => undefined,
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    order: (fault) => {
      ordered = [...ordered.filter(({ left }) => left > 0), { ...fault, left: fault.times }]
    },
    clearFaults: () => {
      ordered = []
    },
    faultCount: () => count,
  }
  return proxy
}

function isBreakage(kind: DynamoDbFault['kind']): kind is Breakage {
  return kind === 'cut' || kind === 'hang' || kind === 'half'
}

function refuse(outgoing: ServerResponse, kind: ErrorKind, body: string): void {
  const answer = kind === 'conflict' ? conflict(body) : answers[kind]
  outgoing.writeHead(400, { 'content-type': JSON_TYPE }).end(JSON.stringify(answer))
}

/** Returns the error of a transaction whose first item another transaction is writing. */
function conflict(body: string): object {
  const { TransactItems } = JSON.parse(body) as { TransactItems: object[] }
  return {
    __type: 'com.amazonaws.dynamodb.v20120810#TransactionCanceledException',
    Message:
      'Transaction cancelled, please refer cancellation reasons for specific reasons [TransactionConflict]',
    CancellationReasons: TransactItems.map((_item, i) =>
      i === 0
        ? { Code: 'TransactionConflict', Message: 'Transaction is ongoing for the item' }
        : { Code: 'None' },
    ),
  }
}
