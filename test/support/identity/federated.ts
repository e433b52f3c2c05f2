import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { AuditEntry } from '../../../src/store/audit.ts'
import type { BootstrapToken } from '../../../src/store/records.ts'
import { type Registered, type Service, type ServiceOptions, startService, tempDir } from '../service.ts'
import { type Claims, startIssuer, type TestIssuer } from './issuer.ts'

/** The audience of the identity tokens in tests. */
const AUDIENCE = 'https://keys.example.com'

export interface Grant {
  readonly plans?: readonly string[]
  readonly name?: string
  readonly key_ttl?: string
  readonly max_live?: number
  readonly on_repeat?: 'rotate' | 'refuse' | 'add'
  readonly overlap?: string
  readonly rate?: number
}

export interface FederatedOptions extends Omit<ServiceOptions, 'beside'> {
  readonly grant?: Grant
  /** The issuer's tokens can be used once; the default. */
  readonly singleUse?: boolean
  /** Another service of the same test, whose issuer, trust file, gateway and store this one shares. */
  readonly beside?: Federated
}

export interface Federated extends Service {
  readonly issuer: TestIssuer
  readonly trustFile: string
  readonly env: Record<string, string>
  /** Writes the trust file anew, and reads it. `null`: without a rule that allows anybody. */
  grant(grant: Grant | null): void
  /** Returns a fresh identity token of `team: agents`. */
  jwt(claims?: Claims): string
  /** Sends `POST /register` with an identity token and a new Idempotency-Key, unless they are given. */
  join(request?: Joining): Promise<Response>
  /** The same, and the credential of the response, which is 201. */
  joined(request?: Joining): Promise<Registered>
  /** The only virtual token. */
  virtualToken(): Promise<BootstrapToken>
  /** The audit entries, the oldest first. */
  audit(): Promise<AuditEntry[]>
}

export interface Joining {
  readonly jwt?: string
  readonly key?: string | null
  readonly name?: string
  readonly body?: object
  readonly headers?: Record<string, string>
}

/** Starts a service that trusts a test issuer: the callers with `team: agents` may register. */
export async function startFederated(t: TestContext, options: FederatedOptions = {}): Promise<Federated> {
  const { grant = {}, singleUse = true, beside, ...serviceOptions } = options
  const { clock } = options
  const issuer =
    beside?.issuer ??
    (await startIssuer(t, { audience: AUDIENCE, ...(clock === undefined ? {} : { clock }) }))
  const path = beside?.trustFile ?? join(tempDir(t), 'trust.json')
  const write = (granted: Grant | null) =>
    writeFileSync(
      path,
      JSON.stringify({
        audience: AUDIENCE,
        issuers: {
          ci: { kind: 'oidc', issuer: issuer.url, algorithms: ['ES256'], single_use: singleUse },
        },
        rules:
          granted === null
            ? []
            : [
                {
                  id: 'agents',
                  issuer: 'ci',
                  match: { team: 'agents' },
                  grant: { key_ttl: '24h', ...granted },
                },
              ],
      }),
    )
  if (beside === undefined) write(grant)
  const env = { ...beside?.env, ...options.env }
  const service = await startService(t, {
    ...serviceOptions,
    ...(beside === undefined ? {} : { beside }),
    env: { ...env, TRUST_FILE: path },
  })
  const jwt = (claims: Claims = {}) => issuer.sign({ sub: 'agent-1', team: 'agents', ...claims })
  const federated: Federated = {
    ...service,
    issuer,
    trustFile: path,
    env,
    grant(granted) {
      write(granted)
      assert.deepEqual(service.deps.federation?.reload().faults, [])
    },
    jwt,
    join: ({ jwt: given = jwt(), key = randomUUID(), name = 'acme-agent', body, headers } = {}) =>
      service.register(given, body ?? { name }, {
        ...(key === null ? {} : { 'idempotency-key': key }),
        ...headers,
      }),
    async joined(request) {
      const answer = await federated.join(request)
      const text = await answer.text()
      assert.equal(answer.status, 201, text)
      return JSON.parse(text)
    },
    async virtualToken() {
      const [token, ...others] = (await service.deps.store.listTokens()).filter(
        (one) => one.federation !== null,
      )
      assert.ok(token !== undefined && others.length === 0)
      return token
    },
    async audit() {
      await service.deps.refusals.flush()
      return (await service.deps.store.listAudit({ limit: 1_000 })).toReversed()
    },
  }
  return federated
}
