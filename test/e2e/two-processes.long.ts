import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { assertInvariants, type ReceivedCredential } from '../support/invariants.ts'
import { readProblem } from '../support/problem.ts'
import { runCli, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

test('invariant 3: 500 concurrent requests with 100 uses, two processes on one file: 100 keys, 400 refusals, no 5xx', async (t) => {
  const gateway = await testGateway(t)
  const dir = tempDir(t)
  const env = serverEnv(gateway, dir)
  const servers = await Promise.all([startServer(t, env), startServer(t, env)])
  const secret = (
    await runCli(t, ['tokens', 'create', '--label', 'x', '--max-uses', '100'], env)
  ).stdout.trim()

  const answers = await Promise.all(
    Array.from({ length: 500 }, (_, i) =>
      fetch(`${servers[i % 2]?.url}/register`, {
        method: 'POST',
        headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
        body: JSON.stringify({ name: `agent-${i}` }),
      }),
    ),
  )

  const byStatus = Map.groupBy(answers, ({ status }) => status)
  assert.equal(byStatus.get(201)?.length, 100)
  // Final only for those that came after the last 201.
  for (const refused of answers.filter(({ status }) => status !== 201))
    assert.ok(['token_uses_pending', 'token_exhausted'].includes((await readProblem(refused)).code))
  assert.equal(gateway.account.keys.size, 100)
  const given = await Promise.all(
    (byStatus.get(201) ?? []).map(async (answer) => (await answer.json()) as ReceivedCredential),
  )
  const store = openSqliteStore(join(dir, 'firstkey.db'))
  t.after(() => store.close())
  await assertInvariants(gateway, store, given)
})
