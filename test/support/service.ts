import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { type Gateway, startGateway } from '../../emulator/gateway.ts'
import { defaultGatewayOptions, type GatewayOptions } from '../../emulator/options.ts'
import { buildApp } from '../../src/app.ts'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { type Clock, systemClock } from '../../src/clock.ts'
import { readConfig } from '../../src/config.ts'
import { createDeps, type Deps } from '../../src/deps.ts'
import { createLogger } from '../../src/log.ts'
import { defaultTiming, type Timing } from '../../src/registration/timing.ts'
import { SERVICE } from '../../src/store/audit.ts'
import type { BootstrapToken, TokenPolicy } from '../../src/store/records.ts'
import { watchAnswers } from './openapi/documented.ts'

/** The environment of a server that uses `gateway`; the demo credentials are the SDK's for the whole test process. */
export function serverEnv(gateway: Gateway, dataDir: string): Record<string, string> {
  return {
    AWS_REGION: defaultGatewayOptions.region,
    AWS_ACCESS_KEY_ID: defaultGatewayOptions.accessKeyId,
    AWS_SECRET_ACCESS_KEY: defaultGatewayOptions.secretAccessKey,
    AWS_ENDPOINT_URL_API_GATEWAY: gateway.url,
    USAGE_PLANS: 'free=demofree,gold=demogold',
    API_BASE_URL: `${gateway.url}/execute-api/demo/prod/hello`,
    STORE: `sqlite:${join(dataDir, 'firstkey.db')}`,
    RATE_LIMIT_PER_IP: '0',
    AWS_CALLS_PER_SECOND: '0',
    PORT: '0',
  }
}

/** A folder that goes with the test. */
export function tempDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'firstkey-test-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** A local gateway that stops with the test. */
export async function testGateway(t: TestContext, options: Partial<GatewayOptions> = {}): Promise<Gateway> {
  const gateway = await startGateway(options)
  t.after(() => gateway.close())
  return gateway
}

export interface Service {
  readonly url: string
  readonly deps: Deps
  readonly app: FastifyInstance
  readonly gateway: Gateway
  /** Where the store is. */
  readonly dataDir: string
  /** Every log line so far. */
  readonly logLines: string[]
  /** Makes a bootstrap token. */
  token(policy?: Partial<TokenPolicy>): Promise<{ secret: string; token: BootstrapToken }>
  /** `POST /register` over a real socket. */
  register(secret: string, body?: unknown, headers?: Record<string, string>): Promise<Response>
}

export interface ServiceOptions {
  readonly env?: Record<string, string>
  readonly gateway?: Partial<GatewayOptions>
  readonly clock?: Clock
  /** A gateway and a folder to share with another service of the same test. */
  readonly beside?: Service
  readonly timing?: Partial<Timing>
}

/**
 * The whole service on a real socket, with a real store file, against a local gateway. Ends with the test, which fails if
 * the service answered what its OpenAPI document does not say.
 */
export async function startService(t: TestContext, options: ServiceOptions = {}): Promise<Service> {
  const gateway = options.beside?.gateway ?? (await testGateway(t, options.gateway))
  const dataDir = options.beside?.dataDir ?? tempDir(t)
  const env = { ...serverEnv(gateway, dataDir), ...options.env }
  process.env['AWS_ACCESS_KEY_ID'] = env['AWS_ACCESS_KEY_ID']
  process.env['AWS_SECRET_ACCESS_KEY'] = env['AWS_SECRET_ACCESS_KEY']
  const clock = options.clock ?? systemClock
  const logLines: string[] = []
  const log = createLogger('trace', { write: (line) => void logLines.push(line) })
  const timing = { ...defaultTiming, ...options.timing }
  const deps = await createDeps(readConfig(env), log, { clock, timing })
  const app = await buildApp(deps)
  const undocumented = watchAnswers(app)
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  t.after(async () => {
    await app.close()
    await deps.close()
    assert.deepEqual([...undocumented], [], 'every answer is as the OpenAPI document says')
  })
  return {
    url,
    deps,
    app,
    gateway,
    dataDir,
    logLines,
    token: (policy) => issueBootstrapToken(deps.store, { ...anyUse, ...policy }, SERVICE, clock()),
    register: (secret, body = { name: 'acme-agent' }, headers = {}) =>
      fetch(`${url}/register`, {
        method: 'POST',
        headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      }),
  }
}

/** A policy without any limit. */
export const anyUse: TokenPolicy = {
  label: 'test',
  plans: [],
  maxUses: null,
  expiresAt: null,
  keyTtlMs: null,
  namePrefix: '',
  ratePerMinute: null,
}

const registeredSchema = z.looseObject({
  registration_id: z.string(),
  api_key_id: z.string(),
  api_key_value: z.string(),
  expires_at: z.string().nullable(),
  management: z.object({ token: z.string(), url: z.string() }),
})

/** What a caller holds after a registration. */
export type Registered = z.infer<typeof registeredSchema>

/** Registers, with a bootstrap token of its own unless `secret` is one. */
export async function registered(
  service: Service,
  policy: Partial<TokenPolicy> = {},
  headers: Record<string, string> = {},
  secret?: string,
): Promise<Registered> {
  const answer = await service.register(secret ?? (await service.token(policy)).secret, undefined, headers)
  assert.equal(answer.status, 201)
  return registeredSchema.parse(await answer.json())
}

/** A request to `/register/{id}`, and what is under it, by its management token. */
export function manage(
  { url }: Pick<Service, 'url'>,
  { registration_id, management }: Registered,
  method: 'GET' | 'DELETE' | 'POST',
  path = '',
  body?: unknown,
  headers: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<Response> {
  return fetch(`${url}/register/${registration_id}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${management.token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  })
}

/** What the data plane answers to a key. */
export async function dataPlane({ deps }: Pick<Service, 'deps'>, apiKey: string): Promise<number> {
  return (await fetch(deps.config.apiBaseUrl, { headers: { 'x-api-key': apiKey } })).status
}
