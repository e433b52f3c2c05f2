import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSecret } from '../../src/auth/token-format.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { readProblem } from './problem.ts'
import { startService } from './service.ts'

/** Tests that a route with a bootstrap token rejects bad tokens. `call` sends a request that is otherwise valid. */
export function rejectsBadTokens(
  route: string,
  call: (url: string, authorization: string | null) => Promise<Response>,
) {
  test(`${route}: without credentials the challenge has no error code (RFC 6750)`, async (t) => {
    const { url } = await startService(t)
    for (const header of [null, 'Basic dXNlcjpwYXNz', 'Bearer', 'Bearer a b']) {
      const answer = await call(url, header)
      assert.equal(answer.status, 401)
      assert.match(
        answer.headers.get('www-authenticate') ?? '',
        /^Bearer realm="firstkey", resource_metadata="[^"]+"$/,
      )
      assert.equal((await readProblem(answer)).code, 'missing_token')
    }
  })

  test(`${route}: the error distinguishes a typing error, an unknown token and another format, and never shows the token`, async (t) => {
    const { url, token, gateway } = await startService(t)
    const { secret } = await token()
    const mistyped = secret.slice(0, -1) + (secret.endsWith('0') ? '1' : '0')
    const cases = [
      [mistyped, /typing error/],
      [createSecret('fkb_'), /not known/],
      [createSecret('fkm_'), /38 letters and digits/],
      ['nonsense', /38 letters and digits/],
    ] as const
    for (const [wrong, detail] of cases) {
      const answer = await call(url, `Bearer ${wrong}`)
      assert.equal(answer.status, 401)
      assert.match(
        answer.headers.get('www-authenticate') ?? '',
        /^Bearer realm="firstkey", resource_metadata="[^"]+", error="invalid_token"/,
      )
      const problem = await readProblem(answer)
      assert.equal(problem.code, 'invalid_token')
      assert.match(problem.detail, detail)
      assert.ok(!JSON.stringify(problem).includes(wrong))
    }
    assert.equal(gateway.account.keys.size, 0)
  })

  test(`${route}: the error for a known token says why it may no longer be used`, async (t) => {
    let now = Date.now()
    const { url, token, deps } = await startService(t, { clock: () => now })
    const expiring = await token({ expiresAt: now + 60_000 })
    const revoked = await token()
    await deps.store.revokeToken(revoked.token.id, SERVICE, now)
    assert.notEqual((await call(url, `Bearer ${expiring.secret}`)).status, 401)
    now += 60_000
    for (const [secret, code] of [
      [expiring.secret, 'token_expired'],
      [revoked.secret, 'token_revoked'],
    ] as const) {
      const answer = await call(url, `Bearer ${secret}`)
      assert.equal(answer.status, 401)
      assert.match(answer.headers.get('www-authenticate') ?? '', /error="invalid_token"/)
      assert.equal((await readProblem(answer)).code, code)
    }
  })

  test(`${route}: the name of the scheme is case-insensitive`, async (t) => {
    const { url, token } = await startService(t)
    const { secret } = await token()
    assert.equal((await call(url, `bEARER ${secret}`)).ok, true)
  })
}
