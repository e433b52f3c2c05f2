import assert from 'node:assert/strict'
import { request as httpRequest } from 'node:http'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { manage, registered, type Service, startService } from '../support/service.ts'

type Headers = Record<string, string | string[]>

/** The peer of every connection in these tests. */
const PEER = '127.0.0.1'
const REST = { TRUST_PROXY: '1', TRUST_PROXY_HEADER: 'X-Forwarded-For' }
const HTTP = { TRUST_PROXY: '1', TRUST_PROXY_HEADER: 'Forwarded' }

/** Sends a request with these headers, repeated ones in lines of their own, and returns the address in its log line. */
async function addressOf(service: Service, headers: Headers): Promise<unknown> {
  const id = await new Promise((resolve, reject) => {
    httpRequest(`${service.url}/nowhere`, { headers })
      .on('response', (answer) => answer.resume().on('end', () => resolve(answer.headers['x-request-id'])))
      .on('error', reject)
      .end()
  })
  for (;;) {
    const line = service.logLines.find((one) => one.includes(`"${id}"`) && one.includes('request completed'))
    if (line !== undefined) return JSON.parse(line).ip
    await sleep(5)
  }
}

async function assertAddresses(service: Service, cases: readonly (readonly [Headers, string])[]) {
  for (const [headers, address] of cases)
    assert.equal(await addressOf(service, headers), address, JSON.stringify(headers).slice(0, 200))
}

const forwardedFor = (value: string | string[]): Headers => ({ 'x-forwarded-for': value })
const forwarded = (value: string | string[]): Headers => ({ forwarded: value })

/** What a proxy writes for a client, in either header, and the address that it means. */
const reports: [report: string, address: string][] = [
  ['203.0.113.7', '203.0.113.7'],
  ['203.0.113.7:40001', '203.0.113.7'],
  ['203.0.113.7:_port-1', '203.0.113.7'],
  ['::ffff:203.0.113.7', '203.0.113.7'],
  ['::FFFF:cb00:7107', '203.0.113.7'],
  ['[::ffff:203.0.113.7]:40001', '203.0.113.7'],
  ['2001:DB8::0:1', '2001:db8::1'],
  ['[2001:db8::1]', '2001:db8::1'],
  ['[2001:db8::1]:40001', '2001:db8::1'],
  ['2001:db8:0:0:0:0:0:1:40001', '2001:db8::1'],
  ['fe80::1%eth0', 'fe80::1'],
  ['[fe80::1%25eth0]:80', 'fe80::1'],
  // No addresses: they count as the address of the proxy that wrote them.
  ...[
    'unknown',
    '_hidden',
    '<script>',
    '203.0.113',
    '010.0.0.1',
    '203.0.113.7:123456',
    '1.2.3.4.5',
    '[203.0.113.7',
  ].map((text): [string, string] => [text, PEER]),
  ...[
    '[]',
    ':80',
    '\u009b31m',
    'x'.repeat(6_000),
    `fe80::1%${'x'.repeat(200)}`,
    '203.0.113.7 198.51.100.1',
  ].map((text): [string, string] => [text, PEER]),
]

test('an address is found in every form in which a proxy writes it; other text counts as the proxy', async (t) => {
  const service = await startService(t, { env: { TRUST_PROXY: '1' } })
  for (const [report, address] of reports)
    await assertAddresses(service, [
      [forwardedFor(report), address],
      [forwardedFor(`198.51.100.1, ${report}`), address],
      [forwarded(`for="${report}"`), address],
      [forwarded(`for=198.51.100.1, by=10.0.0.1;FOR="${report}";host=x;proto=https`), address],
    ])
})

test('Forwarded is read as RFC 7239 says; what is malformed counts as the proxy', async (t) => {
  const service = await startService(t, { env: { TRUST_PROXY: '1' } })
  await assertAddresses(service, [
    [forwarded('for=203.0.113.7'), '203.0.113.7'],
    [forwarded('For=203.0.113.7; Proto=http ;by=203.0.113.43'), '203.0.113.7'],
    [forwarded('for=203.0.113.7:40001'), '203.0.113.7'],
    [forwarded('for=[2001:db8::1]:40001;proto=https'), '2001:db8::1'],
    [forwarded('for="203.0.113.\\7";host="a,b;c"'), '203.0.113.7'],
    [forwarded('host="a, for=198.51.100.1";for=203.0.113.7,'), '203.0.113.7'],
    [forwarded(['for=198.51.100.1', 'for=203.0.113.7']), '203.0.113.7'],
    [forwarded('for=198.51.100.1;x=", for=203.0.113.7;proto=https'), '203.0.113.7'],
    [forwarded('for=198.51.100.1;x=", for="[2001:db8::1]";proto=https'), '2001:db8::1'],
    [forwarded('for=203.0.113.7;;proto=https'), '203.0.113.7'],
    [forwarded(';for=203.0.113.7'), '203.0.113.7'],
    [forwarded('; ;host=x ;\t; for="203.0.113.7" ; ;'), '203.0.113.7'],
    [forwarded(`for=198.51.100.1, ${';'.repeat(3_000)}for=203.0.113.7`), '203.0.113.7'],
    [forwarded(';'), PEER],
    [forwarded(';;, ;'), PEER],
    [forwarded('for=203.0.113.7; =;'), PEER],
    [forwarded('for=203.0.113.7;;for=198.51.100.1'), PEER],
    [forwarded('proto=https'), PEER],
    [forwarded('for='), PEER],
    [forwarded('for=203.0.113.7;for=198.51.100.1'), PEER],
    [forwarded('for=203.0.113.7;proto'), PEER],
    [forwarded('for="203.0.113.7'), PEER],
    [forwarded(''), PEER],
  ])
})

test('of several proxies, as many are believed as TRUST_PROXY says', async (t) => {
  const two = await startService(t, { env: { TRUST_PROXY: '2' } })
  await assertAddresses(two, [
    [forwardedFor('198.51.100.1, 203.0.113.7, 10.0.0.1:80'), '203.0.113.7'],
    [forwardedFor(['198.51.100.1', '203.0.113.7', '10.0.0.1']), '203.0.113.7'],
    [forwardedFor('203.0.113.7,, 10.0.0.1, '), '203.0.113.7'],
    [forwardedFor('203.0.113.7'), '203.0.113.7'],
    [forwardedFor('unknown, 10.0.0.1'), '10.0.0.1'],
    [forwarded('for=198.51.100.1, for=203.0.113.7, for=10.0.0.1'), '203.0.113.7'],
    [{}, PEER],
  ])
  const named = await startService(t, {
    env: { TRUST_PROXY: '127.0.0.0/8, 10.0.0.0/8, 2001:db8:a::/48, ::ffff:192.0.2.0/120' },
  })
  await assertAddresses(named, [
    [forwardedFor('198.51.100.1, 203.0.113.7, 10.0.0.1:80'), '203.0.113.7'],
    [forwardedFor('203.0.113.7, 2001:db8:a::9, ::ffff:10.0.0.1, 192.0.2.9'), '203.0.113.7'],
    [forwardedFor('10.0.0.2, 10.0.0.1'), '10.0.0.2'],
    [forwarded('for=203.0.113.7, for="[2001:DB8:A::9]:80", for=10.0.0.1'), '203.0.113.7'],
    [forwardedFor(`203.0.113.7${',10.0.0.1'.repeat(1_500)}`), '10.0.0.1'],
  ])
  const none = await startService(t)
  await assertAddresses(none, [
    [forwardedFor('203.0.113.7'), PEER],
    [forwarded('for=203.0.113.7'), PEER],
  ])
})

test('a client cannot choose its address with the header that its proxy does not write', async (t) => {
  const rest = forwardedFor('198.51.100.1, 203.0.113.7')
  const http = forwarded('for=198.51.100.1, for=203.0.113.7')
  for (const [forged, env, address] of [
    [{ ...rest, ...forwarded('for=192.0.2.1') }, { TRUST_PROXY: '1' }, PEER],
    [{ ...http, ...forwardedFor('192.0.2.1') }, { TRUST_PROXY: '1' }, PEER],
    [{ ...http, ...forwardedFor('203.0.113.7') }, { TRUST_PROXY: '1' }, '203.0.113.7'],
    [{ ...rest, ...forwarded('for=192.0.2.1') }, REST, '203.0.113.7'],
    [{ ...http, ...forwardedFor('192.0.2.1') }, HTTP, '203.0.113.7'],
    [forwarded('for=192.0.2.1'), REST, PEER],
    [forwardedFor('192.0.2.1'), HTTP, PEER],
  ] as [Headers, Record<string, string>, string][]) {
    const service = await startService(t, { env })
    await assertAddresses(service, [
      [forged, address],
      [forged, address],
    ])
    const warnings = service.logLines.filter((line) => line.includes('TRUST_PROXY_HEADER'))
    assert.equal(warnings.length, address === PEER && !('TRUST_PROXY_HEADER' in env) ? 1 : 0)
  }
})

/** Sends four requests, and asserts that the fourth exceeds the limit of three. */
async function assertOneLimit(t: TestContext, env: Record<string, string>, headers: (i: number) => Headers) {
  const service = await startService(t, { env: { RATE_LIMIT_PER_IP: '3', ...env } })
  const statuses: number[] = []
  for (let i = 0; i < 4; i++)
    statuses.push(
      (await fetch(`${service.url}/nowhere`, { headers: headers(i) as Record<string, string> })).status,
    )
  assert.deepEqual(statuses, [404, 404, 404, 429], JSON.stringify(headers(0)))
}

test('one client has one limit, whatever its port, its place in its /64, and the text that it sends itself', async (t) => {
  for (const [env, headers] of [
    [{ TRUST_PROXY: '1' }, (i: number) => forwardedFor(`203.0.113.7:4000${i}`)],
    [{ TRUST_PROXY: '1' }, (i: number) => forwardedFor(`[2001:db8::${i}]:4000${i}`)],
    [{ TRUST_PROXY: '1' }, (i: number) => forwarded(`for="[2001:db8::${i}]:4000${i}"`)],
    [{ TRUST_PROXY: '1' }, (i: number) => forwardedFor(`text ${i}`)],
    [
      { TRUST_PROXY: '1' },
      (i: number) => ({ ...forwardedFor(`192.0.2.${i}`), ...forwarded('for=203.0.113.7') }),
    ],
    [
      { TRUST_PROXY: '1' },
      (i: number) => ({ ...forwardedFor('203.0.113.7'), ...forwarded(`for=192.0.2.${i}`) }),
    ],
  ] as const)
    await assertOneLimit(t, env, headers)
})

test('the audit trail has the client of a request as an address, and nothing else that was sent', async (t) => {
  const service = await startService(t, { env: { TRUST_PROXY: '1' } })
  const own = await registered(service, {}, { forwarded: 'for="[2001:db8::1]:40001"' })
  await manage(service, own, 'POST', '/rotate', {}, { 'x-forwarded-for': '<script>\u009b31m' })
  const entries = await service.deps.store.listAudit({ limit: 10 })
  const seen = new Set(entries.flatMap(({ actor }) => actor.clientAddress ?? []))
  assert.deepEqual([...seen].sort(), [PEER, '2001:db8::1'])
})
