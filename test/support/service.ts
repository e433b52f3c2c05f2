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
import type { Meter } from '../../src/meter.ts'
import { defaultTiming, type Timing } from '../../src/registration/timing.ts'
import { SERVICE } from '../../src/store/audit.ts'
import type { BootstrapToken, TokenPolicy } from '../../src/store/records.ts'
import { watchResponses } from './openapi/documented.ts'
import { allowOnlyService, rememberGateway } from './service-policy.ts'

/** Returns the environment variables of a server that uses `gateway`, with the gateway's demo credentials. */
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

/** Creates a folder that is deleted at the end of the test. */
export function tempDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'firstkey-test-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** Starts a local gateway that stops at the end of the test. */
export async function testGateway(t: TestContext, options: Partial<GatewayOptions> = {}): Promise<Gateway> {
  const gateway = await startGateway(options)
  t.after(rememberGateway(gateway))
  t.after(() => gateway.close())
  return gateway
}

export interface Service {
  readonly url: string
  readonly deps: Deps
  readonly app: FastifyInstance
  readonly gateway: Gateway
  /** The folder of the store file. */
  readonly dataDir: string
  /** All log lines so far. */
  readonly logLines: string[]
  /** Creates a bootstrap token; the policy defaults to {@link unlimitedPolicy}. */
  token(policy?: Partial<TokenPolicy>): Promise<{ secret: string; token: BootstrapToken }>
  /** Sends `POST /register`. */
  register(secret: string, body?: unknown, headers?: Record<string, string>): Promise<Response>
}

export interface ServiceOptions {
  readonly env?: Record<string, string>
  readonly gateway?: Partial<GatewayOptions>
  /** The clock of the service, and of its gateway unless that has one of its own. */
  readonly clock?: Clock
  /** Another service of the same test, whose gateway and store file this one shares. */
  readonly beside?: Service
  readonly timing?: Partial<Timing>
  readonly meter?: Meter
}

/**
 * Starts the whole service on a real socket, with a store file and a local gateway, which allows only what the generated IAM
 * policy does. It stops at the end of the test, which
 * fails if a response was not as the OpenAPI document says.
 */
export async function startService(t: TestContext, options: ServiceOptions = {}): Promise<Service> {
  const clock = options.clock ?? systemClock
  // `Date` is cut to whole seconds: a second ahead, a time that has come by the test's clock has come by the gateway's.
  const soon = () => clock() + 1_000
  const gateway = options.beside?.gateway ?? (await testGateway(t, { clock: soon, ...options.gateway }))
  const dataDir = options.beside?.dataDir ?? tempDir(t)
  const env = { ...serverEnv(gateway, dataDir), ...options.env }
  allowOnlyService(gateway, env)
  // The SDK reads its credentials from the environment of this process.
  process.env['AWS_ACCESS_KEY_ID'] = env['AWS_ACCESS_KEY_ID']
  process.env['AWS_SECRET_ACCESS_KEY'] = env['AWS_SECRET_ACCESS_KEY']
  const logLines: string[] = []
  const log = createLogger('trace', { write: (line) => void logLines.push(line) })
  const timing = { ...defaultTiming, ...options.timing }
  const deps = await createDeps(readConfig(env), log, { clock, timing, meter: options.meter ?? null })
  const app = await buildApp(deps)
  const undocumented = watchResponses(app)
  const upkeep = deps.pool?.start()
  const url = await app.listen({ host: '127.0.0.1', port: deps.config.port })
  t.after(async () => {
    await app.close()
    await upkeep?.stop()
    await deps.close()
    assert.deepEqual([...undocumented], [], 'every response is as the OpenAPI document says')
  })
  return {
    url,
    deps,
    app,
    gateway,
    dataDir,
    logLines,
    token: (policy) => issueBootstrapToken(deps.store, { ...unlimitedPolicy, ...policy }, SERVICE, clock()),
    register: (secret, body = { name: 'acme-agent' }, headers = {}) =>
      fetch(`${url}/register`, {
        method: 'POST',
        headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      }),
  }
}

/** A token policy without limits. */
export const unlimitedPolicy: TokenPolicy = {
  label: 'test',
  plans: [],
  maxUses: null,
  expiresAt: null,
  keyTtlMs: null,
  namePrefix: '',
  ratePerMinute: null,
}

export const registeredSchema = z.looseObject({
  registration_id: z.string(),
  api_key_id: z.string(),
  api_key_value: z.string(),
  expires_at: z.string().nullable(),
  management: z.object({ token: z.string(), url: z.string() }),
})

/** The part of the response to a registration that tests use. */
export type Registered = z.infer<typeof registeredSchema>

/** Registers, and returns the credential. @param secret the bootstrap token; if omitted, a new one with `policy` */
export async function registered(
  service: Service,
  policy: Partial<TokenPolicy> = {},
  headers: Record<string, string> = {},
  secret?: string,
): Promise<Registered> {
  const answer = await service.register(secret ?? (await service.token(policy)).secret, undefined, headers)
  const body = await answer.text()
  assert.equal(answer.status, 201, body)
  return registeredSchema.parse(JSON.parse(body))
}

/** Sends a request to `/register/{id}` or a path below it, with the management token. */
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

/** Returns the status with which the API responds to a request with this key. */
export async function dataPlane({ deps }: Pick<Service, 'deps'>, apiKey: string): Promise<number> {
  return (await fetch(deps.config.apiBaseUrl, { headers: { 'x-api-key': apiKey } })).status
}
