import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { copyFileSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { assertInvariants, type ReceivedCredential } from '../support/invariants.ts'
import { readProblem } from '../support/problem.ts'
import { runCli, startProgram } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

/** Only on Linux can one process limit the file sizes of another. */
const cannotLimit = process.platform === 'linux' ? false : 'needs prlimit'

/** Registers until the store fails, checks the response, heals the store, and checks that no restart is needed. */
async function breakAndHeal(
  t: TestContext,
  { breakIt, healIt }: Record<'breakIt' | 'healIt', (path: string, pid: number) => void>,
): Promise<void> {
  const gateway = await testGateway(t)
  const dir = tempDir(t)
  const path = join(dir, 'firstkey.db')
  const env = serverEnv(gateway, dir)
  const server = startProgram(t, 'test/support/fast-server.ts', [], env)
  const [, url = ''] = await server.seen(/listening on (\S+)/)
  const secret = (await runCli(t, ['tokens', 'create', '--label', 'x'], env)).stdout.trim()
  const register = () =>
    fetch(`${url}/register`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'acme-agent', description: 'x'.repeat(250) }),
    })
  const given = [(await (await register()).json()) as ReceivedCredential]
  assert.equal((await fetch(`${url}/readyz`)).status, 200)

  breakIt(path, Number(server.child.pid))
  let answer = await register()
  for (let i = 0; answer.status === 201 && i < 500; i++) {
    given.push((await answer.json()) as ReceivedCredential)
    answer = await register()
  }
  assert.equal(answer.status, 503)
  assert.ok(Number(answer.headers.get('retry-after')) > 0)
  assert.equal((await readProblem(answer)).code, 'store_unavailable')
  assert.equal((await fetch(`${url}/livez`)).status, 200)
  await readyIs(url, 503)

  healIt(path, Number(server.child.pid))
  const healed = await register()
  assert.equal(healed.status, 201)
  given.push((await healed.json()) as ReceivedCredential)
  const store = openSqliteStore(path)
  t.after(() => store.close())
  for (let i = 0; i < 100; i++) {
    if ((await store.listRegistrations({ status: 'pending', limit: 1 })).length === 0) break
    await sleep(100)
  }
  await assertInvariants(gateway, store, given)
  await readyIs(url, 200)
}

/** Resolves when `/readyz` has this status, which may be that of some seconds ago at first. */
async function readyIs(url: string, status: number): Promise<void> {
  for (const giveUpAt = performance.now() + 20_000; ; ) {
    const answer = await fetch(`${url}/readyz`)
    if (answer.status === 503) assert.equal((await readProblem(answer)).code, 'store_unavailable')
    if (answer.status === status) return
    assert.ok(performance.now() < giveUpAt, `/readyz is ${answer.status}`)
    await sleep(200)
  }
}

const limitFiles = (pid: number, bytes: number | 'unlimited') =>
  execFileSync('prlimit', ['-p', String(pid), `--fsize=${bytes}:unlimited`])

test(
  'a full disk: 503, every minted key is recorded, and the service recovers without a restart',
  { skip: cannotLimit },
  (t) =>
    breakAndHeal(t, {
      // Leaves room for some more registrations; then a write fails in the middle of one.
      breakIt: (path, pid) => limitFiles(pid, statSync(`${path}-wal`).size + 30_000),
      healIt: (_path, pid) => limitFiles(pid, 'unlimited'),
    }),
)

test('a store that cannot be written at all: 503, then recovery', { skip: cannotLimit }, (t) =>
  breakAndHeal(t, {
    breakIt: (_path, pid) => limitFiles(pid, 1),
    healIt: (_path, pid) => limitFiles(pid, 'unlimited'),
  }),
)

test('a store that another process keeps locked: 503, then recovery', (t) => {
  let other: DatabaseSync | undefined
  t.after(() => other?.close())
  return breakAndHeal(t, {
    breakIt: (path) => {
      other = new DatabaseSync(path)
      other.exec('BEGIN IMMEDIATE')
    },
    healIt: () => other?.exec('ROLLBACK'),
  })
})

test('a store file that is replaced by an older copy: 503 and nothing is minted, then recovery when it is back', (t) =>
  breakAndHeal(t, {
    breakIt(path) {
      renameSync(path, `${path}.moved`)
      copyFileSync(`${path}.moved`, path)
    },
    healIt: (path) => renameSync(`${path}.moved`, path),
  }))
