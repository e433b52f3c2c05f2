import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import type { ErrorCode } from '../../../src/error-catalogue.ts'
import { type Claims, createSigningKey, type SignOptions, startIssuer, type TestIssuer } from './issuer.ts'

export const AUDIENCE = 'https://keys.example.com'

/** What is attacked: an issuer and a caller that {@link trustFile} trusts. */
export interface Target {
  /** Publishes a key for RS256 too, which the trust file does not name. */
  readonly issuer: TestIssuer
  readonly audience: string
  /** The claims of the caller who may register; all attacks have its `jti`, which none of them may spend. */
  readonly claims: Claims
  /** A server of the attacker, which no attack may make the service ask. */
  readonly evilUrl: string
  /** The number of requests that the attacker's server got. */
  evilRequests(): number
}

/** Starts what is attacked, until the test ends. */
export async function startTarget(t: TestContext): Promise<Target> {
  const audience = AUDIENCE
  const issuer = await startIssuer(t, { audience })
  issuer.keys.unshift(createSigningKey('RS256'))
  let requests = 0
  const evil = createServer((_request, response) => {
    requests += 1
    response.end(JSON.stringify({ keys: [attacker.jwk] }))
  }).listen(0, '127.0.0.1')
  await once(evil, 'listening')
  t.after(() => {
    evil.closeAllConnections()
    evil.close()
  })
  const evilUrl = `http://127.0.0.1:${(evil.address() as AddressInfo).port}`
  return { issuer, audience, claims: honestClaims(), evilUrl, evilRequests: () => requests }
}

/** A forged or foreign JWT that must be refused. */
export interface Attack {
  readonly name: string
  readonly code: ErrorCode
  jwt(target: Target): string
}

/** The text of a trust file whose only rule lets {@link honestClaims} register, once at a time. */
export function trustFile({ issuer, audience }: Pick<Target, 'issuer' | 'audience'>): string {
  return JSON.stringify({
    audience,
    issuers: { ci: { kind: 'oidc', issuer: issuer.url, algorithms: ['ES256'], single_use: true } },
    rules: [
      {
        id: 'acme',
        issuer: 'ci',
        match: {
          repository_id: '42',
          environment: ['prod', 'staging'],
          ref: 'refs/heads/*',
          ref_protected: true,
        },
        identity: ['repository_id', 'environment'],
        grant: { plans: ['gold'], key_ttl: '24h', max_live: 1, on_repeat: 'refuse' },
      },
    ],
  })
}

export const honestClaims = (): Claims => ({
  ...{ repository_id: '42', environment: 'prod', ref: 'refs/heads/main', ref_protected: true },
  jti: randomUUID(),
})

const attacker = createSigningKey('ES256')
const attackerRsa = createSigningKey('RS256')
const seconds = () => Math.floor(Date.now() / 1_000)
const encode = (part: unknown) => Buffer.from(JSON.stringify(part)).toString('base64url')

/** Signed by the issuer itself, with other claims. A claim that is `undefined` is missing. */
function claimed(code: ErrorCode, cases: Readonly<Record<string, Claims | (() => Claims)>>): Attack[] {
  return Object.entries(cases).map(([name, claims]) => ({
    name,
    code,
    jwt: ({ issuer, claims: honest }) =>
      issuer.sign({ ...honest, ...(typeof claims === 'function' ? claims() : claims) }),
  }))
}

/** With the honest claims and another header, key or signature. */
function forged(cases: Readonly<Record<string, (target: Target) => SignOptions>>): Attack[] {
  return Object.entries(cases).map(([name, options]) => ({
    name,
    code: 'invalid_token',
    jwt: (target) => target.issuer.sign(target.claims, options(target)),
  }))
}

/** Made from an honest token: its three parts, as texts. */
function mangled(
  cases: Readonly<Record<string, (header: string, payload: string, signature: string) => string>>,
): Attack[] {
  return Object.entries(cases).map(([name, mangle]) => ({
    name,
    code: 'invalid_token',
    jwt({ issuer, claims }) {
      const [header = '', payload = '', signature = ''] = issuer.sign(claims).split('.')
      return mangle(header, payload, signature)
    },
  }))
}

/** With a payload that `JSON.stringify` does not write. */
function written(
  code: ErrorCode,
  cases: Readonly<Record<string, (json: string, target: Target) => string>>,
): Attack[] {
  return Object.entries(cases).map(([name, write]) => ({
    name,
    code,
    jwt(target) {
      const { issuer, claims, audience } = target
      const now = seconds()
      const json = { iss: issuer.url, aud: audience, sub: 'caller', iat: now, exp: now + 300, ...claims }
      return issuer.signText(write(JSON.stringify(json), target))
    },
  }))
}

const pem = ({ issuer }: Target) =>
  issuer.keys.at(-1)?.publicKey.export({ type: 'spki', format: 'pem' }) ?? ''
const der = ({ issuer }: Target) =>
  issuer.keys.at(-1)?.publicKey.export({ type: 'spki', format: 'der' }) ?? Buffer.alloc(0)
const own = ({ issuer }: Target) => issuer.keys.at(-1)?.kid ?? ''
/** Signed by the attacker, under the id of the issuer's key. */
const stolenId = (target: Target, header: SignOptions['header'] = {}): SignOptions => ({
  ...{ key: attacker, kid: own(target), alg: 'ES256', header },
})

const algorithms = forged({
  'alg none': () => ({ alg: 'none' }),
  'alg NONE': () => ({ alg: 'NONE' }),
  'alg nOnE': () => ({ alg: 'nOnE' }),
  'HMAC under the PEM of the public key': (target) => ({
    ...{ alg: 'HS256', key: Buffer.from(pem(target)), kid: own(target) },
  }),
  'HMAC under the DER of the public key': (target) => ({ alg: 'HS256', key: der(target), kid: own(target) }),
  'HMAC under the public JWK': (target) => ({
    ...{ alg: 'HS256', key: Buffer.from(JSON.stringify(target.issuer.keys.at(-1)?.jwk)), kid: own(target) },
  }),
  'HMAC under nothing': (target) => ({ alg: 'HS256', key: Buffer.alloc(0), kid: own(target) }),
  'HMAC under the public key, alg ES256': (target) => ({
    ...{ alg: 'ES256', key: Buffer.from(pem(target)), kid: own(target) },
  }),
  'the key of an attacker': () => ({ key: attacker }),
  'the key of an attacker, under the id of the issuer’s': (target) => stolenId(target),
  'an RSA key of an attacker, under the id of the issuer’s': (target) => ({
    ...{ key: attackerRsa, kid: own(target), alg: 'RS256' },
  }),
  'an RSA signature, alg ES256': (target) => ({ key: attackerRsa, kid: own(target), alg: 'ES256' }),
  'no alg': () => ({ header: { alg: undefined } }),
  'alg es256': () => ({ header: { alg: 'es256' } }),
  'alg as a list': () => ({ header: { alg: ['ES256'] } }),
  'alg as a number': () => ({ header: { alg: 7 } }),
  'another alg than that of the signature': () => ({ header: { alg: 'ES384' } }),
})

/** An algorithm that the issuer itself uses, but that the trust file does not name for it. */
const unpinned: Attack = {
  name: 'an algorithm that is not pinned, with a key that the issuer publishes',
  code: 'invalid_token',
  jwt: ({ issuer, claims }) => issuer.sign(claims, { alg: 'RS256' }),
}

const headerKeys = forged({
  'a key in the header': (target) => stolenId(target, { jwk: attacker.jwk, kid: undefined }),
  'a key in the header, under the id of the issuer’s': (target) => stolenId(target, { jwk: attacker.jwk }),
  'a URL of keys in the header': (target) => stolenId(target, { jku: `${target.evilUrl}/jwks` }),
  'the issuer’s own URL of keys in the header': (target) => stolenId(target, { jku: target.issuer.jwksUri }),
  'a URL of certificates in the header': (target) => stolenId(target, { x5u: `${target.evilUrl}/x5u` }),
  'certificates in the header': (target) => stolenId(target, { x5c: ['MIIBszCCAVmgAwIBAgIUFakeFakeFake'] }),
  'a thumbprint in the header': (target) => stolenId(target, { x5t: 'ZmFrZQ' }),
  'a key id that is a path': (target) => stolenId(target, { kid: '../../../../dev/null' }),
  'a key id that is SQL': (target) => stolenId(target, { kid: "x' UNION SELECT 'key';--" }),
  'a key id that is a command': (target) => stolenId(target, { kid: '$(id)|/bin/sh' }),
  'a key id that is a URL': (target) => stolenId(target, { kid: `${target.evilUrl}/kid` }),
  'a key id of an object’s prototype': (target) => stolenId(target, { kid: '__proto__' }),
  'an empty key id': (target) => stolenId(target, { kid: '' }),
  'a key id of 4,000 characters': (target) => stolenId(target, { kid: 'k'.repeat(4_000) }),
  'a key id that is a number': (target) => stolenId(target, { kid: 1 }),
  'a key id that is a list': (target) => stolenId(target, { kid: [own(target)] }),
  'no key id': (target) => stolenId(target, { kid: undefined }),
  'an unknown critical parameter': () => ({ header: { crit: ['vendor'], vendor: true } }),
  'a critical parameter that is missing': () => ({ header: { crit: ['vendor'] } }),
  'a critical parameter that is the issuer’s claim': () => ({ header: { crit: ['exp'], exp: 1 } }),
  'an empty list of critical parameters': () => ({ header: { crit: [] } }),
  'critical parameters as a text': () => ({ header: { crit: 'exp' } }),
  'an unencoded payload (RFC 7797)': () => ({ header: { crit: ['b64'], b64: false } }),
})

const encodings = mangled({
  'no signature': (header, payload) => `${header}.${payload}.`,
  'alg none in the header of an honest token': (_header, payload, signature) =>
    `${encode({ alg: 'none' })}.${payload}.${signature}`,
  'a signature of zeros': (header, payload) =>
    `${header}.${payload}.${Buffer.alloc(64).toString('base64url')}`,
  'half of the signature': (header, payload, signature) =>
    `${header}.${payload}.${signature.slice(0, signature.length / 2)}`,
  'more bytes after the signature': (header, payload, signature) => `${header}.${payload}.${signature}AAAA`,
  'the signature of another token': (header, payload, signature) =>
    `${header}.${Buffer.from(`${Buffer.from(payload, 'base64url').toString().slice(0, -1)},"admin":true}`).toString('base64url')}.${signature}`,
  'four parts': (header, payload, signature) => `${header}.${payload}.${signature}.${signature}`,
  'five parts, as an encrypted token': (header, payload, signature) =>
    `${header}..${payload}.${signature}.AAAA`,
  'two parts': (header, payload) => `${header}.${payload}`,
  'an empty payload': (header, _payload, signature) => `${header}..${signature}`,
  'an empty header': (_header, payload, signature) => `.${payload}.${signature}`,
  'a header that is not JSON': (_header, payload, signature) =>
    `${Buffer.from('{alg').toString('base64url')}.${payload}.${signature}`,
  'a header that is null': (_header, payload, signature) => `${encode(null)}.${payload}.${signature}`,
  'a header that is a list': (_header, payload, signature) =>
    `${encode([{ alg: 'ES256' }])}.${payload}.${signature}`,
  'another alphabet': (header, payload, signature) => `${header}.${payload}.${signature.slice(0, -2)}+/`,
})

const audiences = claimed('audience_mismatch', {
  'no audience': { aud: undefined },
  'a null audience': { aud: null },
  'an empty audience': { aud: '' },
  'an empty list of audiences': { aud: [] },
  'another audience': { aud: 'https://other.example.com' },
  'an audience that is a number': { aud: 42 },
  'an audience that is an object': { aud: { 0: 'x' } },
  'a list in the list of audiences': { aud: [[AUDIENCE]] },
})
/** Audiences that are made from the right one. */
const likeAudiences: Attack[] = Object.entries({
  'several audiences': (audience: string) => [audience, 'https://other.example.com'],
  'several audiences, the right one last': (audience: string) => ['https://other.example.com', audience],
  'the right audience twice': (audience: string) => [audience, audience],
  'the audience with a slash': (audience: string) => `${audience}/`,
  'the audience with a path': (audience: string) => `${audience}/register`,
  'the audience in upper case': (audience: string) => audience.toUpperCase(),
  'the audience with a space': (audience: string) => ` ${audience}`,
  'the beginning of the audience': (audience: string) => audience.slice(0, -1),
  'the audience and another in one text': (audience: string) => `${audience} https://other.example.com`,
}).map(([name, aud]) => ({
  ...{ name, code: 'audience_mismatch' },
  jwt: ({ issuer, claims, audience }) => issuer.sign({ ...claims, aud: aud(audience) }),
}))

const times = [
  ...claimed('token_expired', {
    'expired two minutes ago': () => ({ iat: seconds() - 420, exp: seconds() - 120 }),
    'expired two days ago': () => ({ iat: seconds() - 173_000, exp: seconds() - 172_800 }),
  }),
  ...claimed('invalid_token', {
    'no expiry': { exp: undefined },
    'no time of issue': { iat: undefined },
    'ten years': () => ({ exp: seconds() + 315_360_000 }),
    'more than a day': () => ({ exp: seconds() + 86_410 }),
    'more than a day in all, an hour of it left': () => ({ iat: seconds() - 86_400, exp: seconds() + 3_600 }),
    'issued in two minutes': () => ({ iat: seconds() + 120, exp: seconds() + 420 }),
    'valid from two minutes on': () => ({ nbf: seconds() + 120 }),
    'a time of issue before the epoch': { iat: -1 },
    'an expiry that is a text': () => ({ exp: String(seconds() + 300) }),
    'an expiry that is a list': () => ({ exp: [seconds() + 300] }),
    'an expiry that is null': { exp: null },
    'an expiry that is true': { exp: true },
    'an expiry that is an object': { exp: {} },
    'a huge expiry': { exp: 1e300 },
    'an expiry in milliseconds': () => ({ exp: Date.now() + 300_000 }),
    'a time of issue that is a text': () => ({ iat: String(seconds()) }),
    'a time of issue that is null': { iat: null },
    'a time of issue in milliseconds': () => ({ iat: Date.now() }),
    'a start that is a text': { nbf: '0' },
    'a start that is null': { nbf: null },
  }),
  ...written('invalid_token', {
    'an infinite expiry': (json) => json.replace(/"exp":\d+/, '"exp":1e999'),
    'an infinite time of issue': (json) => json.replace(/"iat":\d+/, '"iat":-1e999'),
  }),
]

const types = [
  ...claimed('invalid_token', {
    'no subject': { sub: undefined },
    'a null subject': { sub: null },
    'an empty subject': { sub: '' },
    'a subject that is a number': { sub: 42 },
    'a subject that is a list': { sub: ['caller'] },
    'a subject that is an object': { sub: { id: 'caller' } },
    'no id of the token, which may be used once': { jti: undefined },
    'an empty id of the token': { jti: '' },
    'an id of the token that is a number': { jti: 42 },
    'an id of the token that is a list': { jti: ['42'] },
    'an id of the token that is null': { jti: null },
  }),
  ...written('invalid_token', {
    'a payload that is null': () => 'null',
    'a payload that is a list': (json) => `[${json}]`,
    'a payload that is a text': (json) => JSON.stringify(json),
    'a payload that is not JSON': () => 'iss=x&aud=y',
    'a payload that ends too early': (json) => json.slice(0, -1),
    'two payloads': (json) => `${json}${json}`,
    'an empty object': () => '{}',
  }),
]

const issuers: Attack[] = [
  ...claimed('issuer_not_trusted', {
    'an issuer that is not trusted': { iss: 'https://token.example.com' },
    'an issuer at a metadata address': { iss: 'http://169.254.169.254/latest' },
    'an issuer that is a file': { iss: 'file:///etc/passwd' },
    'an issuer that is a prototype': { iss: '__proto__' },
  }),
  ...Object.entries({
    'the issuer with a slash': (url: string) => `${url}/`,
    'the issuer in upper case': (url: string) => url.toUpperCase(),
    'the issuer with a dot': (url: string) => `${url}/.`,
    'the issuer with a query': (url: string) => `${url}?`,
    'the issuer with a user': (url: string) => url.replace('//', '//evil@'),
    'the issuer with a space': (url: string) => `${url} `,
    'the issuer as https': (url: string) => url.replace('http:', 'https:'),
  }).map(([name, iss]) => ({
    ...{ name, code: 'issuer_not_trusted' as const },
    jwt: ({ issuer, claims }: Target) => issuer.sign({ ...claims, iss: iss(issuer.url) }),
  })),
  {
    ...{ name: 'an issuer of the attacker', code: 'issuer_not_trusted' },
    jwt: ({ issuer, claims, evilUrl }) => issuer.sign({ ...claims, iss: evilUrl }, { key: attacker }),
  },
]

const lookAlikes = [
  ...claimed('identity_not_allowed', {
    'a longer id': { repository_id: '420' },
    'a shorter id': { repository_id: '4' },
    'an id with a space before it': { repository_id: ' 42' },
    'an id with a space after it': { repository_id: '42 ' },
    'an id with a line break': { repository_id: '42\n' },
    'an id with a zero byte': { repository_id: '42\0' },
    'an id that is a number': { repository_id: 42 },
    'an id in a list': { repository_id: ['42'] },
    'an id in an object': { repository_id: { repository_id: '42' } },
    'an id in a list of several': { repository_id: ['42', '43'] },
    'an id with a zero before it': { repository_id: '042' },
    'an id with a sign': { repository_id: '+42' },
    'an id with a fraction': { repository_id: '42.0' },
    'an id in fullwidth digits': { repository_id: '４２' },
    'an id in Arabic digits': { repository_id: '٤٢' },
    'an id with an invisible character': { repository_id: '4\u200b2' },
    'an id with a direction mark': { repository_id: '\u202e42' },
    'no id': { repository_id: undefined },
    'a null id': { repository_id: null },
    'an id that is true': { repository_id: true },
    'an empty id': { repository_id: '' },
    'an id that is a wildcard': { repository_id: '*' },
    'an environment in another case': { environment: 'Prod' },
    'an environment in Cyrillic': { environment: 'prоd' },
    'an environment with a combining mark': { environment: 'prod\u0301' },
    'an environment in fullwidth letters': { environment: 'ｐｒｏｄ' },
    'a longer environment': { environment: 'production' },
    'an environment in a list': { environment: ['prod'] },
    'both environments in a list': { environment: ['prod', 'staging'] },
    'both environments in one text': { environment: 'prod,staging' },
    'an environment that is a wildcard': { environment: 'p*' },
    'a branch of another kind': { ref: 'refs/tags/main' },
    'a prefix that is not at the beginning': { ref: 'x/refs/heads/main' },
    'a prefix without its slash': { ref: 'refs/heads' },
    'a prefix that goes on without its slash': { ref: 'refs/headsmain' },
    'a prefix in another case': { ref: 'Refs/heads/main' },
    'a prefix that is a list': { ref: ['refs/heads/main'] },
    'a boolean as a text': { ref_protected: 'true' },
    'a boolean as a number': { ref_protected: 1 },
    'a boolean in a list': { ref_protected: [true] },
    'a false one': { ref_protected: false },
  }),
  ...written('identity_not_allowed', {
    'a second id, which is another': (json) =>
      json.replace('"repository_id":"42"', '"repository_id":"42","repository_id":"43"'),
    'the id only in the prototype': (json) =>
      json.replace('"repository_id":"42"', '"__proto__":{"repository_id":"42"}'),
    'the id only under another name': (json) => json.replace('"repository_id"', '"Repository_id"'),
    'the id only under a name with a space': (json) => json.replace('"repository_id"', '"repository_id "'),
  }),
]

/** Every attack by one JWT. */
export const attacks: readonly Attack[] = [
  ...[...algorithms, unpinned, ...headerKeys, ...encodings],
  ...[...audiences, ...likeAudiences, ...times, ...types, ...issuers, ...lookAlikes],
]

/** JWTs that look odd and are right: each must be accepted. */
export const oddities: readonly { readonly name: string; jwt(target: Target): string }[] = [
  {
    name: 'the audience in a list of one',
    jwt: ({ issuer, claims, audience }) => issuer.sign({ ...claims, aud: [audience] }),
  },
  {
    name: 'expired within the leeway',
    jwt: ({ issuer, claims }) => issuer.sign({ ...claims, iat: seconds() - 300, exp: seconds() - 20 }),
  },
  {
    name: 'issued by a clock that is a little ahead',
    jwt: ({ issuer, claims }) => issuer.sign({ ...claims, iat: seconds() + 20, nbf: seconds() + 20 }),
  },
  {
    name: 'a day long',
    jwt: ({ issuer, claims }) =>
      issuer.sign({ ...claims, iat: seconds() - 10, exp: seconds() - 10 + 86_400 }),
  },
  {
    name: 'without typ',
    jwt: ({ issuer, claims }) => issuer.sign(claims, { header: { typ: undefined } }),
  },
]
