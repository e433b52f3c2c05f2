import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { OperationName } from '../../emulator/operation-names.ts'
import { systemClock } from '../../src/clock.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { assertInvariants, hasWorkLeft, type ReceivedCredential } from '../support/invariants.ts'
import { FAST_SERVER, runCli, startServer } from '../support/server-process.ts'
import { manage, type Registered, serverEnv, tempDir, testGateway } from '../support/service.ts'

type Moment = 'arrived' | 'effective'

/**
 * Starts a server with one registration.
 * @returns with `killAt`, which kills it when `operation` is at `moment`; `restart`; and `quiet`, which waits until nothing
 *   is left to recover
 */
async function registeredServer(t: TestContext, ...policy: string[]) {
  const gateway = await testGateway(t)
  const dir = tempDir(t)
  const env = serverEnv(gateway, dir)
  const store = openSqliteStore(join(dir, 'firstkey.db'))
  t.after(() => store.close())
  const { stdout } = await runCli(t, ['tokens', 'create', '--label', 'x', ...policy], env)
  const server = await startServer(t, env, FAST_SERVER)
  const answer = await fetch(`${server.url}/register`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stdout.trim()}`, 'content-type': 'application/json' },
    body: '{"name":"acme-agent"}',
  })
  assert.equal(answer.status, 201)
  const own = (await answer.json()) as Registered
  const killAt = (operation: OperationName, moment: Moment) => {
    gateway.onCall = (called, at) => {
      if (called === operation && at === moment) server.child.kill('SIGKILL')
    }
  }
  const restart = async () => {
    assert.equal(await server.ended(), 'SIGKILL')
    gateway.onCall = () => undefined
    return startServer(t, env, FAST_SERVER)
  }
  const quiet = async () => {
    for (let tries = 0; tries < 300; tries++) {
      const rows = await store.listRegistrations({ limit: 100 })
      if (!rows.some((one) => hasWorkLeft(one, systemClock()))) return
      await sleep(100)
    }
    assert.fail('the registrations are not settled after 30 s')
  }
  return { gateway, store, server, own, killAt, restart, quiet }
}

describe('invariants 1, 2, 4, 6: kill -9 in a rotation or a revocation, then a restart', {
  concurrency: 4,
}, () => {
  for (const moment of ['arrived', 'effective'] as const) {
    for (const operation of ['CreateApiKey', 'CreateUsagePlanKey'] as const)
      for (const keyed of [false, true])
        test(`a rotation, when ${operation} is ${moment}, ${keyed ? 'with' : 'without'} an idempotency key`, async (t) => {
          const { gateway, store, server, own, killAt, restart, quiet } = await registeredServer(t)
          const headers: Record<string, string> = keyed ? { 'idempotency-key': randomUUID() } : {}
          killAt(operation, moment)
          await assert.rejects(manage(server, own, 'POST', '/rotate', { overlap_seconds: 0 }, headers))
          const next = await restart()
          assert.equal(gateway.account.key(own.api_key_id).value, own.api_key_value, 'the current key stays')
          const retry = async (): Promise<ReceivedCredential> => {
            for (let tries = 0; tries < 100; tries++) {
              const answer = await manage(next, own, 'POST', '/rotate', { overlap_seconds: 0 }, headers)
              if (answer.status === 201) return (await answer.json()) as ReceivedCredential
              assert.equal(answer.status, 409, 'only a rotation in progress may be reported')
              await sleep(100)
            }
            return assert.fail('the rotation is not finished after 10 s')
          }
          const given = await retry()
          await quiet()
          await assertInvariants(gateway, store, [own, given])
          assert.deepEqual([...gateway.account.keys.keys()], [given.api_key_id])
        })

    test(`a revocation, when DeleteApiKey is ${moment}: it finishes without another request`, async (t) => {
      const { gateway, store, server, own, killAt, restart, quiet } = await registeredServer(t)
      killAt('DeleteApiKey', moment)
      await assert.rejects(manage(server, own, 'DELETE'))
      const next = await restart()
      const view = (await (await manage(next, own, 'GET')).json()) as { status: string }
      assert.equal(view.status, 'revoked')
      await quiet()
      await assertInvariants(gateway, store, [own])
      assert.equal(gateway.account.keys.size, 0)
      assert.equal((await manage(next, own, 'DELETE')).status, 204)
    })

    test(`an expiry, when DeleteApiKey is ${moment}`, async (t) => {
      const { gateway, store, own, killAt, restart, quiet } = await registeredServer(t, '--key-ttl', '1s')
      killAt('DeleteApiKey', moment)
      const next = await restart()
      await quiet()
      await assertInvariants(gateway, store, [own])
      assert.equal(gateway.account.keys.size, 0)
      const view = (await (await manage(next, own, 'GET')).json()) as { status: string }
      assert.equal(view.status, 'expired')
    })
  }
})
