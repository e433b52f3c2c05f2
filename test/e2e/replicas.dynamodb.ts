import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import pLimit from 'p-limit'
import type { Gateway } from '../../emulator/gateway.ts'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { openDynamoDbStore } from '../../src/store/dynamodb.ts'
import type { TokenPolicy } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { newTable, storeEnv } from '../support/dynamodb/new-table.ts'
import { assertInvariants, hasWorkLeft, type ReceivedCredential } from '../support/invariants.ts'
import { readProblem } from '../support/problem.ts'
import { FAST_SERVER, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway, unlimitedPolicy } from '../support/service.ts'

type Replica = Awaited<ReturnType<typeof startServer>>

interface Cluster {
  readonly gateway: Gateway
  readonly store: Store
  /** Three processes on one table; a test can replace them. */
  readonly replicas: Replica[]
  /** Starts one more replica. */
  start(): Promise<Replica>
  /** Creates a bootstrap token and returns its secret and id. */
  token(policy: Partial<TokenPolicy>): Promise<{ secret: string; id: string }>
}

async function startCluster(t: TestContext, main?: string): Promise<Cluster> {
  const gateway = await testGateway(t)
  const table = await newTable()
  const store = await openDynamoDbStore(table)
  t.after(() => store.close())
  const env = { ...serverEnv(gateway, tempDir(t)), ...storeEnv(table) }
  const start = () => startServer(t, env, main)
  return {
    gateway,
    store,
    replicas: await Promise.all([start(), start(), start()]),
    start,
    async token(policy) {
      const { secret, token } = await issueBootstrapToken(
        store,
        { ...unlimitedPolicy, ...policy },
        SERVICE,
        Date.now(),
      )
      return { secret, id: token.id }
    },
  }
}

function register(
  replica: Replica | undefined,
  secret: string,
  name: string,
  idempotencyKey?: string,
): Promise<Response> {
  return fetch(`${replica?.url}/register`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${secret}`,
      'content-type': 'application/json',
      ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
    },
    body: JSON.stringify({ name }),
  })
}

/** Resolves with the complete response; `undefined`: the connection broke. */
async function unlessBroken(request: Promise<Response>): Promise<Response | undefined> {
  try {
    const answer = await request
    await answer.clone().arrayBuffer()
    return answer
  } catch {
    return undefined
  }
}

async function readCredential(answer: Response): Promise<ReceivedCredential> {
  assert.equal(answer.status, 201)
  return (await answer.json()) as ReceivedCredential
}

/** Calls `isTrue` every 100 ms until it resolves with `true`. @throws AssertionError after `patienceMs` */
async function until(isTrue: () => Promise<boolean>, what: string, patienceMs = 60_000): Promise<void> {
  const giveUpAt = performance.now() + patienceMs
  while (!(await isTrue())) {
    assert.ok(performance.now() < giveUpAt, `${what}: not after ${patienceMs} ms`)
    await sleep(100)
  }
}

const REQUESTS = 2_000
const AT_ONCE = 300
/** The uses of four tokens; a quarter of the requests presents each. */
const USES = [50, 200, 400, 460]
/** Far above the time that all requests take. */
const PATIENCE_MS = 150_000
/** The longest `Retry-After` (s) while the uses of a token are held by registrations in progress. */
const LONGEST_RETRY_S = 30
/** The longest pause of a client, in milliseconds. */
const LONGEST_PAUSE_MS = 500
/** The number of received keys at which a replica is killed. */
const KILL_AT = 300

test('2,000 requests on three replicas, one of which is killed: every use of a token mints exactly one key', async (t) => {
  const cluster = await startCluster(t, FAST_SERVER)
  const { gateway, store, replicas } = cluster
  const tokens = await Promise.all(USES.map((maxUses) => cluster.token({ label: `${maxUses}`, maxUses })))
  const answers = new Map(tokens.map(({ id }) => [id, new Map<string, Set<string>>()]))
  const refused = new Map<string, number>()
  const firstAnswers = [0, 0, 0]
  let received = 0
  let broken = 0
  let killed: Promise<void> | undefined
  let giveUpAt = performance.now() + PATIENCE_MS
  t.after(() => {
    giveUpAt = 0 // If the test failed, the other requests stop.
  })

  async function killOne(): Promise<void> {
    replicas[0]?.child.kill('SIGKILL')
    assert.equal(await replicas[0]?.ended(), 'SIGKILL')
    replicas[0] = await cluster.start()
  }

  /** Retries as the responses ask for, on the next replica each time, until the response is final. */
  async function registerOnce(
    token: { secret: string; id: string },
    key: string,
    first: number,
  ): Promise<void> {
    for (let place = first; performance.now() < giveUpAt; place = (place + 1) % 3) {
      const answer = await unlessBroken(register(replicas[place], token.secret, 'agent', key))
      if (answer === undefined) {
        broken += 1
        await sleep(100)
        continue
      }
      if (answer.status === 201) {
        const own = answers.get(token.id)
        own?.set(key, (own.get(key) ?? new Set()).add(await answer.text()))
        if (!answer.headers.has('idempotency-replayed')) firstAnswers[place] = (firstAnswers[place] ?? 0) + 1
        received += 1
        if (received === KILL_AT) killed = killOne()
        return
      }
      const problem = await readProblem(answer)
      // What the killed replica answered and could not record as delivered stays in doubt for a day.
      const isInDoubt = problem.code === 'token_uses_pending' && (problem.retry_after ?? 0) > LONGEST_RETRY_S
      if (problem.code === 'token_exhausted' || isInDoubt)
        return void refused.set(token.id, (refused.get(token.id) ?? 0) + 1)
      assert.ok([409, 429, 503].includes(answer.status) && problem.retryable, JSON.stringify(problem))
      // Sooner than asked: the clients only wait for one another.
      await sleep(Math.min(LONGEST_PAUSE_MS, (problem.retry_after ?? 1) * 250))
    }
    assert.fail('no final response in time')
  }

  const line = pLimit(AT_ONCE)
  const clients = Array.from({ length: REQUESTS }, (_, i) => {
    const token = tokens[i % tokens.length]
    assert.ok(token)
    const key = randomUUID()
    const copies = i % 20 === 0 ? 3 : i % 5 === 0 ? 2 : 1
    return line(() =>
      Promise.all(Array.from({ length: copies }, (_, n) => registerOnce(token, key, (i + n) % 3))),
    )
  })
  await Promise.all(clients)
  await killed
  const isQuiet = async () =>
    !(await store.listRegistrations({ limit: REQUESTS * 10 })).some((one) => hasWorkLeft(one, Date.now()))
  await until(isQuiet, 'all work is done')
  // Uses that the killed replica held may have been refunded after other requests were rejected: they can be used again.
  for (const token of tokens) {
    const { uses = 0, maxUses } = (await store.getToken(token.id)) ?? {}
    for (let left = (maxUses ?? 0) - uses; left > 0; left--) await registerOnce(token, randomUUID(), 1)
  }

  const all: ReceivedCredential[] = []
  for (const { id } of tokens) {
    const token = await store.getToken(id)
    const own = [...(answers.get(id)?.values() ?? [])].map(([body, ...others]) => {
      assert.deepEqual(others, [], 'two different responses to one Idempotency-Key')
      return JSON.parse(body ?? '') as ReceivedCredential
    })
    assert.equal(token?.uses, token?.maxUses)
    assert.equal(new Set(own.map((one) => one.api_key_value)).size, token?.maxUses)
    assert.ok((refused.get(id) ?? 0) > 0, 'the other requests are rejected')
    all.push(...own)
  }
  await assertInvariants(gateway, store, all)
  assert.ok(broken > 0, 'the kill broke connections')
  assert.ok(Math.min(...firstAnswers) > 0, `each replica minted keys: ${firstAnswers}`)
})

test('one replica at a time runs the jobs, and another one takes over within 30 s after kill -9', async (t) => {
  const { gateway, store, replicas, token } = await startCluster(t)
  const shortLived = await token({ label: 'short', keyTtlMs: 3_000 })
  const endless = await token({ label: 'endless' })
  const all: ReceivedCredential[] = []
  const registerShortLived = async (by: readonly Replica[]) => {
    const answers = await Promise.all(by.map((one) => register(one, shortLived.secret, 'short')))
    all.push(...(await Promise.all(answers.map(readCredential))))
  }

  await registerShortLived([...replicas, ...replicas])
  await until(async () => timesDone('key deleted', replicas) === 6, 'the keys that expired are deleted')
  const [holder, ...others] = whoDid('key deleted', replicas)
  assert.ok(holder && others.length === 0, 'one replica deletes for all')

  const survivors = replicas.filter((one) => one !== holder)
  await registerShortLived(survivors)
  gateway.onCall = (operation, moment) => {
    if (operation === 'CreateUsagePlanKey' && moment === 'arrived') holder.child.kill('SIGKILL')
  }
  await assert.rejects(register(holder, endless.secret, 'orphan'), 'it was killed before it responded')
  const killedAt = performance.now()
  gateway.onCall = () => undefined
  assert.equal((await store.listRegistrations({ status: 'pending', limit: 9 })).length, 1)
  assert.equal(gateway.account.keys.size, 3)
  const isTakenOver = async () =>
    timesDone('recovered', survivors) === 1 && timesDone('key deleted', survivors) === 2
  await until(isTakenOver, 'the work of the killed replica is done')
  const tookMs = performance.now() - killedAt
  t.diagnostic(`taken over within ${Math.round(tookMs)} ms`)
  assert.ok(tookMs < 30_000, `it took ${tookMs} ms`)

  const heirs = whoDid('key deleted', survivors)
  assert.equal(heirs.length, 1, 'one replica took over')
  assert.deepEqual(whoDid('recovered', survivors), heirs)
  assert.equal(gateway.account.keys.size, 0)
  await assertInvariants(gateway, store, all)
})

function timesDone(message: string, replicas: readonly Replica[]): number {
  const logs = replicas.map(({ output }) => output.stdout).join('')
  return logs.split(`"msg":"${message}"`).length - 1
}

function whoDid(message: string, replicas: readonly Replica[]): Replica[] {
  return replicas.filter((one) => timesDone(message, [one]) > 0)
}

const RATE = 40
const MINUTE_MS = 60_000
/** Far above the time that the requests take. */
const ENOUGH_MS = 10_000

test('the rate limit of a token holds for all replicas together', async (t) => {
  const { replicas, token } = await startCluster(t)
  const { secret } = await token({ label: 'limited', ratePerMinute: RATE })
  const left = MINUTE_MS - (Date.now() % MINUTE_MS)
  if (left < ENOUGH_MS) await sleep(left + 50)
  const minute = () => Math.floor(Date.now() / MINUTE_MS)
  const startedIn = minute()

  const answers = await Promise.all(
    Array.from({ length: 6 * RATE }, (_, i) => register(replicas[i % 3], secret, `agent-${i}`)),
  )

  assert.equal(minute(), startedIn, 'the requests did not fit into one minute')
  const { passed = [], limited = [] } = Object.groupBy(answers, ({ status }) =>
    status === 429 ? 'limited' : 'passed',
  )
  assert.deepEqual(new Set(passed.map(({ status }) => status)), new Set([201]))
  assert.equal(passed.length, RATE)
  for (const answer of limited) assert.equal((await readProblem(answer)).code, 'rate_limited')
})
