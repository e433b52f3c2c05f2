import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSecret } from '../../src/auth/token-format.ts'
import { readProblem } from './problem.ts'
import { type Registered, registered, type Service, startService } from './service.ts'

/** Sends a request that is valid except for the given registration and `Authorization` header. */
export type ManagementCall = (
  service: Service,
  registration: Registered,
  authorization: string | null,
) => Promise<Response>

/** Tests that a route with a management token rejects all other tokens and registrations. */
export function rejectsOtherOwners(route: string, call: ManagementCall): void {
  test(`${route}: without credentials the challenge has no error code (RFC 6750)`, async (t) => {
    const service = await startService(t)
    const own = await registered(service)
    for (const header of [null, 'Basic dXNlcjpwYXNz', 'Bearer', 'Bearer a b']) {
      const answer = await call(service, own, header)
      assert.equal(answer.status, 401)
      assert.match(
        answer.headers.get('www-authenticate') ?? '',
        /^Bearer realm="firstkey", resource_metadata="[^"]+"$/,
      )
      assert.equal((await readProblem(answer)).code, 'missing_token')
    }
    assert.equal(service.gateway.account.keys.size, 1)
  })

  test(`${route}: a wrong management token, and the bootstrap token, are invalid_token`, async (t) => {
    const service = await startService(t)
    const own = await registered(service)
    const { secret } = await service.token()
    for (const wrong of [createSecret('fkm_'), `${own.management.token.slice(0, -1)}-`, secret, 'nonsense']) {
      const answer = await call(service, own, `Bearer ${wrong}`)
      assert.equal(answer.status, 401)
      assert.match(
        answer.headers.get('www-authenticate') ?? '',
        /^Bearer realm="firstkey", resource_metadata="[^"]+", error="invalid_token"/,
      )
      const problem = await readProblem(answer)
      assert.equal(problem.code, 'invalid_token')
      assert.ok(!JSON.stringify(problem).includes(wrong))
    }
    assert.equal(service.gateway.account.keys.size, 1)
  })

  test(`${route}: the registration of another owner looks like one that does not exist`, async (t) => {
    const service = await startService(t)
    const [own, other] = [await registered(service), await registered(service)]
    const authorization = `Bearer ${own.management.token}`
    const problems = []
    for (const id of [other.registration_id, 'reg_00000000000000000000', 'nonsense']) {
      const answer = await call(service, { ...own, registration_id: id }, authorization)
      assert.equal(answer.status, 404)
      const { instance: _, ...problem } = await readProblem(answer)
      problems.push(problem)
    }
    assert.deepEqual(problems[0], problems[1])
    assert.deepEqual(problems[0], problems[2])
    assert.equal(service.gateway.account.keys.size, 2)
  })
}
