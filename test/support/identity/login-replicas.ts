import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { z } from 'zod'
import { startAlternatingFront } from '../alternating-front.ts'
import { startServer } from '../server-process.ts'
import { serverEnv, tempDir, testGateway } from '../service.ts'
import { codeForm, exchange, LOGIN_ACCOUNTS, obtainCode, trustOf } from './login.ts'
import { startProvider } from './provider.ts'

/**
 * Tests the login at two processes that share a store: each request of the browser reaches the other one.
 * @param storeEnv the variables that point both at the store
 */
export function testLoginAtReplicas(storeEnv: (dataDir: string) => Promise<Record<string, string>>): void {
  test('a login goes on at any process, and its code gives one token at all of them together', async (t) => {
    const targets: string[] = []
    const publicUrl = await startAlternatingFront(t, targets)
    const provider = await startProvider({
      accounts: LOGIN_ACCOUNTS,
      redirectUris: [`${publicUrl}/connect/callback`],
    })
    t.after(() => provider.close())
    const gateway = await testGateway(t)
    const dataDir = tempDir(t)
    const TRUST_FILE = join(dataDir, 'trust.json')
    writeFileSync(TRUST_FILE, JSON.stringify(trustOf(provider.issuer)))
    const env = {
      ...serverEnv(gateway, dataDir),
      ...(await storeEnv(dataDir)),
      ...{ TRUST_FILE, PUBLIC_URL: publicUrl, OIDC_SECRET: provider.clientSecret },
    }
    for (const server of await Promise.all([startServer(t, env), startServer(t, env)]))
      targets.push(server.url)

    for (let round = 0; round < 3; round++) {
      const { code, verifier } = await obtainCode({ publicUrl })
      const wrong = await exchange(publicUrl, codeForm(code, 'v'.repeat(43)))
      assert.equal(wrong.status, 400, 'a wrong verifier does not use the code up')
      const answers = await Promise.all(
        Array.from({ length: 6 }, () => exchange(publicUrl, codeForm(code, verifier))),
      )
      assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 400, 400, 400, 400, 400])
      const answer = answers.find(({ status }) => status === 200)
      const { access_token } = z.looseObject({ access_token: z.string() }).parse(await answer?.json())
      const registered = await Promise.all(
        ['a', 'b'].map((name) =>
          fetch(`${publicUrl}/register`, {
            method: 'POST',
            headers: { authorization: `Bearer ${access_token}`, 'content-type': 'application/json' },
            body: JSON.stringify({ name: `${name}-${round}` }),
          }),
        ),
      )
      assert.equal(registered.filter(({ status }) => status === 201).length, 1)
      assert.equal(gateway.account.keys.size, round + 1)
    }
  })
}
