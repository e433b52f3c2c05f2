import {
  constants,
  createHmac,
  generateKeyPairSync,
  type KeyObject,
  randomUUID,
  type SignKeyObjectInput,
  sign as signBytes,
} from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Clock, systemClock } from '../../../src/clock.ts'

/** How the issuer answers requests for its documents. */
export type Behaviour =
  | 'up'
  /** Closes every connection without a response. */
  | 'down'
  /** Responds with 500. */
  | 'failing'
  /** Accepts a request and never responds. */
  | 'slow'
  /** Sends a document that never ends. */
  | 'huge'
  /** Redirects to {@link TestIssuer.redirectTo}. */
  | 'redirecting'
  /** Responds with HTML. */
  | 'not json'
  /** Names another issuer in its discovery document. */
  | 'other issuer'

export interface IssuerOptions {
  /** The path of the issuer's URL: `/realms/x`. */
  readonly path?: string
  /** The algorithm of the first key. */
  readonly alg?: SigningAlgorithm
  /** The audience of its tokens unless a claim says otherwise. */
  readonly audience?: string
  /** The issuer that the documents and tokens name, where that is not the address of this server: `https://…`. */
  readonly url?: string
  /** How long a token is valid (s). */
  readonly lifetime?: number
  readonly clock?: Clock
  /** Required by both documents as `Authorization: Bearer …`, as Kubernetes may require it. */
  readonly bearer?: string
}

const rsa = () => generateKeyPairSync('rsa', { modulusLength: 2048 })
const ec = (namedCurve: string) => () => generateKeyPairSync('ec', { namedCurve })
const ed25519 = () => generateKeyPairSync('ed25519')

const algorithms = {
  ...{ RS256: rsa, RS384: rsa, RS512: rsa, PS256: rsa, PS384: rsa, PS512: rsa },
  ...{ ES256: ec('P-256'), ES384: ec('P-384'), ES512: ec('P-521'), EdDSA: ed25519, Ed25519: ed25519 },
}
export type SigningAlgorithm = keyof typeof algorithms

export interface SigningKey {
  readonly kid: string
  readonly alg: SigningAlgorithm
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  /** The public key as the JWKS publishes it. */
  readonly jwk: Readonly<Record<string, unknown>>
}

export interface SignOptions {
  /** The algorithm in the header, and of the signature. `none` leaves the signature empty. */
  readonly alg?: SigningAlgorithm | 'HS256' | 'none' | (string & {})
  /** The `kid` in the header; `undefined`, if given: none. */
  readonly kid?: string | undefined
  /** More parameters of the header, or others. One that is `undefined` is left out. */
  readonly header?: Readonly<Record<string, unknown>>
  /** The key that signs; by default the issuer's newest of this algorithm. For HS256 the secret. */
  readonly key?: SigningKey | KeyObject | Buffer
}

export type Claims = Readonly<Record<string, unknown>>

export interface TestIssuer {
  /** The claim `iss` and the issuer of the discovery document: the address of this server, unless it is set to another. */
  url: string
  /** The address of this server, without the path of the issuer. */
  readonly origin: string
  /** The address of its keys, as the discovery document says it. */
  jwksUri: string
  /** How it answers from now on. */
  behaviour: Behaviour
  /** The destination of `redirecting`. */
  redirectTo: string
  /** The `Authorization` header that its documents need. */
  bearer: string | undefined
  /** The number of requests so far, by document. */
  readonly requests: { discovery: number; jwks: number }
  /** The keys that the JWKS publishes, oldest first. May be changed. */
  readonly keys: SigningKey[]
  /** JWKs that are published as they stand, besides the keys. */
  readonly extraKeys: unknown[]
  /** Returns a JWT with the claims `iss`, `aud`, `sub`, `iat`, `exp`, `jti`, and `claims` over them. One that is `undefined` is left out. */
  sign(claims?: Claims, options?: SignOptions): string
  /** Signs a payload as it stands, whether it is JSON or not. */
  signText(payload: string, options?: SignOptions): string
  /** Adds a key and returns it. */
  addKey(alg?: SigningAlgorithm): SigningKey
  /** Replaces all keys by a new one, as an issuer does when a key was stolen. */
  rotate(alg?: SigningAlgorithm): SigningKey
}

/** Creates a key pair that no issuer publishes yet. */
export function createSigningKey(alg: SigningAlgorithm = 'ES256', kid: string = randomUUID()): SigningKey {
  const { publicKey, privateKey } = algorithms[alg]()
  return {
    kid,
    alg,
    publicKey,
    privateKey,
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' },
  }
}

/**
 * Starts an issuer of identity tokens on the loopback interface, until the test ends: a discovery document, a JWKS, and tokens
 * with any header, claims and signature. The tokens are put together here by `node:crypto`, not by the library under test.
 */
export async function startIssuer(
  t: { after(close: () => void): void },
  options: IssuerOptions = {},
): Promise<TestIssuer> {
  const { path = '', alg = 'ES256', audience = 'http://localhost:3000', lifetime = 300 } = options
  const clock = options.clock ?? systemClock
  const server = createServer((request, response) => answer(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const keys = [createSigningKey(alg)]
  const keyFor = (name: string) =>
    keys.findLast((key) => key.alg === name) ?? keys.at(-1) ?? createSigningKey(alg)

  const issuer: TestIssuer = {
    url: options.url ?? `${origin}${path}`,
    origin,
    jwksUri: `${origin}${path}/jwks`,
    behaviour: 'up',
    redirectTo: 'http://169.254.169.254/latest/meta-data/',
    bearer: options.bearer,
    requests: { discovery: 0, jwks: 0 },
    keys,
    extraKeys: [],
    sign(claims = {}, signOptions) {
      const now = Math.floor(clock() / 1_000)
      const times = { iat: now, exp: now + lifetime }
      const standard = { iss: issuer.url, aud: audience, sub: 'caller', ...times, jti: randomUUID() }
      return issuer.signText(JSON.stringify({ ...standard, ...claims }), signOptions)
    },
    signText(payload, { alg: named, key: given, header = {}, ...rest } = {}) {
      const name = named ?? (given !== undefined && 'kid' in given ? given.alg : (keys.at(-1)?.alg ?? alg))
      const key = given ?? keyFor(name)
      const kid = 'kid' in rest ? rest.kid : 'kid' in key ? key.kid : keyFor(name).kid
      const protectedHeader = JSON.stringify({ alg: name, kid, typ: 'JWT', ...header })
      const input = `${encode(protectedHeader)}.${encode(payload)}`
      return `${input}.${signatureOf(name, Buffer.from(input), 'privateKey' in key ? key.privateKey : key)}`
    },
    addKey(name = alg) {
      const key = createSigningKey(name)
      keys.push(key)
      return key
    },
    rotate(name = alg) {
      keys.length = 0
      return issuer.addKey(name)
    },
  }

  function answer(request: IncomingMessage, response: ServerResponse): void {
    const document = request.url === `${path}/jwks` ? 'jwks' : 'discovery'
    if (document === 'discovery' && request.url !== `${path}/.well-known/openid-configuration`) {
      response.writeHead(404).end()
      return
    }
    issuer.requests[document]++
    if (issuer.bearer !== undefined && request.headers.authorization !== `Bearer ${issuer.bearer}`) {
      response.writeHead(401).end()
      return
    }
    const discovery = {
      issuer: issuer.behaviour === 'other issuer' ? `${issuer.url}/other` : issuer.url,
      jwks_uri: issuer.jwksUri,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: [...new Set(keys.map((key) => key.alg))],
    }
    const body =
      document === 'jwks' ? { keys: [...keys.map(({ jwk }) => jwk), ...issuer.extraKeys] } : discovery
    behave(issuer, request, response, JSON.stringify(body))
  }
  return issuer
}

function behave(issuer: TestIssuer, request: IncomingMessage, response: ServerResponse, body: string): void {
  switch (issuer.behaviour) {
    case 'down':
      request.socket.destroy()
      break
    case 'failing':
      response.writeHead(500).end('{}')
      break
    case 'slow':
      break
    case 'huge':
      flood(response.writeHead(200, { 'content-type': 'application/json' }), body.slice(0, -1))
      break
    case 'redirecting':
      response.writeHead(302, { location: issuer.redirectTo }).end()
      break
    case 'not json':
      response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Welcome</h1>')
      break
    case 'up':
    case 'other issuer':
      response.writeHead(200, { 'content-type': 'application/json' }).end(body)
  }
}

function flood(response: ServerResponse, first: string): void {
  response.write(first)
  const more = () => {
    while (!response.destroyed && response.write(' '.repeat(65_536)));
  }
  response.on('drain', more).on('error', () => undefined)
  more()
}

const encode = (text: string) => Buffer.from(text).toString('base64url')

/** Signs as RFC 7518 says. An algorithm that is none of its names is signed with RS256 or ES256, as the key allows. */
function signatureOf(alg: string, input: Buffer, key: KeyObject | Buffer): string {
  if (alg.toLowerCase() === 'none') return ''
  if (Buffer.isBuffer(key)) return createHmac('sha256', key).update(input).digest('base64url')
  const digest = key.asymmetricKeyType === 'ed25519' ? null : `sha${alg.match(/384|512/)?.[0] ?? 256}`
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
  const options: SignKeyObjectInput = { key, dsaEncoding: 'ieee-p1363', ...(alg.startsWith('PS') ? pss : {}) }
  return signBytes(digest, input, options).toString('base64url')
}
