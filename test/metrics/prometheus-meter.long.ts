import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { createPrometheusMeter } from '../../src/metrics/prometheus-meter.ts'
import type { AuditEntry } from '../../src/store/audit.ts'
import { fastTiming } from '../support/invariants.ts'
import { readSamples, sum } from '../support/samples.ts'
import { manage, type Registered, startService } from '../support/service.ts'

const OPERATIONS = 1_000
const AT_ONCE = 20

/** Counts the entries of an action, each by a name; repeats of a refusal count as often as they came. */
function countEntries(entries: readonly AuditEntry[], action: string, nameOf: (entry: AuditEntry) => string) {
  const counts: Record<string, number> = {}
  for (const entry of entries.filter((one) => one.action === action)) {
    const [, code = entry.detail, more = 1] = entry.detail?.match(/^(\w+): (\d+) more in/) ?? []
    const name = nameOf({ ...entry, detail: code })
    counts[name] = (counts[name] ?? 0) + Number(more)
  }
  return counts
}

test('the counters agree with the audit trail after a thousand mixed operations', async (t) => {
  const meter = createPrometheusMeter({
    plans: ['free', 'gold'],
    version: '1.2.3',
    store: 'sqlite',
    keyQuota: 10_000,
  })
  const service = await startService(t, { meter, timing: fastTiming })
  const { gateway, deps } = service
  const { secret } = await service.token({ plans: ['free', 'gold'] })
  const used = await service.token({ maxUses: 1 })
  const named = await service.token({ namePrefix: 'acme-' })
  const slow = await service.token({ ratePerMinute: 5 })
  let sent = 0
  let unknown = 0
  const register = async (body: object, headers: Record<string, string> = {}, token = secret) => {
    sent += 1
    const answer = await service.register(token, { name: 'agent', ...body }, headers)
    return answer.status === 201 ? ((await answer.json()) as Registered) : void (await answer.text())
  }
  const keys: Registered[] = []
  const owned = () => keys.pop() ?? assert.fail('no key is left')
  const read = async (answer: Promise<Response>) => {
    sent += 1
    await (await answer).text()
  }

  /** One after the other in each group of so many. Every kind has its own part of them. */
  const kinds: (() => Promise<unknown>)[] = [
    ...Array.from({ length: 4 }, (_, i) => async () => {
      const one = await register({ plan: i % 2 === 0 ? 'free' : 'gold' })
      if (one !== undefined) keys.push(one)
    }),
    async () => {
      const headers = { 'idempotency-key': crypto.randomUUID() }
      for (let i = 0; i < 3; i++) await register({ plan: 'gold' }, headers)
    },
    async () => {
      if (keys.length > 0) await read(manage(service, owned(), 'POST', '/rotate', {}))
    },
    async () => {
      if (keys.length > 0) await read(manage(service, owned(), 'DELETE'))
    },
    () => register({}, {}, used.secret),
    () => register({ name: 'other' }, {}, named.secret),
    () => register({}, {}, slow.secret),
    () => register({ plan: 'silver' }),
    () => register({ name: 7 }),
    async () => {
      await register({}, {}, 'fkb_unknown')
      unknown += 1
    },
  ]
  /** The faults of one group in ten. */
  const faults = ['quota', 'fail'] as const
  for (let group = 0; group < OPERATIONS / AT_ONCE; group++) {
    const kind = group % 10 === 9 ? faults[Math.floor(group / 10) % 2] : undefined
    if (kind !== undefined)
      for (const operation of ['ImportApiKeys', 'CreateApiKey'] as const)
        gateway.faults.order({ operation, times: 1_000, when: 'before', kind })
    const at = group * AT_ONCE
    await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => kinds[(at + i) % kinds.length]?.()))
    if (kind === undefined) continue
    gateway.faults.clear()
    // The fault that stands is over when a probe succeeds.
    while ((await register({ plan: 'free' })) === undefined) await sleep(fastTiming.faultProbe)
  }
  await deps.refusals.flush()
  await deps.mintQueue.settled()

  // A request is counted when its response is sent, perhaps a moment after its client has read it.
  let samples = readSamples(await meter.render())
  while (sum(samples, 'firstkey_request_duration_seconds_count') !== sent) {
    await sleep(10)
    samples = readSamples(await meter.render())
  }
  const entries = await deps.store.listAudit({ limit: 100_000 })
  const total = (name: string, labels: Record<string, string> = {}) =>
    sum(samples, `firstkey_${name}`, labels) ?? 0

  const planOf = new Map(
    (await deps.store.listRegistrations({ limit: 100_000 })).map(({ id, plan }) => [id, plan]),
  )
  const created = countEntries(
    entries,
    'registration.created',
    ({ registrationId }) => planOf.get(registrationId ?? '') ?? '',
  )
  for (const plan of ['free', 'gold']) {
    assert.ok((created[plan] ?? 0) > 50, `${created[plan]} of ${plan}`)
    assert.equal(total('registrations_total', { plan, outcome: 'succeeded' }), created[plan])
  }
  const by = (action: string) => countEntries(entries, action, ({ detail }) => detail ?? '')
  const all = (action: string) => entries.filter((one) => one.action === action).length
  assert.ok(all('registration.rotated') > 10 && all('registration.revoked') > 10)
  assert.equal(total('rotations_total', { outcome: 'succeeded' }), all('registration.rotated'))
  assert.equal(total('revocations_total', { outcome: 'succeeded' }), all('registration.revoked'))
  assert.equal(total('registrations_total', { outcome: 'replayed' }), all('registration.replayed'))

  // A token that is not known has no entry.
  const refused = by('request.refused')
  assert.ok(Object.keys(refused).length >= 7, JSON.stringify(refused))
  for (const [code, count] of Object.entries(refused)) {
    const counted = ['registrations', 'rotations', 'revocations'].map((name) =>
      total(`${name}_total`, { code }),
    )
    assert.equal(
      counted.reduce((a, b) => a + b, 0),
      count,
      code,
    )
  }
  assert.ok(total('registrations_total', { outcome: 'failed' }) > 20)
  assert.equal(total('registrations_total', { code: 'invalid_token', outcome: 'refused', plan: '' }), unknown)

  const undone = by('registration.undone')
  assert.ok(Object.keys(undone).length > 0)
  for (const [reason, count] of Object.entries(undone))
    assert.equal(total('registrations_undone_total', { reason }), count, reason)

  // A response that came when the call was given up counts as none.
  const missed = Object.entries(gateway.answers).flatMap(([operation, byStatus]) =>
    Object.entries(byStatus).map(
      ([status, count]) => count - total('upstream_calls_total', { operation, status }),
    ),
  )
  assert.ok(missed.every((count) => count >= 0))
  const unanswered = total('upstream_calls_total', { status: 'none' })
  assert.ok(
    missed.reduce((a, b) => a + b, 0) <= unanswered,
    `${missed}, and ${unanswered} without a response`,
  )
  assert.doesNotMatch(await meter.render(), /reg_|tok_|rot_|fk[bm]_|demofree/)
})

test('the other ways to register and revoke are counted too, and a caller who leaves', async (t) => {
  const meter = createPrometheusMeter({
    plans: ['gold'],
    version: '1.2.3',
    store: 'sqlite',
    keyQuota: 10_000,
  })
  const service = await startService(t, {
    meter,
    timing: fastTiming,
    gateway: { latency: { CreateApiKey: 300 } },
  })
  const { url, gateway } = service
  const { secret } = await service.token()
  const headers = { authorization: `Bearer ${secret}`, 'content-type': 'application/json' }
  const until = async (name: string, labels: Record<string, string>) => {
    while (sum(readSamples(await meter.render()), `firstkey_${name}`, labels) !== 1) await sleep(10)
  }

  const client = { client_name: 'agent' }
  const registered = await fetch(`${url}/connect/register`, {
    method: 'POST',
    headers,
    body: JSON.stringify(client),
  })
  const { registration_client_uri, registration_access_token } = z
    .object({ registration_client_uri: z.url(), registration_access_token: z.string() })
    .parse(await registered.json())
  // Its plan is none of those that the meter knows.
  await until('registrations_total', { plan: '', outcome: 'succeeded', code: '' })
  const path = new URL(registration_client_uri).pathname
  const authorization = `Bearer ${registration_access_token}`
  assert.equal((await fetch(url + path, { method: 'DELETE', headers: { authorization } })).status, 204)
  await until('revocations_total', { outcome: 'succeeded', code: '' })

  assert.equal((await fetch(`${url}/connect/token`, { method: 'POST', headers, body: '{}' })).ok, false)
  await until('request_duration_seconds_count', { operation: 'exchange', outcome: 'refused' })

  const leaving = new AbortController()
  gateway.onCall = (operation, moment) => {
    if (operation === 'CreateApiKey' && moment === 'arrived') leaving.abort()
  }
  const body = JSON.stringify({ name: 'agent' })
  await assert.rejects(fetch(`${url}/register`, { method: 'POST', headers, body, signal: leaving.signal }))
  await until('registrations_total', { outcome: 'left', code: 'client_closed' })
  await until('registrations_undone_total', { reason: 'client_closed' })
})
