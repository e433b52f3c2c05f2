import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { startIssuer } from '../support/identity/issuer.ts'
import { assertInvariants, assertPlaces } from '../support/invariants.ts'
import { readProblem } from '../support/problem.ts'
import { FAST_SERVER, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

const AUDIENCE = 'https://keys.example.com'
const credential = z.looseObject({
  registration_id: z.string(),
  api_key_id: z.string(),
  api_key_value: z.string(),
})

for (const [what, isRepeat] of [
  ['a registration', false],
  ['a name that is registered again', true],
] as const) {
  test(`invariants 2, 3, 4, 6: after kill -9 amid ${what}, a fresh identity token with the same Idempotency-Key gets the key`, async (t) => {
    const gateway = await testGateway(t)
    const issuer = await startIssuer(t, { audience: AUDIENCE })
    const dir = tempDir(t)
    const trustFile = join(tempDir(t), 'trust.json')
    const rule = { id: 'ci', issuer: 'ci', match: { sub: 'caller' }, grant: { key_ttl: '1h', max_live: 1 } }
    const ci = { kind: 'oidc', issuer: issuer.url, algorithms: ['ES256'], single_use: true }
    writeFileSync(trustFile, JSON.stringify({ audience: AUDIENCE, issuers: { ci }, rules: [rule] }))
    const env = { ...serverEnv(gateway, dir), TRUST_FILE: trustFile }
    const store = openSqliteStore(join(dir, 'firstkey.db'))
    t.after(() => store.close())
    let server = await startServer(t, env, FAST_SERVER)
    const send = (jwt: string, key: string) =>
      fetch(`${server.url}/register`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${jwt}`,
          'content-type': 'application/json',
          'idempotency-key': key,
        },
        body: '{"name":"acme-agent"}',
      })
    const before = isRepeat
      ? credential.parse(await (await send(issuer.sign(), randomUUID())).json())
      : undefined

    const [jwt, key] = [issuer.sign(), randomUUID()]
    const made = isRepeat ? 'CreateUsagePlanKey' : 'CreateApiKey'
    gateway.onCall = (operation, moment) => {
      if (operation === made && moment === 'effective') server.child.kill('SIGKILL')
    }
    await assert.rejects(send(jwt, key))
    gateway.onCall = () => undefined
    await server.ended()
    server = await startServer(t, env, FAST_SERVER)
    // The dead process still holds the token for the registration that it began.
    assert.equal((await readProblem(await send(jwt, randomUUID()))).code, 'token_replayed')
    let answer = await send(issuer.sign(), key)
    for (let tries = 0; tries < 300 && answer.status !== 201; tries++) {
      const problem = await readProblem(answer)
      assert.ok(problem.retryable, JSON.stringify(problem))
      await sleep(100)
      answer = await send(issuer.sign(), key)
    }
    const text = await answer.text()
    assert.equal(answer.status, 201, text)
    const own = credential.parse(JSON.parse(text))
    if (before !== undefined) {
      assert.equal(own.registration_id, before.registration_id)
      assert.notEqual(own.api_key_value, before.api_key_value)
    }
    assert.equal(await (await send(issuer.sign(), key)).text(), text)
    assert.equal((await readProblem(await send(jwt, randomUUID()))).code, 'token_replayed')
    for (let tries = 0; tries < 100; tries++) {
      if ((await store.listRegistrations({ status: 'pending', limit: 1 })).length === 0) break
      await sleep(100)
    }
    await assertInvariants(gateway, store, [own])
    await assertPlaces(store)
    assert.equal(gateway.account.keys.size, isRepeat ? 2 : 1)
  })
}
