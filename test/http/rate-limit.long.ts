import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readProblem } from '../support/problem.ts'
import { startService } from '../support/service.ts'

test('a token with a rate is limited, the headers report its status, and other tokens are not affected', async (t) => {
  const now = Date.UTC(2026, 10, 24, 12, 0, 10) // A minute that ends between two requests would reset the rate.
  const { token, register, deps } = await startService(t, { clock: () => now })
  const limited = await token({ ratePerMinute: 2 })
  const other = await token()

  const first = await register(limited.secret)
  assert.equal(first.headers.get('ratelimit-policy'), '"token";q=2;w=60')
  assert.match(first.headers.get('ratelimit') ?? '', /^"token";r=1;t=\d+$/)
  assert.equal((await register(limited.secret)).status, 201)

  const refused = await register(limited.secret)
  assert.equal(refused.status, 429)
  assert.ok(Number(refused.headers.get('retry-after')) > 0)
  assert.equal((await readProblem(refused)).code, 'rate_limited')
  assert.equal((await register(other.secret)).status, 201)
  assert.equal((await deps.store.getToken(limited.token.id))?.uses, 2)
})

test('all processes on the store share the rate of a token, which is reset every minute', async (t) => {
  let now = Date.UTC(2026, 10, 24, 12, 0, 10)
  const one = await startService(t, { clock: () => now })
  const two = await startService(t, { clock: () => now, beside: one })
  const { secret } = await one.token({ ratePerMinute: 3 })
  const statuses = async (...services: (typeof one)[]) =>
    Promise.all(services.map(async ({ register }) => (await register(secret)).status))
  assert.deepEqual((await statuses(one, two, one, two)).sort(), [201, 201, 201, 429])
  const refused = await two.register(secret)
  assert.deepEqual([refused.status, refused.headers.get('retry-after')], [429, '50'])
  now += 50_000
  assert.deepEqual(await statuses(one, two), [201, 201])
})

test('an address is limited before the body is read, on every path except the health checks', async (t) => {
  const { url, register } = await startService(t, { env: { RATE_LIMIT_PER_IP: '3' } })
  for (const left of [2, 1, 0]) {
    const answer = await fetch(`${url}/nowhere`)
    assert.equal(answer.headers.get('ratelimit-policy'), '"address";q=3;w=60')
    assert.match(answer.headers.get('ratelimit') ?? '', RegExp(`^"address";r=${left};t=`))
  }
  const refused = await register('fkb_wrong', 'not even an object')
  assert.equal(refused.status, 429)
  assert.equal((await readProblem(refused)).code, 'rate_limited')
  assert.equal((await fetch(`${url}/livez`)).status, 200)
  assert.equal((await fetch(`${url}/readyz`)).status, 200)
})

test('both limits are reported in the same header fields', async (t) => {
  const { token, register } = await startService(t, { env: { RATE_LIMIT_PER_IP: '9' } })
  const { secret } = await token({ ratePerMinute: 5 })
  const answer = await register(secret)
  assert.equal(answer.headers.get('ratelimit-policy'), '"address";q=9;w=60, "token";q=5;w=60')
})

/** Returns the number of addresses that the limiter sees when two clients send different X-Forwarded-For headers. */
async function addressesSeen(url: string): Promise<number> {
  const remaining = new Set<string | null>()
  for (const client of ['203.0.113.1', '203.0.113.2']) {
    const answer = await fetch(`${url}/nowhere`, { headers: { 'x-forwarded-for': client } })
    remaining.add(answer.headers.get('ratelimit')?.replace(/;t=\d+/, '') ?? null)
  }
  return remaining.size === 1 ? 2 : 1
}

test('X-Forwarded-For counts only from a proxy that TRUST_PROXY names', async (t) => {
  const limit = { RATE_LIMIT_PER_IP: '100' }
  const cases = [
    [{}, 1],
    [{ TRUST_PROXY: '1' }, 2],
    [{ TRUST_PROXY: '127.0.0.0/8' }, 2],
    [{ TRUST_PROXY: '10.0.0.0/8' }, 1],
  ] as const
  for (const [env, seen] of cases) {
    const { url } = await startService(t, { env: { ...limit, ...env } })
    assert.equal(await addressesSeen(url), seen, JSON.stringify(env))
  }
})

test('with one trusted hop a client cannot choose its address by sending the header itself', async (t) => {
  const { url } = await startService(t, { env: { RATE_LIMIT_PER_IP: '100', TRUST_PROXY: '1' } })
  const left: (string | undefined)[] = []
  for (const forged of ['198.51.100.1', '198.51.100.2']) {
    const answer = await fetch(`${url}/nowhere`, { headers: { 'x-forwarded-for': `${forged}, 203.0.113.9` } })
    left.push(answer.headers.get('ratelimit')?.match(/r=(\d+)/)?.[1])
  }
  assert.deepEqual(left, ['99', '98'])
})

test('after the clock of the machine was set back an hour, no one has to wait longer than a minute', async (t) => {
  const { url, token, register } = await startService(t, { env: { RATE_LIMIT_PER_IP: '2' } })
  const { secret } = await token({ ratePerMinute: 1 })
  assert.equal((await register(secret)).status, 201)
  const now = Date.now
  t.mock.method(Date, 'now', () => now() - 3_600_000)
  const byToken = await register(secret)
  const byAddress = await fetch(`${url}/nowhere`)
  for (const answer of [byToken, byAddress]) {
    assert.equal(answer.status, 429)
    const waitS = Number(answer.headers.get('retry-after'))
    assert.ok(waitS >= 1 && waitS <= 60, String(waitS))
  }
})
