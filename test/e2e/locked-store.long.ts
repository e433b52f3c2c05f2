import assert from 'node:assert/strict'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { readProblem } from '../support/problem.ts'
import { runCli, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

const REQUESTS = 200

/** Starts a server with a token that has a rate, so that each of its requests begins with a write. */
async function lockableService(t: TestContext) {
  const dir = tempDir(t)
  const env = serverEnv(await testGateway(t), dir)
  const { url } = await startServer(t, env)
  const created = await runCli(t, ['tokens', 'create', '--label', 'x', '--rate', '100000'], env)
  const other = new DatabaseSync(join(dir, 'firstkey.db'))
  t.after(() => other.close())
  return {
    url,
    other,
    register: () =>
      fetch(`${url}/register`, {
        method: 'POST',
        headers: { authorization: `Bearer ${created.stdout.trim()}`, 'content-type': 'application/json' },
        body: '{"name":"acme-agent"}',
      }),
  }
}

/** Calls `action` again and again until `work` is done. Returns the times that the calls took (ms), the longest last. */
async function timesDuring(work: Promise<unknown>, action: () => Promise<unknown>): Promise<number[]> {
  let done = false
  const ending = work.finally(() => {
    done = true
  })
  const times: number[] = []
  while (!done) {
    const startedAt = performance.now()
    await action()
    times.push(performance.now() - startedAt)
  }
  await ending
  return times.sort((a, b) => a - b)
}

test('invariants 7 and 8: beside a store that stays locked, every answer comes in time, and /livez stays fast', async (t) => {
  const { url, other, register } = await lockableService(t)
  assert.equal((await register()).status, 201)
  other.exec('BEGIN IMMEDIATE')
  const sentAt = performance.now()
  const times: number[] = []
  const refusals = Promise.all(
    Array.from({ length: REQUESTS }, async () => {
      const answer = await register()
      times.push(performance.now() - sentAt)
      assert.ok(Number(answer.headers.get('retry-after')) > 0)
      assert.equal((await readProblem(answer)).code, 'store_unavailable')
    }),
  )
  const live = await timesDuring(refusals, async () =>
    assert.equal((await fetch(`${url}/livez`)).status, 200),
  )
  const last = Math.max(...times)
  const nearlyAll = live[Math.floor(live.length * 0.95)] ?? 0
  const longest = live.at(-1) ?? 0
  const measured = `the last answer came after ${last} ms; /livez took ${nearlyAll} ms, once ${longest} ms`
  t.diagnostic(measured)
  assert.ok(last < 5_000 && nearlyAll < 200 && longest < 1_000, measured)
  other.exec('ROLLBACK')
  assert.equal((await register()).status, 201)
})

test('a store that is locked for a moment delays requests, and fails none', async (t) => {
  const { other, register } = await lockableService(t)
  other.exec('BEGIN IMMEDIATE')
  const answers = Promise.all(Array.from({ length: REQUESTS }, register))
  setTimeout(() => other.exec('ROLLBACK'), 500)
  assert.ok((await answers).every(({ status }) => status === 201))
})
