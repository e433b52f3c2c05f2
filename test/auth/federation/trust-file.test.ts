import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  parseTrust,
  readTrust,
  type TrustContext,
  TrustFileError,
} from '../../../src/auth/federation/trust-file.ts'
import { createSigningKey } from '../../support/identity/issuer.ts'
import { tempDir } from '../../support/service.ts'

const context: TrustContext = {
  path: '/etc/firstkey/trust.yaml',
  publicUrl: 'https://keys.example.com',
  plans: ['free', 'gold'],
  variable: (name) => ({ OIDC_SECRET: 'a secret', EMPTY: ' ' })[name],
}

/** Returns the faults of a file, without its path. */
function faultsOf(text: string, changes: Partial<TrustContext> = {}): string[] {
  try {
    parseTrust(text, { ...context, ...changes })
  } catch (error) {
    assert.ok(error instanceof TrustFileError, String(error))
    return error.faults.map((fault) => fault.replace('/etc/firstkey/trust.yaml:', ''))
  }
  return []
}

/** A file with one rule. Values are YAML. */
function oneRule({
  issuer = '{ kind: github }',
  match = '{ repository_id: "42" }',
  more = '',
  grant = 'key_ttl: 24h',
} = {}) {
  return `issuers:\n  it: ${issuer}\nrules:\n  - id: r\n    issuer: it\n    match: ${match}\n    ${more}\n    grant: { ${grant} }\n`
}

test('the five lines that let the repositories of an organization register', () => {
  const trust = parseTrust(
    `issuers: { github: { kind: github } }
rules:
  - { id: acme-ci, issuer: github, match: { repository_owner_id: "2020" }, grant: { key_ttl: 24h } }
`,
    context,
  )
  assert.equal(trust.audience, 'https://keys.example.com')
  assert.deepEqual(trust.issuers.get('github'), {
    name: 'github',
    kind: 'github',
    url: 'https://token.actions.githubusercontent.com',
    algorithms: ['RS256'],
    singleUse: true,
    keys: { jwksUri: null, jwksFile: null, caFile: null, bearerTokenFile: null },
    login: null,
  })
  assert.deepEqual(trust.rules, [
    {
      id: 'acme-ci',
      issuer: 'github',
      match: [{ claim: 'repository_owner_id', values: ['2020'] }],
      identity: ['sub'],
      grant: {
        plans: [],
        name: '',
        keyTtlMs: 86_400_000,
        maxLive: null,
        onRepeat: 'rotate',
        overlapMs: 3_600_000,
        ratePerMinute: null,
      },
    },
  ])
})

test('a file with everything, in YAML with an alias', (t) => {
  const dir = tempDir(t)
  mkdirSync(join(dir, 'keys'))
  writeFileSync(join(dir, 'ca.pem'), '-----BEGIN CERTIFICATE-----')
  writeFileSync(join(dir, 'keys/token'), 'token')
  writeFileSync(join(dir, 'keys/jwks.json'), JSON.stringify({ keys: [createSigningKey('RS256').jwk] }))
  writeFileSync(
    join(dir, 'trust.yaml'),
    `audience: firstkey
issuers:
  prod: { kind: aws, issuer: https://ab12.tokens.sts.global.api.aws }
  k8s: { kind: kubernetes, issuer: https://kubernetes.default.svc, ca_file: ca.pem, bearer_token_file: keys/token }
  edge: { kind: kubernetes, issuer: https://edge.example.com, jwks_file: keys/jwks.json }
  ci: { kind: oidc, issuer: https://idp.example.com/realms/x, algorithms: [ES384], single_use: true, jwks_uri: https://idp.example.com/jwks }
  staff:
    kind: oidc
    issuer: https://login.example.com
    login: { client_id: firstkey, client_secret_env: OIDC_SECRET, label: Example }
rules:
  - id: lambda
    issuer: prod
    match: { sub: "arn:aws:iam::123456789012:role/*", principal_tags.team: data }
    identity: [aws_account, sub]
    grant: &grant { plans: [gold, free], name: "l-{sub}", key_ttl: 7d, max_live: 5, on_repeat: refuse, overlap: 0s, rate: 30 }
  - { id: pods, issuer: k8s, match: { namespace: [agents, "jobs"], service_account: crawler }, grant: *grant }
`,
  )
  const trust = readTrust({ ...context, path: join(dir, 'trust.yaml') })
  assert.equal(trust.audience, 'firstkey')
  assert.deepEqual(trust.issuers.get('k8s')?.keys, {
    jwksUri: null,
    jwksFile: null,
    caFile: join(dir, 'ca.pem'),
    bearerTokenFile: join(dir, 'keys/token'),
  })
  assert.equal(trust.issuers.get('edge')?.keys.jwksFile, join(dir, 'keys/jwks.json'))
  assert.deepEqual(trust.issuers.get('ci')?.algorithms, ['ES384'])
  assert.equal(trust.issuers.get('ci')?.singleUse, true)
  assert.deepEqual(trust.issuers.get('staff')?.login, {
    ...{ label: 'Example', clientId: 'firstkey', clientSecret: 'a secret' },
    scopes: ['openid', 'profile', 'email'],
  })
  assert.deepEqual(trust.rules[1]?.match, [
    { claim: 'namespace', values: ['agents', 'jobs'] },
    { claim: 'service_account', values: ['crawler'] },
  ])
  const grant = { plans: ['gold', 'free'], name: 'l-{sub}', keyTtlMs: 7 * 86_400_000, maxLive: 5 }
  for (const rule of trust.rules)
    assert.deepEqual(rule.grant, { ...grant, onRepeat: 'refuse', overlapMs: 0, ratePerMinute: 30 })
})

test('JSON is read, too', () => {
  const rule = { id: 'r', issuer: 'g', match: { repository_id: '42' }, grant: { key_ttl: '1h' } }
  const file = { $schema: 'trust-file.schema.json', issuers: { g: { kind: 'github' } }, rules: [rule] }
  assert.equal(parseTrust(JSON.stringify(file, null, 2), context).rules.length, 1)
})

test('JSON may be indented with tabs, and any file may have a BOM and the line ends of Windows', () => {
  const file = { issuers: { g: { kind: 'github' } }, rules: [] }
  assert.equal(parseTrust(JSON.stringify(file, null, '\t'), context).issuers.size, 1)
  assert.deepEqual(faultsOf(`\ufeff${oneRule().replaceAll('\n', '\r\n')}`), [])
})

test('an audience that others may share, or that is blank, is refused', () => {
  for (const audience of ["''", "' '", '"\\t"', "'a b'", '[a, b]', '42', 'null'])
    assert.match(
      faultsOf(`audience: ${audience}\n${oneRule()}`).join(),
      /^1:11: audience must be the audience that tokens/,
      audience,
    )
})

test('all faults are reported at once, each with its place and what would be right', () => {
  const faults = faultsOf(`issuer: {}
issuers:
  github: { kind: githup }
  ci: { kind: oidc, issuer: http://idp.example.com, algoritms: [RS256] }
  a: { kind: aws }
rules:
  - id: one
    issuer: cj
    match: { sub: x }
    grant: { key_ttl: 1 day, plans: [golt], max_live: 0 }
  - id: one
    issuer: ci
    match: { iss: x }
    grant: { name: "x-{sub" }
`)
  const wanted: [place: string, words: RegExp][] = [
    [
      '1:1',
      /^issuer is not known \(did you mean "issuers"\?\); it may have \$schema, audience, issuers, rules$/,
    ],
    ['3:19', /^issuers\.github\.kind must be one of github, gitlab, kubernetes, aws, gcp, entra, oidc$/],
    ['4:29', /^issuers\.ci\.issuer must be an https URL: without TLS, only a loopback address is allowed$/],
    ['4:53', /^issuers\.ci\.algoritms is not known \(did you mean "algorithms"\?\)/],
    ['5:6', /^issuers\.a\.issuer is required: it must be the issuer's URL, exactly as the claim iss has it$/],
    ['8:13', /^rules\[0\]\.issuer must be an issuer of this file/],
    ['10:23', /^rules\[0\]\.grant\.key_ttl must be a duration: 90s, 15m, 24h, 7d, 4w or 1y$/],
    [
      '10:38',
      /^rules\[0\]\.grant\.plans\[0\] must be a plan of USAGE_PLANS \(did you mean "gold"\?\): free, gold$/,
    ],
    ['10:55', /^rules\[0\]\.grant\.max_live must be a whole number from 1$/],
    ['11:9', /^rules\[1\]\.id must be another than that of rules\[0\]$/],
    ['13:12', /^rules\[1\]\.match must pin a claim besides iss and aud/],
    ['14:12', /^rules\[1\]\.grant\.key_ttl is required: it must be a duration/],
    ['14:20', /^rules\[1\]\.grant\.name must have every \{ closed by a \}/],
  ]
  for (const [place, words] of wanted) {
    const found = faults.find(
      (fault) => fault.startsWith(`${place}: `) && words.test(fault.slice(place.length + 2)),
    )
    assert.ok(found !== undefined, `${place} ${words} in\n${faults.join('\n')}`)
  }
  assert.equal(faults.length, wanted.length, faults.join('\n'))
})

const files: [name: string, text: string, fault: RegExp][] = [
  ['an empty file', '', /^1:1: the file must be an object with issuers and rules/],
  ['a file of null', '~', /the file must be an object/],
  ['a list', '- a', /the file must be an object/],
  ['another syntax', 'issuers: {', /^1:\d+: Flow map .* end with a }/],
  ['a tab as indentation', 'issuers:\n\tgithub: {}', /^2:\d+: /],
  ['a name twice', `${oneRule()}rules: []\n`, /^\d+:1: Map keys must be unique/],
  [
    'a name twice, further down',
    oneRule({ match: '{ repository_id: "1", repository_id: "2" }' }),
    /^6:\d+: Map keys must be unique/,
  ],
  ['a tag', oneRule({ match: '{ repository_id: !!js/function "42" }' }), /^6:\d+: Unresolved tag/],
  ['two documents', `${oneRule()}---\n${oneRule()}`, /Source contains multiple documents/],
  ['an unknown alias', oneRule({ more: 'identity: *there' }), /Unresolved alias/],
  [
    '__proto__',
    oneRule({ match: '{ repository_id: "42", __proto__: "x" }' }),
    /^6:\d+: the name __proto__ is not allowed/,
  ],
  ['deep nesting', '['.repeat(100_000), /the file is nested too deeply/],
  ['a long file', `# ${'x'.repeat(300_000)}`, /^1:1: the file must have at most 256 KiB$/],
]
for (const [name, text, fault] of files)
  test(`refuses ${name}`, () => {
    const [first = ''] = faultsOf(text)
    assert.match(first, fault)
  })

test('aliases of aliases do not fill the memory', () => {
  const levels = Array.from(
    { length: 12 },
    (_, i) => `x${i}: &x${i} [${i === 0 ? 'a' : `*x${i - 1}, `.repeat(10)}]`,
  )
  assert.match(faultsOf(`${levels.join('\n')}\n`)[0] ?? '', /alias/i)
})

const pins: [kind: string, match: string, fault: RegExp | undefined][] = [
  ['github', '{ repository: acme/agents }', /must pin repository_id .* or repository_owner_id/],
  ['github', '{ sub: "repo:acme/agents:*" }', /must pin repository_id/],
  ['github', '{}', /must pin repository_id/],
  [
    'github',
    '{ repository_id: 42 }',
    /must be a text: the claim never is a number, so write it in quotes: "42"/,
  ],
  ['github', '{ repository_id: acme }', /must pin repository_id/],
  ['github', '{ repository_id: ["42", "acme/*"] }', /must pin repository_id/],
  ['github', '{ repository_id: [] }', /a list of values that is not empty/],
  [
    'github',
    '{ repository_id: "42", ref_protected: true }',
    /ref_protected must be a text.*in quotes: "true"/,
  ],
  [
    'github',
    '{ repository_id: "42", repositry: x }',
    /repositry is no claim of the kind github \(did you mean "repository"\?\)/,
  ],
  ['github', '{ repository_id: ["42", "43"], event_name: [push, schedule] }', undefined],
  ['github', '{ repository_owner_id: "2020", job_workflow_ref: "acme/agents/*" }', undefined],
  ['github', '{ repository_id: "42", repo_property_team: core }', undefined],
  ['gitlab', '{ project_path: acme/agents }', /must pin project_id .* or namespace_id/],
  ['gitlab', '{ namespace_id: "42" }', undefined],
  ['gitlab', '{ project_id: "42", runner_id: 7 }', undefined],
  ['gitlab', '{ project_id: "42", runner_id: "7" }', /runner_id must be a number/],
  ['kubernetes', '{ namespace: agents }', /must pin namespace .* and service_account .*, or sub/],
  ['kubernetes', '{ service_account: crawler }', /must pin/],
  ['kubernetes', '{ namespace: agents, service_account: "crawler/*" }', /must pin/],
  ['kubernetes', '{ sub: "system:serviceaccount:agents:*" }', /must pin/],
  [
    'kubernetes',
    '{ namespace: agents, service_account: crawler, naemspace: x }',
    /naemspace is no claim .*did you mean "namespace"/,
  ],
  ['kubernetes', '{ sub: "system:serviceaccount:agents:crawler" }', undefined],
  ['kubernetes', '{ namespace: agents, service_account: [crawler, mover] }', undefined],
  ['aws', '{ org_id: o-abc1234567 }', /must pin sub .* or principal_id .* or aws_account/],
  ['aws', '{ sub: "arn:aws:iam::*" }', /must pin/],
  ['aws', '{ aws_account: 123456789012 }', /in quotes: "123456789012"/],
  [
    'aws',
    '{ aws_account: "123456789012", request_tags.team: x }',
    /request_tags\.team is chosen by the caller/,
  ],
  ['aws', '{ aws_account: "123456789012", request_tags: x }', /request_tags is chosen by the caller/],
  [
    'aws',
    '{ aws_account: "123456789012", principal_tags: x }',
    /principal_tags is an object: name one of its members/,
  ],
  ['aws', '{ aws_account: "123456789012", principal_tags.team: data }', undefined],
  ['aws', '{ aws_account: "123456789012", iss: "https://issuer.example.com/x" }', undefined],
  ['aws', '{ sub: "arn:aws-us-gov:iam::123456789012:role/*" }', undefined],
  ['gcp', '{ email: crawler@acme.iam.gserviceaccount.com }', /must pin sub/],
  ['gcp', '{ sub: "crawler" }', /must pin sub/],
  ['gcp', '{ sub: "112010400000000710080", email_verified: true }', undefined],
  ['entra', '{ oid: 9f2d7b1c-3f53-4d6e-8f0b-8d2f1c6b0a11 }', /must pin tid .* and oid/],
  ['entra', '{ tid: 72f988bf-86f1-41af-91ab-2d7cd011db47 }', /must pin tid .* and oid/],
  ['entra', '{ tid: common, oid: 9f2d7b1c-3f53-4d6e-8f0b-8d2f1c6b0a11 }', /must pin tid/],
  [
    'entra',
    '{ tid: 72f988bf-86f1-41af-91ab-2d7cd011db47, oid: 9f2d7b1c-3f53-4d6e-8f0b-8d2f1c6b0a11 }',
    undefined,
  ],
  ['oidc', '{ iss: https://x, aud: y }', /must pin a claim besides iss and aud/],
  ['oidc', '{ sub: "repo:*" }', /must pin a claim besides/],
  ['oidc', '{ email_verified: true }', /must pin a claim besides/],
  ['oidc', '{ sub: [alice, "user:*"] }', /must pin a claim besides/],
  ['oidc', '{ sub: "*" }', /may have one \*, at its end and after a ":" or "\/"/],
  ['oidc', '{ sub: "al*" }', /may have one \*/],
  ['oidc', '{ sub: "repo:*:x" }', /may have one \*/],
  ['oidc', '{ sub: "repo:*/*" }', /may have one \*/],
  ['oidc', '{ sub: "https://*" }', /may have one \*/],
  ['oidc', '{ sub: ":*" }', /may have one \*/],
  ['oidc', '{ sub: "" }', /must not be empty/],
  ['oidc', '{ sub: null }', /must be a text, a number, true or false/],
  ['oidc', '{ realm_access: { roles: x } }', /must be a text, a number, true or false/],
  ['oidc', '{ sub: "repo:acme/*" }', undefined],
  ['oidc', '{ sub: alice }', undefined],
  ['oidc', '{ department: 42 }', undefined],
  ['oidc', '{ department: 9007199254740993 }', /must be a whole number below/],
  ['oidc', '{ department: .inf }', /must be a text, a number/],
]
for (const [kind, match, fault] of pins)
  test(`${kind} with ${match} ${fault === undefined ? 'pins an identity' : 'is refused'}`, () => {
    const needsUrl = ['kubernetes', 'aws', 'entra', 'oidc'].includes(kind)
    const issuer = needsUrl ? `{ kind: ${kind}, issuer: https://issuer.example.com/x }` : `{ kind: ${kind} }`
    const faults = faultsOf(oneRule({ issuer, match }))
    if (fault === undefined) assert.deepEqual(faults, [])
    else {
      assert.match(faults.join('\n'), fault)
      assert.ok(
        faults.every((line) => line.startsWith('6:')),
        faults.join('\n'),
      )
    }
  })

const parts: [what: string, part: Parameters<typeof oneRule>[0], fault: RegExp | undefined][] = [
  [
    'an issuer by the metadata address',
    { issuer: '{ kind: github, issuer: https://169.254.169.254 }' },
    /link-local/,
  ],
  [
    'one by its mapped form',
    { issuer: '{ kind: github, issuer: "https://[::ffff:a9fe:a9fe]/" }' },
    /link-local/,
  ],
  ['one by its decimal form', { issuer: '{ kind: github, issuer: "https://2852039166/" }' }, /link-local/],
  [
    'an issuer with a user',
    { issuer: '{ kind: github, issuer: "https://a:b@example.com" }' },
    /no user name/,
  ],
  ['an issuer with a query', { issuer: '{ kind: github, issuer: "https://example.com?x=1" }' }, /no query/],
  ['an issuer that is no URL', { issuer: '{ kind: github, issuer: github.com }' }, /must be an https URL/],
  [
    'an issuer of every tenant',
    { issuer: '{ kind: entra, issuer: https://login.microsoftonline.com/common/v2.0 }' },
    /your tenant's GUID/,
  ],
  [
    'a literal tenant',
    { issuer: '{ kind: entra, issuer: "https://login.microsoftonline.com/{tenantid}/v2.0" }' },
    /your tenant's GUID/,
  ],
  [
    'a symmetric algorithm',
    { issuer: '{ kind: github, algorithms: [HS256] }' },
    /algorithms\[0\] must be one of RS256/,
  ],
  [
    'no signature',
    { issuer: '{ kind: github, algorithms: [none] }' },
    /algorithms\[0\] must be one of RS256/,
  ],
  ['no algorithms', { issuer: '{ kind: github, algorithms: [] }' }, /at least one algorithm/],
  [
    'a missing file',
    { issuer: '{ kind: github, ca_file: /nowhere/ca.pem }' },
    /ca_file must be a file that can be read: ENOENT/,
  ],
  [
    'a login at GitHub Actions',
    { issuer: '{ kind: github, login: { client_id: x, client_secret_env: OIDC_SECRET } }' },
    /login is not possible at an issuer of the kind github/,
  ],
  [
    'a login without a secret',
    { issuer: '{ kind: gcp, login: { client_id: x } }', match: '{ sub: "1" }' },
    /must have client_secret_env or client_secret_file/,
  ],
  [
    'a secret that is not set',
    { issuer: '{ kind: gcp, login: { client_id: x, client_secret_env: NONE } }', match: '{ sub: "1" }' },
    /must be a variable that is set: NONE is not/,
  ],
  [
    'a secret that is empty',
    { issuer: '{ kind: gcp, login: { client_id: x, client_secret_env: EMPTY } }', match: '{ sub: "1" }' },
    /must be a variable that is set/,
  ],
  [
    'an identity of each token',
    { more: 'identity: [jti]' },
    /identity\[0\] must be a claim that tells one caller from another/,
  ],
  ['no identity', { more: 'identity: []' }, /at least one claim/],
  ['an unknown claim as identity', { more: 'identity: [repository_ids]' }, /did you mean "repository_id"/],
  ['a name of an unknown claim', { grant: 'key_ttl: 1h, name: "{repositry}"' }, /did you mean "repository"/],
  ['a name with a * inside', { grant: 'key_ttl: 1h, name: "a*b"' }, /a \* only at its end/],
  ['a name of only *', { grant: 'key_ttl: 1h, name: "*"' }, /text before the \*/],
  ['a long name', { grant: `key_ttl: 1h, name: ${'x'.repeat(200)}` }, /at most 128/],
  [
    'a name with two spaces',
    { grant: 'key_ttl: 1h, name: "a  {repository}"' },
    /name must consist of .* single spaces between them; character 2/,
  ],
  ['a name with a space at its end', { grant: 'key_ttl: 1h, name: "a "' }, /single spaces between them/],
  [
    'a name with an invisible character',
    { grant: 'key_ttl: 1h, name: "a\\u200b*"' },
    /character 2 is U\+200B/,
  ],
  [
    'an issuer with white space',
    { issuer: '{ kind: github, issuer: " https://x.example.com" }' },
    /no white space/,
  ],
  ['no lifetime of keys', { grant: 'plans: [gold]' }, /key_ttl is required/],
  ['a lifetime in numbers', { grant: 'key_ttl: 24' }, /key_ttl must be a duration/],
  ['an endless lifetime', { grant: 'key_ttl: never' }, /key_ttl must be a duration/],
  [
    'an unknown repeat',
    { grant: 'key_ttl: 1h, on_repeat: ignore' },
    /on_repeat must be one of rotate, refuse, add/,
  ],
  ['half a place', { grant: 'key_ttl: 1h, max_live: 1.5' }, /max_live must be a whole number/],
  ['a rate of nothing', { grant: 'key_ttl: 1h, rate: 0' }, /rate must be a whole number/],
  ['a setting of another place', { more: 'key_ttl: 1h' }, /rules\[0\]\.key_ttl is not known/],
  ['an id with a space', { more: 'id: "a b"' }, /Map keys must be unique/],
  [
    'a loopback issuer without TLS',
    { issuer: '{ kind: github, issuer: "http://127.0.0.1:4000" }' },
    undefined,
  ],
  ['localhost', { issuer: '{ kind: github, issuer: "http://localhost:4000/x" }' }, undefined],
  ['a beginning of a name with a space at its end', { grant: 'key_ttl: 1h, name: "a *"' }, undefined],
  ['a name with claims', { grant: 'key_ttl: 1h, name: "gh-{repository}*", overlap: 90s' }, undefined],
]
for (const [what, part, fault] of parts)
  test(`${fault === undefined ? 'accepts' : 'refuses'} ${what}`, () => {
    const faults = faultsOf(oneRule(part))
    if (fault === undefined) assert.deepEqual(faults, [])
    else assert.match(faults.join('\n'), fault)
  })

test('files that are not what they should be are faults', (t) => {
  const dir = tempDir(t)
  const file = (name: string, text: string) => {
    writeFileSync(join(dir, name), text)
    return join(dir, name)
  }
  const of = (setting: string) => faultsOf(oneRule({ issuer: `{ kind: github, ${setting} }` })).join()
  const ec = JSON.stringify({ keys: [createSigningKey('ES256').jwk] })
  assert.match(
    of(`jwks_file: ${file('text', 'x')}`),
    /jwks_file must be a file with the keys of the issuer: it is no JSON Web Key Set/,
  )
  assert.match(of(`jwks_file: ${file('ec', ec)}`), /it has no key for RS256/)
  assert.equal(of(`algorithms: [ES256], jwks_file: ${file('ec', ec)}`), '')
  assert.match(of(`ca_file: ${file('ca', 'x')}`), /ca_file must be a file with -----BEGIN CERTIFICATE-----/)
  assert.match(of(`bearer_token_file: ${file('token', '\n')}`), /bearer_token_file must not be an empty file/)
  assert.match(of(`jwks_file: ${file('ec', ec)}, ca_file: x`), /ca_file has no effect beside jwks_file/)
})

test('two issuers with one URL are refused', () => {
  const text = oneRule().replace('rules:', '  other: { kind: github }\nrules:')
  assert.match(faultsOf(text).join(), /^3:\d+: issuers\.other\.issuer must be another than that of "it"/)
})

test('plans are not checked where they are not known', () => {
  const text = oneRule({ grant: 'key_ttl: 1h, plans: [silver]' })
  assert.equal(faultsOf(text).length, 1)
  assert.deepEqual(faultsOf(text, { plans: null }), [])
})

test('a file that cannot be read is a fault', () => {
  assert.throws(
    () => readTrust({ ...context, path: '/nowhere/trust.yaml' }),
    /\/nowhere\/trust\.yaml:1:1: cannot be read: ENOENT/,
  )
})
