import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { long } from '../support/long.ts'
import { manage, registered, type Service, startService } from '../support/service.ts'

interface Line {
  readonly level: string
  readonly msg: string
  readonly [field: string]: unknown
}

const linesOf = ({ logLines }: Service): Line[] => logLines.map((line) => JSON.parse(line))

/** Resolves with the line of the next request that is completed after `seen` lines. */
async function completed(service: Service, seen: number): Promise<Line> {
  for (const giveUpAt = performance.now() + 5_000; ; await sleep(10)) {
    const line = linesOf(service)
      .slice(seen)
      .find(({ msg }) => msg === 'request completed')
    if (line !== undefined) return line
    assert.ok(performance.now() < giveUpAt, 'no request is completed')
  }
}

for (const [title, headers] of [
  ['without an Idempotency-Key', {}],
  ['with an Idempotency-Key', { 'idempotency-key': randomUUID() }],
] as const) {
  test(`a client that hangs up, ${title}, is logged as client_closed, and nothing as a warning or an error`, async (t) => {
    const service = await startService(t, { gateway: { latency: { CreateUsagePlanKey: 300 } } })
    const { secret, token } = await service.token({ maxUses: 1 })
    const client = new AbortController()
    service.gateway.onCall = (operation) => operation === 'CreateUsagePlanKey' && client.abort()
    const seen = service.logLines.length
    const request = fetch(`${service.url}/register`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json', ...headers },
      body: '{"name":"acme-agent"}',
      signal: client.signal,
    })
    await assert.rejects(request, { name: 'AbortError' })
    const line = await completed(service, seen)
    assert.deepEqual(
      [line.level, line['status'], line['code'], line['token_id']],
      ['info', 499, 'client_closed', token.id],
    )
    await service.deps.inFlight.settled()
    await service.deps.mintQueue.settled()
    const loud = linesOf(service)
      .slice(seen)
      .filter(({ level }) => level === 'warn' || level === 'error')
    assert.deepEqual(loud, [])
    if ('idempotency-key' in headers) return
    const [record] = await service.deps.store.listRegistrations({ limit: 1 })
    assert.deepEqual([record?.status, record?.failure], ['failed', 'client_closed'])
    const audit = await service.deps.store.listAudit({ limit: 10 })
    assert.deepEqual(
      audit.flatMap(({ action, detail }) => (detail === null ? [] : `${action} ${detail}`)),
      ['registration.undone client_closed'],
    )
  })
}

test('a retry that joins a request whose client has just left is told to come back, and gets its key', async (t) => {
  const service = await startService(t, {
    gateway: { latency: { CreateApiKey: 300 } },
    env: { MINT_MODE: 'single' },
  })
  const { secret } = await service.token()
  const body = { name: 'acme-agent' }
  // Four registrations are minted at once: the fifth waits in the queue when its client leaves.
  const others = Array.from({ length: 4 }, () => service.register(secret, body))
  const headers = { 'idempotency-key': randomUUID() }
  const client = new AbortController()
  const first = fetch(`${service.url}/register`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
    signal: client.signal,
  })
  while (service.deps.inFlight.count() < 5) await sleep(5)
  client.abort()
  await assert.rejects(first)
  await Promise.all(others)
  for (let answer = await service.register(secret, body, headers); ; ) {
    if (answer.status === 201) break
    assert.equal(answer.status, 409)
    await sleep(50)
    answer = await service.register(secret, body, headers)
  }
  assert.equal(service.gateway.account.keys.size, 5)
})

test('a client that hangs up before its body is complete is logged as client_closed', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const seen = service.logLines.length
  const { hostname, port } = new URL(service.url)
  const socket = connect(Number(port), hostname)
  socket.write(
    `POST /register HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${secret}\r\ncontent-type: application/json\r\n` +
      'content-length: 100\r\n\r\n{"name"',
  )
  await new Promise<void>((resolve) => service.app.server.once('request', () => resolve()))
  socket.destroy()
  const line = await completed(service, seen)
  assert.deepEqual([line.level, line['status'], line['code']], ['info', 499, 'client_closed'])
})

test('the line of a refused request has its code, its token and, for management, its registration', async (t) => {
  const service = await startService(t)
  const { secret, token } = await service.token({ namePrefix: 'acme-' })
  const refused = await lineOf(service, () => service.register(secret, { name: 'other' }))
  assert.deepEqual(
    [refused['status'], refused['code'], refused['token_id']],
    [403, 'name_not_allowed', token.id],
  )

  const other = await registered(service)
  const missing = await lineOf(service, () => manage(service, other, 'GET', '/usage?from=never'))
  assert.deepEqual(
    [missing.level, missing['status'], missing['code'], missing['registration_id']],
    ['info', 400, 'invalid_request', other.registration_id],
  )
  assert.match(String(missing['token_id']), /^tok_/)
  const unknown = await lineOf(service, () => service.register('fkb_unknown'))
  assert.deepEqual(
    [unknown['status'], unknown['code'], unknown['token_id']],
    [401, 'invalid_token', undefined],
  )
  const nowhere = await lineOf(service, () => fetch(`${service.url}/nowhere`))
  assert.deepEqual([nowhere['status'], nowhere['code']], [404, 'not_found'])
  const client = await lineOf(service, () => fetch(`${service.url}/connect/register`, { method: 'POST' }))
  assert.deepEqual([client['status'], client['code']], [401, 'missing_token'])
  const good = await lineOf(service, () => fetch(service.url))
  assert.deepEqual([good['status'], 'code' in good], [200, false])
})

async function lineOf(service: Service, send: () => Promise<unknown>): Promise<Line> {
  const seen = service.logLines.length
  await send()
  return completed(service, seen)
}

test('a registration that is not finished in time is logged as a failure of the service', long, async (t) => {
  const service = await startService(t, {
    env: { REGISTER_TIMEOUT_MS: '1000' },
    gateway: { latency: { CreateApiKey: 1_500 } },
  })
  const { secret } = await service.token()
  const seen = service.logLines.length
  assert.equal((await service.register(secret)).status, 503)
  assert.deepEqual((await completed(service, seen))['code'], 'upstream_unavailable')
  await service.deps.inFlight.settled()
  const failed = linesOf(service).find(({ msg }) => msg === 'registration failed')
  assert.deepEqual([failed?.level, failed?.['code']], ['warn', 'upstream_unavailable'])
})
