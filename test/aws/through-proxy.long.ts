import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { defaultGatewayOptions } from '../../emulator/options.ts'
import { createApiGateway } from '../../src/aws/api-gateway.ts'
import { readStoreLocation } from '../../src/config.ts'
import { createLogger } from '../../src/log.ts'
import { connect } from '../../src/store/dynamodb/connection.ts'
import { type ForwardProxy, startForwardProxy } from '../support/forward-proxy.ts'
import { fastTiming } from '../support/invariants.ts'
import { readProblem } from '../support/problem.ts'
import { startProgram } from '../support/server-process.ts'
import { registered, serverEnv, startService, tempDir, testGateway } from '../support/service.ts'
import { startTlsFront } from '../support/tls-front.ts'

const { accessKeyId, secretAccessKey, region } = defaultGatewayOptions

/** Sets variables of this process until the test ends: the SDK reads them there. */
function useEnv(t: TestContext, env: Record<string, string | undefined>): void {
  for (const [name, value] of Object.entries(env)) {
    const before = process.env[name]
    t.after(() => {
      if (before === undefined) delete process.env[name]
      else process.env[name] = before
    })
    if (value === undefined) delete process.env[name]
    else process.env[name] = value
  }
}

/** The URL of a proxy with credentials that a log must not have. */
const withCredentials = ({ host }: ForwardProxy) => `http://operator:s3cret%40@${host}`
const AUTHORIZATION = `Basic ${Buffer.from('operator:s3cret@').toString('base64')}`

test('with HTTPS_PROXY all calls to API Gateway and all probes take a CONNECT tunnel, by names that only the proxy knows', async (t) => {
  const gateway = await testGateway(t)
  const front = await startTlsFront(t, 'gateway.example', gateway.url)
  setDefaultCACertificates([...getCACertificates(), front.certificate])
  const proxy = await startForwardProxy(t)
  const origin = `https://gateway.example:${front.port}`
  const service = await startService(t, {
    env: {
      HTTPS_PROXY: withCredentials(proxy),
      AWS_ENDPOINT_URL_API_GATEWAY: origin,
      API_BASE_URL: `${origin}/execute-api/demo/prod`,
      API_PROBE_PATH: '/hello',
    },
  })
  const { secret } = await service.token()
  const answer = await service.register(secret, { name: 'a' }, { prefer: 'wait=20' })
  assert.equal(answer.status, 201, service.logLines.join(''))
  assert.equal(((await answer.json()) as { ready: boolean }).ready, true)
  assert.deepEqual(new Set(proxy.requests), new Set([`CONNECT gateway.example:${front.port}`]))
  assert.deepEqual(new Set(proxy.authorizations), new Set([AUTHORIZATION]))
  assert.doesNotMatch(service.logLines.join(''), /s3cret/)
})

test('with HTTP_PROXY an http:// endpoint is requested by its absolute URL, and NO_PROXY leaves the proxy out', async (t) => {
  const gateway = await testGateway(t)
  const proxy = await startForwardProxy(t)
  const proxies = { http_proxy: withCredentials(proxy), NO_PROXY: '127.0.0.0/8,.internal' }
  const { port } = new URL(gateway.url)
  const env = { ...proxies, AWS_ENDPOINT_URL_API_GATEWAY: `http://gateway.example:${port}` }
  const service = await startService(t, { env })
  await registered(service)
  await service.deps.mintQueue.settled()
  const created = proxy.requests.filter((one) => one.startsWith('POST'))
  assert.equal(created[0], `POST http://gateway.example:${port}/apikeys`)
  assert.deepEqual(new Set(proxy.authorizations), new Set([AUTHORIZATION]))
  const through = proxy.requests.length
  await registered(await startService(t, { env: { ...proxies, AWS_ENDPOINT_URL_API_GATEWAY: gateway.url } }))
  assert.equal(proxy.requests.length, through)
})

test('calls to DynamoDB take the proxy', async (t) => {
  const proxy = await startForwardProxy(t)
  proxy.behaviour = 407
  useEnv(t, { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey })
  const location = readStoreLocation({
    STORE: 'dynamodb:table',
    AWS_REGION: region,
    AWS_ENDPOINT_URL_DYNAMODB: 'http://dynamodb.example:8000',
    HTTP_PROXY: proxy.url,
  })
  assert.ok(location.kind === 'dynamodb')
  const { client, get } = connect(location)
  t.after(() => client.destroy())
  await assert.rejects(get({ pk: 'a', sk: 'b' }), /./)
  assert.equal(proxy.requests[0], 'POST http://dynamodb.example:8000/')
})

test('the credentials of a role come from STS through the proxy', async (t) => {
  const gateway = await testGateway(t)
  const proxy = await startForwardProxy(t)
  const sts = createServer((request, response) => {
    const expires = new Date(Date.now() + 3_600_000).toISOString()
    const fields = `<AccessKeyId>${accessKeyId}</AccessKeyId><SecretAccessKey>${secretAccessKey}</SecretAccessKey><SessionToken>s</SessionToken><Expiration>${expires}</Expiration>`
    const result = `<AssumeRoleWithWebIdentityResult><Credentials>${fields}</Credentials></AssumeRoleWithWebIdentityResult>`
    request.resume().once('end', () => {
      response.setHeader('content-type', 'text/xml')
      response.end(`<AssumeRoleWithWebIdentityResponse>${result}</AssumeRoleWithWebIdentityResponse>`)
    })
  })
  sts.listen(0, '127.0.0.1')
  await once(sts, 'listening')
  t.after(() => {
    sts.closeAllConnections()
    sts.close()
  })
  const token = join(tempDir(t), 'token')
  writeFileSync(token, 'jwt')
  const stsUrl = `http://sts.example:${(sts.address() as AddressInfo).port}`
  useEnv(t, {
    AWS_ACCESS_KEY_ID: undefined,
    AWS_SECRET_ACCESS_KEY: undefined,
    AWS_CONTAINER_CREDENTIALS_FULL_URI: undefined,
    AWS_WEB_IDENTITY_TOKEN_FILE: token,
    AWS_ROLE_ARN: 'arn:aws:iam::123456789012:role/firstkey',
    AWS_ENDPOINT_URL_STS: stsUrl,
  })
  const access = createApiGateway({
    region,
    endpoint: `http://gateway.example:${new URL(gateway.url).port}`,
    callTimeoutMs: 6_000,
    callsPerSecond: 0,
    proxies: { HTTP_PROXY: proxy.url },
    log: createLogger('silent'),
    observeDate: () => undefined,
  })
  t.after(() => access.close())
  await access.apiGateway.findKeys('', AbortSignal.timeout(20_000))
  assert.equal(proxy.requests[0], `POST ${stsUrl}/`)
  assert.match(proxy.requests[1] ?? '', /^GET http:\/\/gateway\.example:\d+\/apikeys/)
})

/** The ways in which a process on EC2, and in a container, gets its credentials from its own machine. */
const metadata: [title: string, variables: (url: string) => Record<string, string>][] = [
  ['EC2', (url) => ({ AWS_EC2_METADATA_SERVICE_ENDPOINT: url })],
  ['container', (url) => ({ AWS_CONTAINER_CREDENTIALS_FULL_URI: `${url}/credentials` })],
]
for (const [title, variables] of metadata)
  for (const nodeUsesProxy of [false, true])
    test(`the ${title} metadata service is asked directly${nodeUsesProxy ? ', also with NODE_USE_ENV_PROXY' : ''}`, async (t) => {
      const gateway = await testGateway(t)
      const proxy = await startForwardProxy(t)
      const asked: string[] = []
      const server = createServer((request, response) => {
        asked.push(request.url ?? '')
        if (request.method === 'PUT') return void response.end('token')
        if (request.url?.endsWith('/security-credentials/')) return void response.end('role')
        const Expiration = new Date(Date.now() + 6 * 3_600_000).toISOString()
        const keys = { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, Token: 's', Expiration }
        response.setHeader('content-type', 'application/json')
        response.end(JSON.stringify({ Code: 'Success', ...keys }))
      })
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      t.after(() => {
        server.closeAllConnections()
        server.close()
      })
      const { AWS_ACCESS_KEY_ID: _, AWS_SECRET_ACCESS_KEY: __, ...env } = serverEnv(gateway, tempDir(t))
      const { port } = new URL(gateway.url)
      const started = startProgram(t, 'src/main.ts', [], {
        ...env,
        ...variables(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
        ...(nodeUsesProxy ? { NODE_USE_ENV_PROXY: '1' } : {}),
        HTTP_PROXY: proxy.url,
        AWS_ENDPOINT_URL_API_GATEWAY: `http://gateway.example:${port}`,
      })
      await started.seen(/listening/)
      assert.ok(asked.length > 0)
      assert.ok(proxy.requests.length > 0)
      for (const one of proxy.requests) assert.match(one, /gateway\.example/)
    })

const failures: [
  title: string,
  behaviour: ForwardProxy['behaviour'] | 'down',
  status: number,
  code: string,
][] = [
  ['does not exist', 'down', 503, 'upstream_unavailable'],
  ['never answers', 'stalls', 503, 'upstream_unavailable'],
  ['requires other credentials', 407, 502, 'upstream_misconfigured'],
  ['refuses the host', 403, 502, 'upstream_misconfigured'],
]
for (const [title, behaviour, status, code] of failures)
  test(`a proxy that ${title}: ${status} ${code}, and the log names it without its credentials`, async (t) => {
    const proxy = await startForwardProxy(t)
    const url = behaviour === 'down' ? 'http://operator:s3cret%40@127.0.0.1:1' : withCredentials(proxy)
    if (behaviour !== 'down') proxy.behaviour = behaviour
    const service = await startService(t, {
      env: {
        HTTPS_PROXY: url,
        AWS_ENDPOINT_URL_API_GATEWAY: 'https://gateway.example:9',
        REGISTER_TIMEOUT_MS: '5000',
      },
      timing: fastTiming,
    })
    const { secret } = await service.token()
    const answer = await service.register(secret)
    assert.equal(answer.status, status)
    assert.equal((await readProblem(answer)).code, code)
    const log = service.logLines.join('')
    assert.match(log, new RegExp(`through the proxy ${new URL(url).host}`))
    assert.doesNotMatch(log, /s3cret/)
  })
