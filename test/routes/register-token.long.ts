import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readProblem } from '../support/problem.ts'
import { startService } from '../support/service.ts'
import { rejectsBadTokens } from '../support/token-cases.ts'

rejectsBadTokens('POST /register', (url, authorization) =>
  fetch(`${url}/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(authorization === null ? {} : { authorization }) },
    body: '{"name":"acme-agent"}',
  }),
)

test('a token is rejected before the body is read: an invalid body with an invalid token gets a 401', async (t) => {
  const { register } = await startService(t)
  assert.equal((await register('nonsense', { wrong: true })).status, 401)
})

test('a token allows certain plans; the first is its default', async (t) => {
  const { token, register } = await startService(t)
  const both = await token({ plans: ['gold', 'free'] })
  const byDefault = await token()
  const planOf = async (answer: Promise<Response>) =>
    ((await (await answer).json()) as { plan?: string }).plan

  assert.equal(await planOf(register(both.secret)), 'gold')
  assert.equal(await planOf(register(both.secret, { name: 'a', plan: 'free' })), 'free')
  assert.equal(await planOf(register(byDefault.secret)), 'free')

  const refused = await register(byDefault.secret, { name: 'a', plan: 'gold' })
  assert.equal(refused.status, 403)
  const problem = await readProblem(refused)
  assert.equal(problem.code, 'plan_not_allowed')
  assert.match(problem.detail, /allows these plans: free/)
})

test('a plan that the service no longer offers is an error of the operator, not of the caller', async (t) => {
  const { token, register } = await startService(t)
  const { secret } = await token({ plans: ['silver'] })
  const answer = await register(secret)
  assert.equal(answer.status, 502)
  assert.equal((await readProblem(answer)).code, 'upstream_misconfigured')
})

test('a token with a name prefix allows only names with that prefix', async (t) => {
  const { token, register } = await startService(t)
  const { secret } = await token({ namePrefix: 'acme-' })
  assert.equal((await register(secret, { name: 'acme-1' })).status, 201)
  const refused = await register(secret, { name: 'evil-1' })
  assert.equal(refused.status, 403)
  assert.equal((await readProblem(refused)).code, 'name_not_allowed')
})

test('invariant 3: a rejected registration costs no use', async (t) => {
  const { token, register, deps } = await startService(t)
  const { secret, token: issued } = await token({ maxUses: 1, namePrefix: 'acme-' })
  await register(secret, { name: 'evil' })
  await register(secret, { name: 'acme-1', plan: 'platinum' })
  await register(secret, { name: '' })
  assert.equal((await deps.store.getToken(issued.id))?.uses, 0)
  assert.equal((await register(secret, { name: 'acme-1' })).status, 201)
  assert.equal((await readProblem(await register(secret, { name: 'acme-2' }))).code, 'token_exhausted')
})
