import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FaultOrder } from '../../emulator/faults.ts'
import type { OperationName } from '../../emulator/operation-names.ts'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import type { Timing } from '../../src/registration/timing.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { assertInvariants, type ReceivedCredential } from '../support/invariants.ts'
import { readProblem } from '../support/problem.ts'
import { FAST_SERVER, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway, unlimitedPolicy } from '../support/service.ts'

/** Errors after which a client that obeys `Retry-After` may find another one: the fault, and what it leaves. */
const MOST_ERRORS = 4

interface Trouble {
  readonly name: string
  readonly faults?: readonly FaultOrder[]
  /** The server is killed at this call, and starts again. */
  readonly killAt?: readonly [operation: OperationName, moment: 'arrived' | 'effective']
  readonly timing?: Partial<Timing>
}

/** Recovery comes later than a usual `Retry-After`, and later than the restart of a server. */
const slowRecovery = { lease: 10_000, renew: 500, leaderLease: 10_000, recover: 500 }
const lookFails = { operation: 'GetUsagePlanKeys', when: 'before', kind: 'fail', times: 3 } as const
const undoFails = { operation: 'GetApiKeys', when: 'before', kind: 'fail', times: 3 } as const
const killed = (...killAt: NonNullable<Trouble['killAt']>): Trouble => ({
  name: `the server is killed when ${killAt[0]} is ${killAt[1]}`,
  killAt,
  timing: slowRecovery,
})

const troubles: readonly Trouble[] = [
  killed('ImportApiKeys', 'arrived'),
  killed('ImportApiKeys', 'effective'),
  killed('GetUsagePlanKeys', 'effective'),
  {
    name: 'the import hangs beyond the deadline, and the undoing fails too',
    faults: [{ operation: 'ImportApiKeys', when: 'before', kind: 'hang', times: 4 }, undoFails],
    timing: { recover: 7_000, upstreamCall: 400 },
  },
  { name: 'GetUsagePlanKeys returns 500 three times', faults: [lookFails] },
  {
    name: 'the undoing fails too, and is left to recovery',
    faults: [lookFails, undoFails],
    timing: { recover: 7_000 },
  },
  {
    name: 'a deletion of the undoing hangs',
    faults: [lookFails, { operation: 'DeleteApiKey', when: 'after', kind: 'hang', times: 4 }],
    timing: { recover: 7_000 },
  },
]

describe('invariants 3, 8: clients that obey Retry-After are all served, and no refusal is final, if', {
  concurrency: 4,
}, () => {
  for (const trouble of troubles)
    for (const keyed of [false, true])
      test(`${trouble.name} (${keyed ? 'with' : 'without'} Idempotency-Key)`, (t) =>
        assertAllServed(t, trouble, keyed, 20))
  test('a look fails in a burst of 150, and deletions take their time', (t) =>
    assertAllServed(t, { name: '', faults: [lookFails], timing: { undo: 1_000 } }, false, 150))
})

/** As many clients as the token has uses. */
async function assertAllServed(
  t: TestContext,
  trouble: Trouble,
  keyed: boolean,
  count: number,
): Promise<void> {
  const gateway = await testGateway(t)
  const dir = tempDir(t)
  const timing = JSON.stringify(trouble.timing ?? {})
  const env = { ...serverEnv(gateway, dir), MINT_MODE: 'bulk', REGISTER_TIMEOUT_MS: '1500', TIMING: timing }
  const store = openSqliteStore(join(dir, 'firstkey.db'))
  t.after(() => store.close())
  const { secret } = await issueBootstrapToken(
    store,
    { ...unlimitedPolicy, maxUses: count },
    SERVICE,
    Date.now(),
  )
  let server = await startServer(t, env, FAST_SERVER)
  for (const fault of trouble.faults ?? []) gateway.faults.order(fault)
  const [killAt, killWhen] = trouble.killAt ?? []
  gateway.onCall = (operation, moment) => {
    if (operation === killAt && moment === killWhen) server.child.kill('SIGKILL')
  }
  const restarted =
    killAt &&
    server.ended().then(async () => {
      gateway.onCall = () => undefined
      server = await startServer(t, env, FAST_SERVER)
    })

  async function obey(i: number): Promise<ReceivedCredential> {
    const headers = {
      authorization: `Bearer ${secret}`,
      'content-type': 'application/json',
      ...(keyed ? { 'idempotency-key': randomUUID() } : {}),
    }
    const init = { method: 'POST', headers, body: JSON.stringify({ name: `agent-${i}` }) }
    const errors: string[] = []
    for (;;) {
      const answer = await fetch(`${server.url}/register`, init).catch(() => undefined)
      if (answer === undefined) {
        assert.ok(restarted, 'the connection broke, although the server was not killed')
        await restarted
        continue
      }
      if (answer.status === 201) return (await answer.json()) as ReceivedCredential
      const problem = await readProblem(answer)
      errors.push(`${problem.code} ${problem.retry_after}`)
      assert.ok(problem.retryable, `${problem.code} is final, after ${errors.join(', ')}`)
      assert.ok(errors.length <= MOST_ERRORS, `Retry-After was not true: ${errors.join(', ')}`)
      await sleep((problem.retry_after ?? 0) * 1_000)
    }
  }

  const received = await Promise.all(Array.from({ length: count }, (_, i) => obey(i)))
  assert.equal(new Set(received.map(({ api_key_id }) => api_key_id)).size, count)
  await assertInvariants(gateway, store, received)
}
