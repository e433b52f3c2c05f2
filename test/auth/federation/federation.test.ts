import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { TrustFileError } from '../../../src/auth/federation/trust-file.ts'
import { readConfig } from '../../../src/config.ts'
import { createDeps } from '../../../src/deps.ts'
import { ServiceError } from '../../../src/errors.ts'
import { createLogger } from '../../../src/log.ts'
import {
  awsClaims,
  entraClaims,
  gcpClaims,
  githubClaims,
  gitlabClaims,
  kubernetesClaims,
} from '../../support/identity/claims.ts'
import { type Claims, startIssuer } from '../../support/identity/issuer.ts'
import { testFederation, writeTrust } from '../../support/identity/trust.ts'
import { serverEnv, startService, tempDir, testGateway } from '../../support/service.ts'

const HOUR = 3_600_000

test('a token becomes a virtual token with the policy of its rule', async (t) => {
  const issuer = await startIssuer(t, { alg: 'RS256' })
  const grant = {
    plans: ['gold'],
    name: 'gh-{repository}*',
    key_ttl: '24h',
    max_live: 5,
    overlap: '2h',
    rate: 30,
  }
  const { federation } = testFederation(t, {
    issuers: { github: { kind: 'github', issuer: issuer.url } },
    rules: [
      {
        id: 'acme-ci',
        issuer: 'github',
        match: { repository_id: '42', environment: 'prod', event_name: ['push', 'workflow_dispatch'] },
        identity: ['repository_id', 'environment'],
        grant,
      },
    ],
  })
  const verified = await federation.verify(issuer.sign(githubClaims()))
  const { rule, identity, token } = federation.match(verified.issuer, verified.claims)
  assert.equal(rule.id, 'acme-ci')
  assert.deepEqual(identity, { repository_id: '42', environment: 'prod' })
  const { id, secretHash, createdAt, ...rest } = token
  assert.match(id, /^tok_[0-9A-Za-z]{20}$/)
  assert.equal(secretHash.byteLength, 32)
  assert.deepEqual(rest, {
    label: 'acme-ci: repository_id=42, environment=prod',
    plans: ['gold'],
    maxUses: null,
    expiresAt: null,
    keyTtlMs: 24 * HOUR,
    namePrefix: 'gh-acme/agents',
    ratePerMinute: 30,
    uses: 0,
    revokedAt: null,
    federation: {
      issuer: issuer.url,
      rule: 'acme-ci',
      identity: { repository_id: '42', environment: 'prod' },
      maxLive: 5,
      onRepeat: 'rotate',
      overlapMs: 2 * HOUR,
      nameIsExact: false,
    },
  })
})

test('the id of a virtual token depends on issuer, rule and identity, and on nothing else', async (t) => {
  const issuer = await startIssuer(t)
  const file = (id: string, identity: string[], more = {}) => ({
    issuers: { ci: { kind: 'oidc', issuer: issuer.url } },
    rules: [{ id, issuer: 'ci', match: { team: ['a', 'b'] }, identity, grant: { key_ttl: '1h', ...more } }],
  })
  const idOf = (content: unknown, claims: Claims) => {
    const { federation } = testFederation(t, content)
    const known = federation.trust().issuers.get('ci')
    assert.ok(known)
    return federation.match(known, { sub: 'x', team: 'a', n: 1, ...claims }).token.id
  }
  const first = idOf(file('r', ['team', 'n']), {})
  const same = [
    idOf(file('r', ['n', 'team']), {}),
    idOf(file('r', ['team', 'n']), { sub: 'y', other: 1 }),
    idOf(file('r', ['team', 'n'], { max_live: 3 }), {}),
  ]
  for (const id of same) assert.equal(id, first)
  const others = [
    idOf(file('r', ['team', 'n']), { team: 'b' }),
    idOf(file('r', ['team', 'n']), { n: '1' }),
    idOf(file('r', ['team']), {}),
    idOf(file('s', ['team', 'n']), {}),
  ]
  assert.equal(new Set([first, ...others]).size, 5)
})

test('the tokens of every kind meet a rule with the short names of their claims', async (t) => {
  const issuer = await startIssuer(t, { alg: 'RS256' })
  const kinds: [kind: string, claims: Claims, match: object, identity: string[]][] = [
    ['github', githubClaims(), { repository_owner_id: '2020', ref_protected: 'true' }, ['repository_id']],
    ['gitlab', gitlabClaims(), { project_id: '46573356', runner_id: 12270835 }, ['project_id', 'ref']],
    [
      'kubernetes',
      kubernetesClaims(),
      { namespace: 'agents', service_account: 'crawler' },
      ['service_account_uid', 'pod'],
    ],
    [
      'aws',
      awsClaims(),
      { aws_account: '123456789012', 'principal_tags.team': 'data-engineering' },
      ['org_id'],
    ],
    ['gcp', gcpClaims(), { sub: '112010400000000710080', project_number: 739419398126 }, ['instance_name']],
    ['entra', entraClaims(), { tid: entraClaims()['tid'], oid: entraClaims()['oid'] }, ['azp']],
    ['oidc', { sub: 'caller' }, { sub: 'caller' }, ['sub']],
  ]
  for (const [kind, claims, match, identity] of kinds)
    await t.test(kind, async (t) => {
      const { federation } = testFederation(t, {
        issuers: { it: { kind, issuer: issuer.url, algorithms: ['RS256'] } },
        rules: [{ id: 'r', issuer: 'it', match, identity, grant: { key_ttl: '1h' } }],
      })
      const verified = await federation.verify(issuer.sign(claims))
      assert.deepEqual(Object.keys(federation.match(verified.issuer, verified.claims).identity), identity)
      const once = ['github', 'gitlab', 'aws'].includes(kind)
      assert.equal(verified.proof !== null, once)
    })
})

const lookAlikes: [what: string, claims: Claims][] = [
  ['a longer number', { n: '420' }],
  ['a space before', { n: ' 42' }],
  ['a space after', { n: '42 ' }],
  ['a number', { n: 42 }],
  ['a list', { n: ['42'] }],
  ['an object', { n: { 42: true } }],
  ['true', { n: true }],
  ['null', { n: null }],
  ['nothing', { n: undefined }],
  ['an empty text', { n: '' }],
  ['full-width digits', { n: '４２' }],
  ['a zero byte', { n: '42\0' }],
  ['another case', { word: 'PROD' }],
  ['a letter of another script', { word: 'pr\u043ed' }],
  ['a text for true', { flag: 'true' }],
  ['1 for true', { flag: 1 }],
  ['a text for a number', { count: '7' }],
  ['the beginning alone', { path: 'acme/' }],
  ['another owner', { path: 'acme-evil/x' }],
  ['a claim of the prototype', { path: undefined, word: undefined, constructor: 'prod' }],
]
test('a claim that only looks like the value of the rule does not match', async (t) => {
  const issuer = await startIssuer(t)
  const right = { n: '42', word: 'prod', flag: true, count: 7, path: 'acme/x' }
  const { federation } = testFederation(t, {
    issuers: { ci: { kind: 'oidc', issuer: issuer.url } },
    rules: [
      {
        id: 'r',
        issuer: 'ci',
        match: { n: '42', word: ['prod', 'test'], flag: true, count: 7, path: 'acme/*' },
        grant: { key_ttl: '1h' },
      },
    ],
  })
  const matchOf = async (claims: Claims) => {
    const verified = await federation.verify(issuer.sign(claims))
    return federation.match(verified.issuer, verified.claims)
  }
  assert.equal((await matchOf(right)).rule.id, 'r')
  for (const [what, claims] of lookAlikes)
    await t.test(what, async () => {
      await assert.rejects(matchOf({ ...right, ...claims }), (error: unknown) => {
        assert.ok(error instanceof ServiceError)
        assert.equal(error.code, 'identity_not_allowed')
        assert.equal(error.message, 'No rule of this service allows this identity to register.')
        assert.equal(error.identity?.rule, null)
        return true
      })
    })
})

test("AWS's request tags, and claims beside its namespace, do not stand for its own", async (t) => {
  const issuer = await startIssuer(t, { alg: 'RS256' })
  const { federation } = testFederation(t, {
    issuers: { aws: { kind: 'aws', issuer: issuer.url } },
    rules: [
      {
        id: 'r',
        issuer: 'aws',
        match: { aws_account: '123456789012', 'principal_tags.team': 'core' },
        grant: { key_ttl: '1h' },
      },
    ],
  })
  const tags = {
    request_tags: { team: 'core', 'principal_tags.team': 'core' },
    'principal_tags.team': 'core',
  }
  const claims = awsClaims(
    { ...tags, principal_tags: {} },
    { aws_account: '123456789012', principal_tags: { team: 'core' } },
  )
  const verified = await federation.verify(issuer.sign(claims))
  assert.throws(() => federation.match(verified.issuer, verified.claims), /No rule/)
})

test('the first rule that matches decides, and a rule whose identity is missing does not match', async (t) => {
  const issuer = await startIssuer(t)
  const rule = (id: string, more: object) => ({
    id,
    issuer: 'ci',
    match: { team: 'a' },
    grant: { key_ttl: '1h' },
    ...more,
  })
  const { federation } = testFederation(t, {
    issuers: {
      ci: { kind: 'oidc', issuer: issuer.url },
      other: { kind: 'oidc', issuer: 'https://other.example.com' },
    },
    rules: [
      rule('of-another', { issuer: 'other' }),
      rule('with-identity', { identity: ['sub', 'user'] }),
      rule('with-name', { grant: { key_ttl: '1h', name: 'x-{long}' } }),
      rule('first', { grant: { key_ttl: '1h', name: 'x-{team}' } }),
      rule('second', {}),
    ],
  })
  const match = async (claims: Claims) => {
    const verified = await federation.verify(issuer.sign({ team: 'a', ...claims }))
    return federation.match(verified.issuer, verified.claims)
  }
  const plain = await match({})
  assert.equal(plain.rule.id, 'first')
  assert.deepEqual([plain.token.namePrefix, plain.token.federation?.nameIsExact], ['x-a', true])
  assert.equal((await match({ user: 'u' })).rule.id, 'with-identity')
  assert.equal((await match({ user: 7 })).rule.id, 'with-identity')
  assert.equal((await match({ user: 2 ** 53 })).rule.id, 'first')
  assert.equal((await match({ user: ['u'] })).rule.id, 'first')
  assert.equal((await match({ user: 'fkb_abcdefghijklmnopqrstuvwxyz012345' })).rule.id, 'first')
  assert.equal((await match({ user: 'x'.repeat(3_000) })).rule.id, 'first')
  assert.equal((await match({ long: 'x'.repeat(120) })).rule.id, 'with-name')
  assert.equal((await match({ long: 'x'.repeat(130) })).rule.id, 'first')
  // No caller could register under such a name.
  for (const long of ['a\u202eb', 'a  b', 'a ', '\u2800', 'a\ud800'])
    assert.equal((await match({ long })).rule.id, 'first', JSON.stringify(long))
})

test('a reload changes the rules, keeps the keys, and with faults changes nothing', async (t) => {
  const issuer = await startIssuer(t)
  const file = (sub: string) => ({
    issuers: { ci: { kind: 'oidc', issuer: issuer.url } },
    rules: [{ id: 'r', issuer: 'ci', match: { sub }, grant: { key_ttl: '1h' } }],
  })
  const { federation, path } = testFederation(t, file('caller'))
  const verified = await federation.verify(issuer.sign())
  federation.match(verified.issuer, verified.claims)
  assert.equal(federation.state().refused, null)

  writeTrust(t, 'issuers: [', path)
  const before = federation.trust()
  const { faults } = federation.reload()
  assert.match(faults[0] ?? '', /trust\.yaml:1:\d+: /)
  assert.deepEqual(federation.state().refused?.faults, faults)
  assert.equal(federation.trust(), before)
  federation.match(verified.issuer, verified.claims)

  writeTrust(t, file('other'), path)
  assert.deepEqual(federation.reload(), { faults: [] })
  assert.equal(federation.state().refused, null)
  assert.throws(() => federation.match(verified.issuer, verified.claims), { code: 'identity_not_allowed' })
  await federation.verify(issuer.sign())
  assert.deepEqual(issuer.requests, { discovery: 1, jwks: 1 })

  writeTrust(t, { issuers: {}, rules: [] }, path)
  federation.reload()
  assert.throws(() => federation.match(verified.issuer, verified.claims), { code: 'issuer_not_trusted' })
  await assert.rejects(federation.verify(issuer.sign()), { code: 'issuer_not_trusted' })
})

test('a trust file with faults stops the start, and the error has all of them', async (t) => {
  const gateway = await testGateway(t)
  const dir = tempDir(t)
  const trust = writeTrust(
    t,
    'issuers: { github: { kind: githup } }\nrules: [{ id: x }]\n',
    join(dir, 'trust.yaml'),
  )
  const config = readConfig({ ...serverEnv(gateway, dir), TRUST_FILE: trust })
  const log = createLogger('silent')
  await assert.rejects(createDeps(config, log), (error: unknown) => {
    assert.ok(error instanceof TrustFileError)
    assert.match(
      error.message,
      /trust\.yaml:1:28: .*kind must be one of[\s\S]*trust\.yaml:2:9: rules\[0\]\.grant is required/,
    )
    return true
  })
})

test('the service has a federation if TRUST_FILE is set, with its plans, URL and variables', async (t) => {
  const login = { client_id: 'firstkey', client_secret_env: 'OIDC_SECRET' }
  const issuers = { staff: { kind: 'oidc', issuer: 'https://login.example.com', login } }
  const rules = [
    { id: 'r', issuer: 'staff', match: { department: 'core' }, grant: { key_ttl: '1h', plans: ['gold'] } },
  ]
  const env = {
    TRUST_FILE: writeTrust(t, { issuers, rules }),
    OIDC_SECRET: 'hidden',
    PUBLIC_URL: 'https://keys.example.com',
  }
  const { deps } = await startService(t, { env })
  assert.equal(deps.federation?.trust().audience, 'https://keys.example.com')
  assert.equal(deps.federation?.trust().issuers.get('staff')?.login?.clientSecret, 'hidden')
})

test('what a refusal shows of the claims fits into an audit entry, and has no secrets', async (t) => {
  const issuer = await startIssuer(t)
  const match = { team: 'a', more: 'b', list: 'c', word: 'd' }
  const { federation } = testFederation(t, {
    issuers: { ci: { kind: 'oidc', issuer: issuer.url } },
    rules: [{ id: 'r', issuer: 'ci', match, grant: { key_ttl: '1h' } }],
  })
  const word = 'fkb_abcdefghijklmnopqrstuvwxyz012345abcdef'
  const claims = { team: 'x'.repeat(2_000), more: '\u0001'.repeat(1_000), list: ['c'], word, other: 'y' }
  const verified = await federation.verify(issuer.sign(claims))
  assert.throws(
    () => federation.match(verified.issuer, verified.claims),
    ({ identity }: ServiceError) => {
      assert.ok(Buffer.byteLength(JSON.stringify(identity)) <= 4_096)
      assert.deepEqual(Object.keys(identity?.claims ?? {}), ['sub', 'team', 'list', 'word'])
      assert.deepEqual([identity?.claims['list'], identity?.claims['word']], [[], '[redacted]'])
      return true
    },
  )
})
