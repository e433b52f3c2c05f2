import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { clientInformation } from '../../../src/routes/connect-schema.ts'
import { credentialSchema } from '../../../src/routes/register-schema.ts'
import { registrationSchema, rotatedSchema } from '../../../src/routes/registration-schema.ts'
import { startApi } from '../../support/api-of-one-method.ts'
import { assertInvariants } from '../../support/invariants.ts'
import { dataPlane, manage, registered, type ServiceOptions, startService } from '../../support/service.ts'

const env = { API_PROBE_PATH: '/probe' }

/** Starts a service whose keys reach the data plane `propagationMs` milliseconds after they are created. */
const slowApi = (t: TestContext, propagationMs: number, options: ServiceOptions = {}) =>
  startService(t, { env, gateway: { propagationMs }, ...options })

const readCredential = async (answer: Response) => {
  assert.equal(answer.status, 201)
  return credentialSchema.parse(await answer.json())
}

describe('Prefer: wait, and ready', { concurrency: 4 }, () => {
  test('Prefer: wait delays the response until the API accepts the key, and the key then works', async (t) => {
    const service = await slowApi(t, 700)
    const { secret } = await service.token()
    const startedAt = performance.now()
    const answer = await service.register(secret, undefined, { prefer: 'wait=10' })
    const ms = performance.now() - startedAt
    assert.ok(ms > 700 && ms < 6_000, `${ms} ms`)
    assert.equal(answer.headers.get('preference-applied'), 'wait')
    assert.match(answer.headers.get('vary') ?? '', /prefer/i)
    const credential = await readCredential(answer)
    assert.equal(credential.ready, true)
    assert.equal(await dataPlane(service, credential.api_key_value), 200)
  })

  test('a wait beyond the deadline of the service is shortened, and is not an error', async (t) => {
    const service = await slowApi(t, 60_000, { env: { ...env, REGISTER_TIMEOUT_MS: '2000' } })
    const { secret } = await service.token()
    const answer = await service.register(secret, undefined, { prefer: 'wait=600' })
    assert.equal((await readCredential(answer)).ready, false)
  })

  test('without Prefer, or without API_PROBE_PATH, the response is not delayed and has no ready field', async (t) => {
    const service = await slowApi(t, 60_000)
    const { secret } = await service.token()
    const plain = await service.register(secret)
    assert.equal(plain.headers.get('preference-applied'), null)
    assert.ok(!('ready' in (await readCredential(plain))))

    const blind = await startService(t, { gateway: { propagationMs: 60_000 } })
    const own = await blind.register((await blind.token()).secret, undefined, { prefer: 'wait=10' })
    assert.equal(own.headers.get('preference-applied'), null)
    assert.ok(!('ready' in (await readCredential(own))))
  })

  test('requests that wait do not delay others, even in the same batch', async (t) => {
    const service = await slowApi(t, 8_000, { env: { ...env, MINT_MODE: 'bulk' } })
    const { secret } = await service.token()
    const startedAt = performance.now()
    const took = async (headers?: Record<string, string>) => {
      const { ready } = await readCredential(await service.register(secret, undefined, headers))
      return { ready, ms: performance.now() - startedAt }
    }
    const waiting = Array.from({ length: 20 }, () => took({ prefer: 'wait=20' }))
    const hurried = Array.from({ length: 20 }, () => took())
    for (const { ready, ms } of await Promise.all(hurried)) assert.ok(ready === undefined && ms < 8_000)
    for (const { ready, ms } of await Promise.all(waiting)) assert.ok(ready === true && ms > 8_000)
  })

  test('shell lines, OAuth clients and rotations report ready, too', async (t) => {
    const service = await slowApi(t, 300)
    const { secret } = await service.token()
    const prefer = { prefer: 'wait=10' }
    const lines = await service.register(secret, undefined, { ...prefer, accept: 'text/plain' })
    assert.match(await lines.text(), /^FIRSTKEY_READY=true$/m)

    const client = await fetch(`${service.url}/connect/register`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json', ...prefer },
      body: '{"client_name":"acme-agent"}',
    })
    assert.equal(clientInformation.parse(await client.json()).ready, true)

    const own = await registered(service)
    const rotation = await manage(service, own, 'POST', '/rotate', {}, prefer)
    assert.equal(rotation.headers.get('preference-applied'), 'wait')
    assert.equal(rotatedSchema.parse(await rotation.json()).ready, true)
  })

  test('a retry waits again and gets the same credential', async (t) => {
    const service = await slowApi(t, 1_500)
    const { secret } = await service.token()
    const key = { 'idempotency-key': randomUUID() }
    const first = await readCredential(
      await service.register(secret, undefined, { ...key, prefer: 'wait=1' }),
    )
    const answer = await service.register(secret, undefined, { ...key, prefer: 'wait=10' })
    assert.equal(answer.headers.get('idempotency-replayed'), 'true')
    const again = await readCredential(answer)
    assert.deepEqual([first.ready, again.ready], [false, true])
    assert.equal(again.api_key_value, first.api_key_value)
  })

  test('GET reports whether the API accepts the key, also if another process minted it', async (t) => {
    const service = await slowApi(t, 1_000)
    const other = await startService(t, { env, beside: service })
    const own = await registered(service)
    const readyAt = async (at: typeof service) =>
      registrationSchema.parse(await (await manage(at, own, 'GET')).json()).ready
    assert.deepEqual([await readyAt(service), await readyAt(other)], [false, false])
    await sleep(1_300)
    assert.deepEqual([await readyAt(service), await readyAt(other)], [true, true])

    await manage(service, own, 'DELETE')
    assert.equal(await readyAt(service), false)
  })

  test('if a caller disconnects while it waits, the key is deleted, or kept for a retry with its Idempotency-Key', async (t) => {
    const service = await slowApi(t, 1_500)
    const { secret, token } = await service.token({ maxUses: 2 })
    const hangUp = (headers: Record<string, string>) =>
      fetch(`${service.url}/register`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${secret}`,
          'content-type': 'application/json',
          prefer: 'wait=10',
          ...headers,
        },
        body: '{"name":"acme-agent"}',
        signal: AbortSignal.timeout(500),
      })
    await assert.rejects(hangUp({}))
    while (service.gateway.account.keys.size > 0) await sleep(50)

    const key = { 'idempotency-key': randomUUID() }
    await assert.rejects(hangUp(key))
    const retried = await readCredential(
      await service.register(secret, undefined, { ...key, prefer: 'wait=10' }),
    )
    assert.equal(retried.ready, true)
    assert.equal((await service.deps.store.getToken(token.id))?.uses, 1)
    await assertInvariants(service.gateway, service.deps.store, [retried])
  })

  test('the rate of probes is limited, however many requests wait, and no key is logged', async (t) => {
    const agents = 400
    const asked = new Set<string>()
    const api = await startApi(t, (key) => {
      if (key === undefined) return 403
      return asked.add(key).size < agents ? 403 : 200
    })
    const service = await startService(t, { env: { ...env, API_BASE_URL: api.url } })
    const { secret } = await service.token()
    const answers = Array.from({ length: agents }, () =>
      service.register(secret, undefined, { prefer: 'wait=20' }).then(readCredential),
    )
    const credentials = await Promise.all(answers)
    assert.ok(
      credentials.every(({ ready }) => ready),
      'every key was probed before one was accepted, and again after it',
    )
    for (const { at } of api.probes) {
      const inOneSecond = api.probes.filter((one) => one.at >= at && one.at < at + 1_000).length
      // Some probes arrive late.
      assert.ok(inOneSecond <= 230, `${inOneSecond} probes in a second`)
    }
    const log = service.logLines.join('')
    for (const { api_key_value } of credentials) assert.ok(!log.includes(api_key_value))
  })

  test('a probe path that proves nothing is logged at start', async (t) => {
    const says = async (status: number, headers: Record<string, string> = {}) => {
      const api = await startApi(t, () => status, headers)
      const service = await startService(t, { env: { ...env, API_BASE_URL: api.url } })
      await service.deps.keyProbe?.checkPath()
      assert.deepEqual(
        api.probes.map(({ key }) => key),
        [undefined],
      )
      return service.logLines.filter((line) => line.includes('API_PROBE_PATH')).join('')
    }
    assert.equal(await says(403), '')
    assert.match(await says(200), /accepts requests without a key/)
    assert.match(await says(500), /neither accepted nor rejected a request without a key/)
    assert.match(
      await says(301, { location: 'http://127.0.0.1:1/' }),
      /neither accepted nor rejected a request without a key/,
    )
    const unknown = { 'x-amzn-errortype': 'MissingAuthenticationTokenException' }
    assert.match(await says(403, unknown), /is not a method of the API/)
  })

  test('if the API accepts requests without a key, at start or later, ready is not reported', async (t) => {
    const api = await startApi(t, () => 200)
    const service = await startService(t, { env: { ...env, API_BASE_URL: api.url } })
    const { secret } = await service.token()
    for (const checks of [false, true]) {
      if (checks) await service.deps.keyProbe?.checkPath()
      const answer = await service.register(secret, undefined, { prefer: 'wait=10' })
      assert.equal(answer.headers.get('preference-applied'), null)
      assert.ok(!('ready' in (await readCredential(answer))))
      const view = await manage(service, await registered(service), 'GET')
      assert.equal(registrationSchema.parse(await view.json()).ready, null)
    }
  })

  test('a probe path that has rejected every key is logged once', async (t) => {
    const api = await startApi(t, () => 403)
    const service = await startService(t, { env: { ...env, API_BASE_URL: api.url } })
    const { secret } = await service.token()
    for (let i = 0; i < 2; i++)
      await readCredential(await service.register(secret, undefined, { prefer: 'wait=1' }))
    const said = service.logLines.filter((line) =>
      line.includes('API_PROBE_PATH has rejected every key so far'),
    )
    assert.equal(said.length, 1)
  })

  test('a flood of registrations with one token does not keep the keys of another token from being probed', async (t) => {
    const flooded = new Set<string>()
    const api = await startApi(t, (key) => (key === undefined || flooded.has(key) ? 403 : 200))
    const service = await startService(t, { env: { ...env, API_BASE_URL: api.url, MINT_MODE: 'bulk' } })
    const [flood, other] = [await service.token(), await service.token()]
    service.gateway.onCall = (operation, moment) => {
      if (operation !== 'ImportApiKeys' || moment !== 'effective') return
      for (const { value } of service.gateway.account.keys.values()) flooded.add(value)
    }
    const answers = Array.from({ length: 600 }, () =>
      service.register(flood.secret, undefined, { prefer: 'wait=7' }),
    )
    while (api.probes.length === 0) await sleep(20)
    service.gateway.onCall = () => undefined
    const startedAt = performance.now()
    const { ready } = await readCredential(
      await service.register(other.secret, undefined, { prefer: 'wait=5' }),
    )
    const ms = performance.now() - startedAt
    assert.ok(ready === true, `${ready} after ${ms} ms`)
    assert.ok((await Promise.all(answers)).every(({ status }) => status === 201))
  })

  test('at shutdown probing stops, and all waiting registrations are recorded together', async (t) => {
    const api = await startApi(t, () => 403)
    const service = await startService(t, { env: { ...env, API_BASE_URL: api.url, MINT_MODE: 'bulk' } })
    const { store } = service.deps
    let commits = 0
    const complete = store.completeRegistrations
    store.completeRegistrations = (completions, now) => {
      commits += 1
      return complete.call(store, completions, now)
    }
    const { secret } = await service.token()
    const answers = Array.from({ length: 300 }, () =>
      service.register(secret, undefined, { prefer: 'wait=20' }).then(readCredential),
    )
    while (api.probes.length < 50 || service.gateway.account.keys.size < 300) await sleep(20)
    await sleep(1_000)
    const probed = api.probes.length
    commits = 0
    service.deps.keyProbe?.stopWaiting()
    assert.ok((await Promise.all(answers)).every(({ ready }) => ready === false))
    assert.ok(api.probes.length < probed + 5, `${api.probes.length - probed} more probes`)
    assert.ok(commits < 5, `${commits} commits`)
  })

  test('a retry that does not wait also ends the wait of the first request', async (t) => {
    const service = await slowApi(t, 60_000)
    const { secret } = await service.token()
    const key = { 'idempotency-key': randomUUID() }
    const patient = service.register(secret, undefined, { ...key, prefer: 'wait=20' })
    while (service.gateway.account.keys.size === 0) await sleep(20)
    await sleep(300)
    const startedAt = performance.now()
    const [first, second] = await Promise.all([patient, service.register(secret, undefined, key)])
    assert.ok(performance.now() - startedAt < 3_000)
    const [made, again] = [await readCredential(first), await readCredential(second)]
    assert.deepEqual([made.ready, again.ready, again.api_key_value], [false, undefined, made.api_key_value])
  })

  test('a replay probes again: a key that worked before may be rejected now', async (t) => {
    let status = 200
    const api = await startApi(t, (key) => (key === undefined ? 403 : status))
    const service = await startService(t, { env: { ...env, API_BASE_URL: api.url } })
    const { secret } = await service.token()
    const headers = { 'idempotency-key': randomUUID(), prefer: 'wait=1' }
    const first = await readCredential(await service.register(secret, undefined, headers))
    status = 403
    await sleep(300)
    const again = await readCredential(await service.register(secret, undefined, headers))
    assert.deepEqual([first.ready, again.ready], [true, false])
  })

  test('GET returns ready as null if the API gives no verdict, and as false if AWS has no such key', async (t) => {
    let status = 500
    const api = await startApi(t, (key) => (key === undefined ? 403 : status))
    const service = await startService(t, { env: { ...env, API_BASE_URL: api.url } })
    const [own, lost] = [await registered(service), await registered(service)]
    const ready = async (one: typeof own) =>
      registrationSchema.parse(await (await manage(service, one, 'GET')).json()).ready
    assert.equal(await ready(own), null)
    status = 200
    service.gateway.account.deleteKey(lost.api_key_id)
    assert.equal(await ready(lost), false)
    await sleep(300)
    assert.equal(await ready(own), true)
  })
})

// Apart from the others: their time limits are too tight for services that start beside them.

test('when the wait is over, the response says that the key is not ready yet', async (t) => {
  const service = await slowApi(t, 60_000)
  const { secret } = await service.token()
  const startedAt = performance.now()
  const answer = await service.register(secret, undefined, { prefer: 'wait=1' })
  const ms = performance.now() - startedAt
  assert.ok(ms > 900 && ms < 3_000, `${ms} ms`)
  assert.equal((await readCredential(answer)).ready, false)
})

test('an API that hangs does not delay the response beyond the wait', async (t) => {
  const hanging = createServer(() => undefined).listen(0, '127.0.0.1')
  await once(hanging, 'listening')
  t.after(() => {
    hanging.closeAllConnections()
    hanging.close()
  })
  const address = hanging.address()
  assert.ok(typeof address === 'object' && address !== null)
  const service = await startService(t, {
    env: { ...env, API_BASE_URL: `http://127.0.0.1:${address.port}` },
  })
  const { secret } = await service.token()
  const startedAt = performance.now()
  const answer = await service.register(secret, undefined, { prefer: 'wait=1' })
  const ms = performance.now() - startedAt
  assert.ok(ms < 3_000, `${ms} ms`)
  assert.equal((await readCredential(answer)).ready, false)
})
