import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { deleteDueKeys } from '../../src/registration/jobs/delete-keys.ts'
import { createLeaderLease } from '../../src/registration/jobs/leader-lease.ts'
import { purgeAudit } from '../../src/registration/jobs/purge.ts'
import { type RecordedEntry, SERVICE } from '../../src/store/audit.ts'
import { fastTiming } from '../support/invariants.ts'
import { manage, registered, type Service, startService } from '../support/service.ts'

const DAY_MS = 86_400_000

/** Returns the entries of a registration or a token, oldest first: the kind of actor, the action and the detail. */
async function trail(
  { deps }: Service,
  filter: { registrationId?: string; tokenId?: string } = {},
): Promise<string[]> {
  const entries = await deps.store.listAudit({ limit: 1_000, ...filter })
  return entries
    .reverse()
    .map(({ actor, action, detail }) => [actor.kind, action, detail ?? ''].join(' ').trim())
}

const requestIdOf = (answer: Response) => answer.headers.get('x-request-id')

test('the audit trail records the life of a key: actor, action, request id and client address', async (t) => {
  let now = Date.now()
  const service = await startService(t, { clock: () => now, timing: fastTiming, env: { TRUST_PROXY: '1' } })
  const leaderLease = createLeaderLease(service.deps)
  const { secret, token } = await service.token({ keyTtlMs: 90 * DAY_MS })
  const key = { 'idempotency-key': randomUUID(), 'x-forwarded-for': '203.0.113.7' }
  const answer = await service.register(secret, undefined, key)
  const own = await registered(service, {}, key, secret)
  await manage(service, own, 'POST', '/rotate', { overlap_seconds: 60 })
  now += 61_000
  await deleteDueKeys(service.deps, leaderLease)
  now += 91 * DAY_MS
  await deleteDueKeys(service.deps, leaderLease)
  await manage(service, own, 'DELETE')

  const registrationId = own.registration_id
  assert.deepEqual(await trail(service, { registrationId }), [
    'token registration.created',
    'token registration.replayed',
    'registration registration.rotated',
    'service key.deleted rotated',
    'service registration.expired',
    'service key.deleted expired',
  ])
  const [first] = (await service.deps.store.listAudit({ registrationId, limit: 100 })).reverse()
  assert.deepEqual(first?.actor, {
    kind: 'token',
    id: token.id,
    requestId: requestIdOf(answer),
    clientAddress: '203.0.113.7',
    identity: null,
  })
  assert.equal(first?.apiKeyId, own.api_key_id)
  assert.equal(first?.tokenId, token.id)
  assert.equal((await trail(service, { tokenId: token.id })).length, 7, 'including the creation of the token')
})

test('a revocation and the deletion of the key are recorded once, however often the request is repeated', async (t) => {
  const service = await startService(t)
  const own = await registered(service)
  for (let i = 0; i < 3; i++) assert.equal((await manage(service, own, 'DELETE')).status, 204)
  assert.deepEqual((await trail(service, { registrationId: own.registration_id })).slice(1), [
    'registration registration.revoked',
    'service key.deleted revoked',
  ])
})

test('rejected requests with a known token are recorded before the response, others are not', async (t) => {
  const service = await startService(t)
  const { secret, token } = await service.token({ maxUses: 1, namePrefix: 'acme-', ratePerMinute: 5 })
  const own = await registered(service, {}, {}, secret)
  const seen: { code: string; id: string | null }[] = []
  for (const body of [
    { name: 'other' },
    { name: 7 },
    { name: 'acme-2' },
    { name: 'acme-3' },
    { name: 'x' },
  ]) {
    const refused = await service.register(secret, body)
    const { code } = (await refused.json()) as { code: string }
    seen.push({ code, id: requestIdOf(refused) })
  }
  assert.deepEqual(
    seen.map(({ code }) => code),
    ['name_not_allowed', 'invalid_request', 'token_exhausted', 'token_exhausted', 'rate_limited'],
  )
  const other = await manage(service, { ...own, registration_id: 'reg_other' }, 'GET')
  assert.equal(other.status, 404)
  for (const wrong of [`fkb_${'x'.repeat(38)}`, secret.replace('fkb_', 'fkm_')]) {
    assert.equal((await service.register(wrong)).status, 401)
  }

  const refusals = (await service.deps.store.listAudit({ tokenId: token.id, limit: 100 }))
    .reverse()
    .filter(({ action }) => action === 'request.refused')
  const firstOfCode = seen.filter(({ code }, i) => seen.findIndex((one) => one.code === code) === i)
  assert.deepEqual(
    refusals.map(({ detail, actor }) => ({ code: detail, id: actor.requestId })),
    [...firstOfCode, { code: 'not_found', id: requestIdOf(other) }],
  )
  assert.equal(refusals.at(-1)?.registrationId, own.registration_id)
})

test('an undone registration is recorded with the reason; of a flood of rejected requests the first is recorded, and the number of the others', async (t) => {
  const service = await startService(t)
  const { secret, token } = await service.token({ maxUses: 1 })
  service.gateway.faults.order({ operation: 'CreateUsagePlanKey', when: 'before', kind: 'denied' })
  assert.equal((await service.register(secret)).status, 502)
  assert.deepEqual((await trail(service, { tokenId: token.id })).slice(1), [
    'service registration.undone upstream_misconfigured',
    'token request.refused upstream_misconfigured',
  ])
  await registered(service, {}, {}, secret)
  await Promise.all(Array.from({ length: 200 }, () => service.register(secret)))
  await service.deps.refusals.flush()
  const [first, repeats] = (await trail(service, { tokenId: token.id })).slice(-2)
  assert.equal(first, 'token request.refused token_exhausted')
  assert.match(repeats ?? '', /^token request\.refused token_exhausted: 199 more in \d+ s$/)
})

/** Sends requests with a revoked token from these addresses. Returns the entries of their refusals, oldest first. */
async function refusedFrom(t: TestContext, addresses: readonly string[]): Promise<RecordedEntry[]> {
  const service = await startService(t, { env: { TRUST_PROXY: '1' } })
  const { secret, token } = await service.token()
  await service.deps.store.revokeToken(token.id, SERVICE, Date.now())
  for (const address of addresses)
    assert.equal((await service.register(secret, undefined, { 'x-forwarded-for': address })).status, 401)
  await service.deps.refusals.flush()
  const entries = await service.deps.store.listAudit({ tokenId: token.id, limit: 1_000 })
  return entries.reverse().filter(({ action }) => action === 'request.refused')
}

test('refusals of one IPv6 network are counted together', async (t) => {
  const addresses = Array.from({ length: 50 }, (_, i) => `2001:db8:0:1::${i}`)
  const entries = await refusedFrom(t, [...addresses, '2001:db8:0:2::1'])
  assert.deepEqual(
    entries.map(({ actor, detail }) => [actor.clientAddress, detail?.replace(/\d+ s$/, '… s')]),
    [
      ['2001:db8:0:1::', 'token_revoked'],
      ['2001:db8:0:2::1', 'token_revoked'],
      ['2001:db8:0:1::/64', 'token_revoked: 49 more in … s'],
    ],
  )
})

test('a revoked token that is sent from many networks makes few entries, and no refusal is missing', async (t) => {
  const entries = await refusedFrom(
    t,
    Array.from({ length: 400 }, (_, i) => `203.0.${i % 200}.1`),
  )
  const counted = entries.map(({ detail }) => Number(detail?.match(/: (\d+) more/)?.[1] ?? 1))
  assert.equal(
    counted.reduce((sum, count) => sum + count, 0),
    400,
  )
  assert.ok(entries.length <= 42, `${entries.length} entries`)
  assert.equal(entries.at(-1)?.actor.clientAddress, null)
})

test('old entries are purged, except those of a key that still exists', async (t) => {
  let now = Date.now()
  const service = await startService(t, { clock: () => now, env: { AUDIT_RETENTION_DAYS: '30' } })
  const [kept, revoked] = [await registered(service), await registered(service)]
  await manage(service, kept, 'POST', '/rotate')
  await manage(service, revoked, 'DELETE')
  now += 29 * DAY_MS
  await purgeAudit(service.deps)
  assert.equal((await trail(service)).length, 7)
  const recent = await registered(service)
  now += 2 * DAY_MS
  await purgeAudit(service.deps)
  const of = (entries: readonly RecordedEntry[]) =>
    new Set(entries.map(({ registrationId }) => registrationId))
  const left = await service.deps.store.listAudit({ limit: 100 })
  assert.deepEqual(of(left), new Set([kept.registration_id, null, recent.registration_id]))
  assert.equal(left.length, 4, 'the creation and the rotation of the kept one; the recent one and its token')
})

test('no secret is in the audit trail', async (t) => {
  const service = await startService(t)
  const { secret } = await service.token()
  const own = await registered(service, {}, { 'idempotency-key': 'a-key-that-only-i-know' }, secret)
  await manage(service, own, 'POST', '/rotate', { overlap_seconds: -1 })
  await manage(service, own, 'DELETE')
  const text = JSON.stringify(await service.deps.store.listAudit({ limit: 100 }))
  for (const hidden of [secret, own.api_key_value, own.management.token, 'a-key-that-only-i-know']) {
    assert.ok(!text.includes(hidden))
  }
})
