import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { type Actor, SERVICE } from '../../src/store/audit.ts'
import { openStore } from '../../src/store/open.ts'
import type { BootstrapToken, Federation } from '../../src/store/records.ts'
import { runCli } from '../support/server-process.ts'
import { tempDir, unlimitedPolicy } from '../support/service.ts'

const GITHUB = 'https://token.actions.githubusercontent.com'
const HOUR = 3_600_000

/** A virtual token as an identity of GitHub gets it. */
function identity(n: number, federation: Partial<Federation> = {}): BootstrapToken {
  const secretHash = new Uint8Array(32)
  new DataView(secretHash.buffer).setUint32(0, n)
  return {
    ...unlimitedPolicy,
    id: `tok_${String(n).padStart(20, '0')}`,
    secretHash,
    label: `acme-ci: repository_id=${n}`,
    plans: ['gold'],
    keyTtlMs: 24 * HOUR,
    namePrefix: 'gh-acme/agents',
    uses: 0,
    createdAt: Date.parse('2026-11-28T12:00:00Z') + n,
    revokedAt: null,
    federation: {
      issuer: GITHUB,
      rule: 'acme-ci',
      identity: { repository_id: String(n), environment: 'prod' },
      maxLive: 5,
      onRepeat: 'rotate',
      overlapMs: HOUR,
      nameIsExact: true,
      ...federation,
    },
  }
}

/** Creates a store with these tokens, and runs commands on it. */
async function storeWith(t: TestContext, tokens: readonly BootstrapToken[]) {
  const dir = tempDir(t)
  const path = `${dir}/firstkey.db`
  const open = () => openStore({ kind: 'sqlite', path })
  const store = await open()
  for (const token of tokens) await store.createToken(token, SERVICE)
  await store.close()
  const env = { STORE: `sqlite:${path}` }
  const cli = (args: string[], more: Record<string, string> = {}) => runCli(t, args, { ...env, ...more })
  return { open, dir, cli }
}

test('tokens list shows identities in a table of their own, with issuer, rule, identity and live keys', async (t) => {
  const { cli } = await storeWith(t, [identity(42), identity(43, { rule: 'other', maxLive: null })])
  const only = await cli(['tokens', 'list'])
  assert.match(only.stdout, /^ID +STATUS +LIVE +PLANS +RULE +ISSUER +IDENTITY\n/)
  assert.match(
    only.stdout,
    /tok_0+42 {2}usable {2}0\/5 +gold +acme-ci +https:\/\/token\.actions\.githubusercontent\.com +repository_id="42", environment="prod"\n/,
  )
  assert.match(only.stdout, /tok_0+43 {2}usable {2}0\/unlimited +gold +other /)

  const id = JSON.parse((await cli(['tokens', 'create', '--label', 'by hand', '--json'])).stdout).id
  const both = (await cli(['tokens', 'list'])).stdout
  const [ordinary = '', identities = ''] = both.split('\n\n')
  assert.match(ordinary, RegExp(`^ID +STATUS +USES +EXPIRES +PLANS +LABEL\n${id} .*by hand$`))
  assert.match(identities, /^ID +STATUS +LIVE /)
  assert.equal((await cli(['tokens', 'list', '--identities'])).stdout, identities)
  const ofRule = (await cli(['tokens', 'list', '--rule', 'other'])).stdout.trim().split('\n')
  assert.equal(ofRule.length, 2)
  assert.match(ofRule[1] ?? '', /^tok_0+43 /)
  const none = await cli(['tokens', 'list', '--rule', 'acme-cd'])
  assert.deepEqual([none.code, none.stdout], [0, ''])
  assert.match(none.stderr, /No identity has registered by the rule acme-cd\./)

  const json = JSON.parse((await cli(['tokens', 'list', '--json'])).stdout) as {
    id: string
    identity: unknown
  }[]
  assert.deepEqual(
    json.map((token) => token.identity === null),
    [true, false, false],
  )
  assert.deepEqual(json.at(-1)?.identity, {
    issuer: GITHUB,
    rule: 'acme-ci',
    rule_exists: null,
    claims: { repository_id: '42', environment: 'prod' },
    live: 0,
    max_live: 5,
    on_repeat: 'rotate',
    overlap_seconds: 3_600,
    name_is_exact: true,
  })
})

test('an identity whose rule is in the trust file no more is marked', async (t) => {
  const { cli, dir } = await storeWith(t, [identity(42), identity(43, { rule: 'old' })])
  const TRUST_FILE = `${dir}/trust.yaml`
  const rule = '{ id: acme-ci, issuer: it, match: { repository_id: "42" }, grant: { key_ttl: 1d } }'
  writeFileSync(TRUST_FILE, `issuers: { it: { kind: github } }\nrules: [${rule}]\n`)
  const list = async (...args: string[]) => (await cli(['tokens', 'list', ...args], { TRUST_FILE })).stdout
  assert.match(await list(), / acme-ci +https/)
  assert.match(await list(), / old \(gone\) +https/)
  const json = JSON.parse(await list('--json')) as { identity: { rule_exists: boolean } }[]
  assert.deepEqual(
    json.map((token) => token.identity.rule_exists),
    [false, true],
  )
  assert.match(
    (await cli(['tokens', 'show', identity(43).id], { TRUST_FILE })).stdout,
    /^rule +old \(gone\)$/m,
  )
  writeFileSync(TRUST_FILE, 'nonsense')
  assert.match(await list(), / old +https/)
})

test('many identities and long claims leave the list readable, a line each', async (t) => {
  const { open, cli } = await storeWith(t, [
    identity(1, { identity: { sub: `\u202eline\n${'x'.repeat(3_000)}` } }),
  ])
  const store = await open()
  for (let n = 2; n <= 600; n++) await store.createToken(identity(n), SERVICE)
  await store.close()
  const lines = (await cli(['tokens', 'list'])).stdout.trimEnd().split('\n')
  assert.equal(lines.length, 601)
  assert.ok(lines.every((line) => line.length < 300))
  assert.match(lines.at(-1) ?? '', /sub="\\u\{202e\}line\\nx+…$/)
})

test('tokens show has the whole identity and its grant, and tokens revoke stops it', async (t) => {
  const { cli } = await storeWith(t, [identity(42), identity(43, { onRepeat: 'add', nameIsExact: false })])
  const id = identity(42).id
  const shown = (await cli(['tokens', 'show', id])).stdout
  for (const line of [
    /^issuer +https:\/\/token\.actions\.githubusercontent\.com$/m,
    /^rule +acme-ci$/m,
    /^identity +repository_id="42", environment="prod"$/m,
    /^live keys +0\/5$/m,
    /^key ttl +1d$/m,
    /^name +gh-acme\/agents$/m,
    /^on repeat +rotate, overlap 1h$/m,
  ])
    assert.match(shown, line)
  const other = (await cli(['tokens', 'show', identity(43).id])).stdout
  assert.match(other, /^name prefix +gh-acme\/agents$/m)
  assert.match(other, /^on repeat +add$/m)

  const dry = await cli(['tokens', 'revoke', id, '--with-keys'])
  assert.match(dry.stderr, /would be revoked[\s\S]*Nothing was changed/)
  const revoked = await cli(['tokens', 'revoke', id])
  assert.equal(revoked.code, 0)
  assert.match(revoked.stdout, /^status +revoked$/m)
  assert.match(revoked.stderr, /Rule acme-ci refuses this identity from now on/)
  assert.match((await cli(['tokens', 'list'])).stdout, RegExp(`${id} +revoked `))
})

test('registrations show names the identity that registered', async (t) => {
  const { open, cli } = await storeWith(t, [identity(42)])
  const store = await open()
  const id = `reg_${store.id}_00000000000000000000`
  const key = {
    id,
    tokenId: identity(42).id,
    name: 'gh-acme/agents',
    description: '',
    plan: 'gold',
    usagePlanId: 'abc',
  }
  const adopted = { ...key, managementHash: new Uint8Array(32), createdAt: 1, apiKeyId: 'k1' }
  assert.ok(await store.adoptKey(adopted, SERVICE, 1))
  await store.close()
  const shown = (await cli(['registrations', 'show', id])).stdout
  assert.match(
    shown,
    /^token +tok_0+42\nissuer +https:\/\/token\.actions\..*\nrule +acme-ci\nidentity +repository_id="42", env/m,
  )
  const json = JSON.parse((await cli(['registrations', 'show', id, '--json'])).stdout)
  const claims = { repository_id: '42', environment: 'prod' }
  assert.deepEqual(json.identity, { issuer: GITHUB, rule: 'acme-ci', claims })
  assert.deepEqual(
    JSON.parse((await cli(['registrations', 'list', '--json'])).stdout)[0].identity,
    json.identity,
  )
})

test('audit names issuer, rule and identity, as text and as JSON', async (t) => {
  const { open, cli } = await storeWith(t, [identity(42)])
  const store = await open()
  const actor = (identity: Actor['identity'], id: string | null = null): Actor => ({
    ...{ kind: id === null ? 'identity' : 'token', id, requestId: 'req_0123456789abcdefghij' },
    ...{ clientAddress: '192.0.2.1', identity },
  })
  const known = { issuer: GITHUB, rule: 'acme-ci', claims: { repository_id: '42' } }
  const refused = { action: 'request.refused', registrationId: null, apiKeyId: null } as const
  await store.appendAudit([
    {
      ...refused,
      at: 1,
      actor: actor(known, identity(42).id),
      detail: 'token_replayed',
      tokenId: identity(42).id,
    },
    {
      ...refused,
      ...{ at: 2, detail: 'identity_not_allowed', tokenId: null },
      actor: actor({ issuer: GITHUB, rule: null, claims: { repository_id: 7 } }),
    },
    {
      ...refused,
      ...{ at: 3, detail: 'issuer_not_trusted', tokenId: null },
      actor: actor({ issuer: 'https://evil.example/\u202e', rule: null, claims: {} }),
    },
  ])
  await store.close()
  const text = (await cli(['audit'])).stdout
  assert.match(text, /token tok_0+42 +request\.refused .* rule acme-ci: repository_id="42" +token_replayed$/m)
  assert.match(
    text,
    /Z {2}identity +request\.refused +- .* no rule, https:\/\/token\.actions\.githubusercontent\.com: repository_id=7 +identity_not_allowed$/m,
  )
  assert.match(text, /no rule, https:\/\/evil\.example\/\\u\{202e\} +issuer_not_trusted$/m)
  const entries = JSON.parse((await cli(['audit', '--json', '--token', identity(42).id])).stdout) as object[]
  assert.deepEqual(
    entries.map((entry) => Reflect.get(entry, 'identity')),
    [null, known],
  )
})
