import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../../../src/clock.ts'
import { deleteDueKeys } from '../../../src/registration/jobs/delete-keys.ts'
import { createLeaderLease } from '../../../src/registration/jobs/leader-lease.ts'
import { recover } from '../../../src/registration/jobs/recover.ts'
import { suspend } from '../../../src/registration/suspend.ts'
import { registrationSchema } from '../../../src/routes/registration-schema.ts'
import { SERVICE } from '../../../src/store/audit.ts'
import { fastTiming } from '../invariants.ts'
import { readProblem } from '../problem.ts'
import { dataPlane, manage, registeredSchema } from '../service.ts'
import { type Federated, type FederatedOptions, startFederated } from './federated.ts'

const HOUR_MS = 3_600_000

const codeOf = async (answer: Promise<Response> | Response) => (await readProblem(await answer)).code

/** The exact-once and natural-key behaviour of callers with identity tokens, on one store. */
export function federatedCases(
  store: string,
  storeEnv: (t: TestContext, clock?: Clock) => Promise<Record<string, string>>,
): void {
  const start = async (t: TestContext, options: FederatedOptions = {}): Promise<Federated> =>
    startFederated(t, {
      timing: fastTiming,
      ...options,
      env: options.beside ? {} : await storeEnv(t, options.clock),
    })

  test(`${store}: an identity token registers; its retries, with the same token or a fresh one, get the same answer`, async (t) => {
    const one = await start(t)
    const [jwt, key] = [one.jwt(), randomUUID()]
    const first = await one.joined({ jwt, key })
    assert.equal(await dataPlane(one, first.api_key_value), 200)
    for (const again of [jwt, one.jwt()]) {
      const answer = await one.join({ jwt: again, key })
      assert.equal(answer.status, 201)
      assert.equal(answer.headers.get('idempotency-replayed'), 'true')
      assert.deepEqual(await answer.json(), first)
    }
    const other = await start(t, { beside: one })
    assert.deepEqual(await other.joined({ jwt: one.jwt(), key }), first)
    assert.equal(one.gateway.account.keys.size, 1)
    assert.equal((await one.virtualToken()).uses, 1)
    assert.equal(await codeOf(one.join({ jwt: one.jwt(), key, name: 'other' })), 'idempotency_mismatch')
    // Another caller of the same rule with the same Idempotency-Key is another request.
    const stranger = await one.joined({ jwt: one.jwt({ sub: 'agent-2' }), key })
    assert.notEqual(stranger.registration_id, first.registration_id)
  })

  test(`${store}: an identity token is used once, also while its first use is pending; a failure gives it back`, async (t) => {
    const one = await start(t)
    const [jwt, key] = [one.jwt(), randomUUID()]
    one.gateway.faults.order({ operation: 'CreateApiKey', when: 'before', kind: 'fail', times: 3 })
    assert.equal(await codeOf(one.join({ jwt, key })), 'upstream_unavailable')
    assert.equal((await one.virtualToken()).uses, 0)

    let during: Promise<string[]> | undefined
    one.gateway.onCall = (operation, moment) => {
      if (operation !== 'CreateApiKey' || moment !== 'effective' || during) return
      during = Promise.all([one.join({ jwt }), one.join({ jwt, name: 'other' })].map(codeOf))
    }
    const first = await one.joined({ jwt, key: randomUUID() })
    assert.deepEqual(await during, ['token_replayed', 'token_replayed'])
    one.gateway.onCall = () => undefined
    for (const name of ['acme-agent', 'other'])
      assert.equal(await codeOf(one.join({ jwt, name })), 'token_replayed')
    assert.equal(await dataPlane(one, first.api_key_value), 200)
    assert.equal(one.gateway.account.keys.size, 1)
  })

  test(`${store}: of a token that two processes use at once, with two Idempotency-Keys, one registers`, async (t) => {
    const one = await start(t)
    const other = await start(t, { beside: one })
    for (let round = 0; round < 3; round++) {
      const jwt = one.jwt()
      const answers = await Promise.all(
        [one, other, one, other].map((at, i) => at.join({ jwt, name: `agent-${round}-${i}` })),
      )
      const codes = await Promise.all(
        answers.map((answer) => (answer.status === 201 ? 'done' : codeOf(answer))),
      )
      assert.deepEqual(codes.sort(), ['done', 'token_replayed', 'token_replayed', 'token_replayed'])
    }
    assert.equal(one.gateway.account.keys.size, 3)
  })

  test(`${store}: a name that is registered again keeps its registration and gets a new key; the old one overlaps`, async (t) => {
    let now = Date.now()
    const one = await start(t, { clock: () => now, grant: { overlap: '1h', max_live: 1 } })
    const first = await one.joined()
    now += HOUR_MS
    const key = randomUUID()
    const second = await one.joined({ key, body: { name: 'acme-agent', description: 'again' } })
    assert.equal(second.registration_id, first.registration_id)
    assert.equal(second.management.url, first.management.url)
    assert.notEqual(second.management.token, first.management.token)
    assert.notEqual(second.api_key_value, first.api_key_value)
    assert.equal(second['description'], 'again')
    assert.equal(second.expires_at, new Date(now + 24 * HOUR_MS).toISOString())
    assert.deepEqual(await one.joined({ key, body: { name: 'acme-agent', description: 'again' } }), second)
    assert.equal((await manage(one, first, 'GET')).status, 401)
    const view = registrationSchema.parse(await (await manage(one, second, 'GET')).json())
    assert.deepEqual([view.api_key_id, view.description, view.status], [second.api_key_id, 'again', 'active'])
    assert.deepEqual(
      [await dataPlane(one, first.api_key_value), await dataPlane(one, second.api_key_value)],
      [200, 200],
    )
    now += HOUR_MS + 1
    await deleteDueKeys(one.deps, createLeaderLease(one.deps))
    assert.equal(await dataPlane(one, first.api_key_value), 403)
    assert.equal((await one.virtualToken()).uses, 1)
    const third = await one.joined()
    assert.equal(third.registration_id, first.registration_id)
    // The key of an earlier request is never handed out again.
    assert.equal(
      await codeOf(one.join({ key, body: { name: 'acme-agent', description: 'again' } })),
      'key_replaced',
    )
  })

  test(`${store}: of two processes that register a name at once, one begins, and the other rotates or comes back`, async (t) => {
    const one = await start(t, { grant: { overlap: '1h' } })
    const other = await start(t, { beside: one })
    for (let round = 0; round < 4; round++) {
      const name = `agent-${round}`
      const ids = new Set<string>()
      const register = async (at: Federated) =>
        void ids.add(
          (
            await untilJoined(
              () => at.join({ name }),
              () => at.deps.deliveries.flush(),
            )
          ).registration_id,
        )
      await Promise.all([register(one), register(other), register(one)])
      assert.equal(ids.size, 1)
    }
    assert.equal((await one.virtualToken()).uses, 4)
  })

  test(`${store}: the name is free again once its registration ended, whatever ended it`, async (t) => {
    let now = Date.now()
    const one = await start(t, { clock: () => now, grant: { key_ttl: '1h' } })
    const ids = new Set<string>()
    const joins = async () => {
      const own = await one.joined()
      assert.equal(await dataPlane(one, own.api_key_value), 200)
      assert.ok(!ids.has(own.registration_id), 'a registration of its own')
      ids.add(own.registration_id)
      assert.equal((await one.virtualToken()).uses, 1)
      return own
    }
    const first = await joins()
    assert.equal((await manage(one, first, 'DELETE')).status, 204)
    await joins()
    now += HOUR_MS // Expired, and no job has ended it yet.
    const third = await joins()
    one.gateway.account.keys.delete(third.api_key_id) // An operator deleted it in AWS.
    const fourth = await joins()
    await one.joined() // Rotated: the present key is that of a rotation.
    now += HOUR_MS
    await deleteDueKeys(one.deps, createLeaderLease(one.deps))
    assert.equal((await one.virtualToken()).uses, 0)
    const fifth = await joins()
    assert.notEqual(fifth.registration_id, fourth.registration_id)
  })

  test(`${store}: an operator's suspension stands, and a disabled key too`, async (t) => {
    const one = await start(t)
    const own = await one.joined()
    await suspend(one.deps, own.registration_id, SERVICE)
    assert.equal(await codeOf(one.join()), 'registration_suspended')
    const other = await one.joined({ name: 'other' })
    const key = one.gateway.account.keys.get(other.api_key_id)
    assert.ok(key)
    key.enabled = false
    assert.equal(await codeOf(one.join({ name: 'other' })), 'registration_suspended')
  })

  test(`${store}: an agent that died before its answer is not locked out of its name`, async (t) => {
    const one = await start(t)
    // It dies as it registers, or as it registers again, which rotates.
    for (const [name, onRepeat] of [
      ['agent-1', 'rotate'],
      ['agent-1', 'rotate'],
      ['agent-2', 'refuse'],
    ] as const) {
      one.grant({ on_repeat: onRepeat, max_live: 2 })
      // The caller disconnects while its key is minted: nobody received it.
      const left = new AbortController()
      one.gateway.onCall = (operation, moment) => {
        if (operation === 'CreateUsagePlanKey' && moment === 'arrived') left.abort()
      }
      const headers = { authorization: `Bearer ${one.jwt()}`, 'content-type': 'application/json' }
      const request = { method: 'POST', body: JSON.stringify({ name }), signal: left.signal }
      const lost = fetch(`${one.url}/register`, {
        ...request,
        headers: { ...headers, 'idempotency-key': randomUUID() },
      })
      await assert.rejects(lost)
      one.gateway.onCall = () => undefined
      const received = await untilJoined(
        () => one.join({ name }),
        async () => {
          await recover(one.deps)
          await deleteDueKeys(one.deps, createLeaderLease(one.deps))
        },
      )
      const live = await one.deps.store.findLiveByName((await one.virtualToken()).id, name)
      assert.equal(live?.id, received.registration_id)
    }
    assert.equal((await one.virtualToken()).uses, 2)
  })

  test(`${store}: refuse names the registration that there is; add makes another`, async (t) => {
    const one = await start(t, { grant: { on_repeat: 'refuse' } })
    const own = await one.joined()
    const problem = await readProblem(await one.join())
    assert.equal(problem.code, 'already_registered')
    assert.ok(problem.detail.includes(own.management.url), problem.detail)
    one.gateway.account.keys.delete(own.api_key_id)
    const second = await one.joined()
    assert.notEqual(second.registration_id, own.registration_id)
    one.grant({ on_repeat: 'add' })
    const [third, fourth] = [await one.joined(), await one.joined()]
    assert.equal(new Set([second, third, fourth].map((each) => each.registration_id)).size, 3)
    assert.equal((await one.virtualToken()).uses, 3)
  })

  test(`${store}: max_live is never exceeded, and each place comes back`, async (t) => {
    let now = Date.now()
    const one = await start(t, { clock: () => now, grant: { max_live: 2, on_repeat: 'add', key_ttl: '1h' } })
    const other = await start(t, { beside: one, clock: () => now })
    const alive = async () => (await one.virtualToken()).uses
    const race = async () => {
      const answers = await Promise.all(
        [one, other, one, other, one].map((at, i) => at.join({ name: `agent-${i}` })),
      )
      assert.ok((await alive()) <= 2, `${await alive()} alive`)
      for (const answer of answers.filter(({ status }) => status !== 201))
        assert.ok(['identity_limit_reached', 'token_uses_pending'].includes(await codeOf(answer)))
      return Promise.all(
        answers
          .filter(({ status }) => status === 201)
          .map(async (answer) => registeredSchema.parse(await answer.json())),
      )
    }
    const untilFull = async () => {
      // The finding from before the keys were received is used for a second.
      for (let code = ''; code !== 'identity_limit_reached'; await sleep(100)) {
        code = await codeOf(one.join())
        assert.ok(['identity_limit_reached', 'token_uses_pending'].includes(code))
      }
    }
    const [first, second] = await race()
    assert.ok(first && second && one.gateway.account.keys.size === 2)
    await one.deps.deliveries.flush()
    await other.deps.deliveries.flush()
    await untilFull()
    assert.equal((await manage(one, first, 'DELETE')).status, 204)
    assert.equal(await alive(), 1)
    assert.equal((await race()).length, 1)
    await one.deps.deliveries.flush()
    await other.deps.deliveries.flush()
    await untilFull()
    now += HOUR_MS // All expire, and no job has ended them yet.
    await one.joined({ name: 'later' })
    assert.ok((await alive()) <= 2)
    one.gateway.faults.order({ operation: 'CreateApiKey', when: 'before', kind: 'fail', times: 3 })
    assert.equal(await codeOf(one.join({ name: 'fails' })), 'upstream_unavailable')
    await one.joined({ name: 'last' })
    assert.equal(await alive(), 2)
  })
}

/** Repeats a request as a caller does: while the answer is a 409 that says when to come back. */
async function untilJoined(join: () => Promise<Response>, meanwhile: () => Promise<unknown>) {
  for (let tries = 0; tries < 200; tries++) {
    const answer = await join()
    if (answer.status === 201) return registeredSchema.parse(await answer.json())
    const problem = await readProblem(answer)
    assert.ok(problem.retryable && problem.status === 409, JSON.stringify(problem))
    await meanwhile()
    await sleep(50)
  }
  assert.fail(`it never came to an end: ${JSON.stringify(await readProblem(await join()))}`)
}
