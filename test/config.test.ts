import assert from 'node:assert/strict'
import { homedir } from 'node:os'
import { test } from 'node:test'
import { ConfigError, ownPaths, readConfig, readGatewayConfig, readStoreLocation } from '../src/config.ts'

const minimal = {
  AWS_REGION: 'eu-west-1',
  USAGE_PLAN_ID: 'abc123',
  API_BASE_URL: 'https://api.example.com/v1',
}

function faults(env: Record<string, string>): string {
  try {
    readConfig(env)
  } catch (error) {
    assert.ok(error instanceof ConfigError)
    return error.message
  }
  return ''
}

test('three variables are enough', () => {
  const config = readConfig(minimal)
  assert.deepEqual(config.plans, [{ name: 'default', usagePlanId: 'abc123' }])
  assert.deepEqual(config.store, { kind: 'sqlite', path: './data/firstkey.db' })
  assert.equal(config.publicUrl, 'http://localhost:3000')
  assert.equal(config.trustProxy, false)
  assert.ok(Object.isFrozen(config))
})

test('an empty environment reports every required variable at once', () => {
  const message = faults({})
  for (const name of Object.keys(minimal)) assert.match(message, RegExp(`^  ${name} is required`, 'm'))
})

test('every fault is reported with its variable and with a valid value', () => {
  const wrong = {
    PORT: '70000',
    LOG_LEVEL: 'loud',
    PUBLIC_URL: 'example.com',
    TRUST_PROXY: 'yes',
    AWS_REGION: 'Ireland',
    USAGE_PLANS: 'gold',
    STORE: 'postgres://x',
    API_BASE_URL: 'ftp://x',
    RATE_LIMIT_PER_IP: '-1',
    REGISTER_TIMEOUT_MS: '60000',
  }
  const message = faults(wrong)
  for (const name of Object.keys(wrong))
    assert.match(message, RegExp(`^  ${name} .*(for example|one of) \\S`, 'm'))
})

test('a fault shows the value, with escapes for what cannot be seen, and without secrets', () => {
  const keys = { AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE', AWS_SECRET_ACCESS_KEY: 'wJalr/bPx\r' }
  for (const [name, value, shown] of [
    ['PORT', '70000', '"70000"'],
    ['LOG_LEVEL', 'loud\r', '"loud\\r"'],
    ['AWS_REGION', ' eu west 1 ', '" eu west 1 "'],
    ['STORE', 'postgres://me:hunter2@db/x', '"postgres://***@db/x"'],
    ['PUBLIC_URL', 'https://me:hunter2@x', '"https://***@x"'],
    [
      'MINT_MODE',
      'a\u001b[31m\u202eb\u00a0\u200b\u009b\u{e0041}',
      '"a\\u001b[31m\\u{202e}b\\u{a0}\\u{200b}\\u{9b}\\u{e0041}"',
    ],
    ['QUEUE_MAX', `fkb_${'a'.repeat(40)}`, '"[redacted]"'],
    ['USAGE_PLAN_ID', `-${'a b'.repeat(1_000)}`, `"-${'a b'.repeat(33)}" and 2901 more characters`],
    ['AWS_SECRET_ACCESS_KEY', 'wJalr/bPx\r', '"***\\r"'],
  ] as const) {
    const lines = faults({ ...minimal, ...keys, [name]: value }).split('\n')
    const line = lines.find((one) => one.startsWith(`  ${name} `)) ?? ''
    assert.ok(line.endsWith(` (the value is ${shown})`), line)
    assert.doesNotMatch(lines.join('\n'), /hunter2|wJalr|AKIAEXAMPLE|\p{Cf}|(?!\n)\p{Cc}/u)
  }
  assert.match(
    faults({ ...minimal, USAGE_PLAN_ID: '', USAGE_PLANS: 'gold=\u001b' }),
    /contains "gold=\\u001b", which/,
  )
  assert.doesNotMatch(faults({}), /the value is/)
})

test('/ping and /sping are no probe paths: API Gateway answers them itself', () => {
  const of = (API_PROBE_PATH: string, env = {}) => faults({ ...minimal, ...env, API_PROBE_PATH })
  for (const path of ['/ping', '/sping', '/ping/', '//ping', '/ping?a=b', '/a/../ping', '/./sping'])
    assert.match(of(path), /^ {2}API_PROBE_PATH must not be \/ping or \/sping/m, path)
  assert.match(of('/', { API_BASE_URL: 'https://api.example.com/ping' }), /must not be \/ping/)
  for (const path of ['/status', '/pings', '/v2/ping', '/PING']) assert.equal(of(path), '', path)
  assert.match(of('ping'), /for example \/status/)
})

test('CORS_ORIGINS is a list of exact origins, which browsers send in lower case and without a default port', () => {
  const origins = (text: string) => readConfig({ ...minimal, CORS_ORIGINS: text }).corsOrigins
  assert.deepEqual(readConfig(minimal).corsOrigins, [])
  assert.deepEqual(origins(''), [])
  assert.deepEqual(origins('https://app.example'), ['https://app.example'])
  assert.deepEqual(origins(' https://App.Example:443 ,http://localhost:5173,http://[::1]:80'), [
    'https://app.example',
    'http://localhost:5173',
    'http://[::1]',
  ])
  assert.deepEqual(origins('https://bücher.example'), ['https://xn--bcher-kva.example'])
  for (const wrong of [
    ...['*', 'null', 'app.example', 'https://', 'https://*.example', 'https://app.example/', ','],
    ...['https://app.example/path', 'https://app.example?a', 'https://app.example#a', 'ftp://app.example'],
    ...['https://user@app.example', 'https://app.example:99999', 'https://app.example\\', 'https://a,*'],
    ...['https://app.example https://other.example', 'file:///x', 'https:app.example'],
  ])
    assert.match(
      faults({ ...minimal, CORS_ORIGINS: wrong }),
      /CORS_ORIGINS contains ".*", which must be the exact origin/,
      wrong,
    )
})

test('USAGE_PLANS keeps its order and rejects a duplicate plan, and USAGE_PLAN_ID beside it', () => {
  const { USAGE_PLAN_ID: _, ...rest } = minimal
  const config = readConfig({ ...rest, USAGE_PLANS: 'gold=g1, free=f1' })
  assert.deepEqual(
    config.plans.map((plan) => plan.name),
    ['gold', 'free'],
  )
  assert.match(faults({ ...rest, USAGE_PLANS: 'gold=g1,gold=g2' }), /names the plan "gold" twice/)
  assert.match(
    faults({ ...minimal, USAGE_PLANS: 'gold=g1' }),
    /USAGE_PLAN_ID must not be set together with USAGE_PLANS/,
  )
})

test('TRUST_PROXY is off, a number of proxies, or addresses', () => {
  const of = (text: string) => readConfig({ ...minimal, TRUST_PROXY: text }).trustProxy
  for (const text of ['', '0', 'false']) assert.equal(of(text), false)
  assert.equal(of('2'), 2)
  assert.deepEqual(of('10.0.0.0/8, ::1'), ['10.0.0.0/8', '::1'])
  assert.deepEqual(of('fc00::/7,::ffff:10.0.0.0/104'), ['fc00::/7', '::ffff:10.0.0.0/104'])
  for (const text of [
    '10.0.0.0/33',
    'true',
    'all',
    '*',
    '100',
    '-1',
    '1.5',
    '01',
    '1,10.0.0.1',
    '10.0.0.1,',
    '10.0.0.1/',
  ])
    assert.match(
      faults({ ...minimal, TRUST_PROXY: text }),
      /^ {2}TRUST_PROXY contains ".*": it must be .* for example 1/m,
    )
  for (const text of [
    '10.0.0.0/a',
    '10.0.0.0/8/8',
    '::/129',
    'fe80::1%eth0',
    'loopback',
    '10.0.0.1 10.0.0.2',
    '\u001b',
  ])
    assert.match(
      faults({ ...minimal, TRUST_PROXY: text }),
      /^ {2}TRUST_PROXY contains ".*": it must be .* for example 1/m,
    )
  for (const text of ['10.0.0.0/8', '2600::/16', 'fd00::/8', 'fe80::/10', '::ffff:10.0.0.0/104'])
    assert.deepEqual(of(text), [text])
  for (const text of [
    ...['0.0.0.0/0', '10.0.0.0/8,1.2.3.4/00', '::/0', '::ffff:0.0.0.0/96', '0.0.0.0/1,128.0.0.0/1'],
    ...[
      '10.0.0.0/7',
      '2000::/3',
      '::/1',
      '2600::/15',
      'fc00::/6',
      '::ffff:0.0.0.0/97',
      '::ffff:10.0.0.0/103',
    ],
  ])
    assert.match(
      faults({ ...minimal, TRUST_PROXY: text }),
      /^ {2}TRUST_PROXY contains .* callers could choose their addresses .* or 0 to trust none/m,
      text,
    )
})

test('TRUST_PROXY_HEADER names one of the two headers, in any case, and needs TRUST_PROXY', () => {
  const of = (name: string) =>
    readConfig({ ...minimal, TRUST_PROXY: '1', TRUST_PROXY_HEADER: name }).trustProxyHeader
  assert.equal(of('X-Forwarded-For'), 'x-forwarded-for')
  assert.equal(of('forwarded'), 'forwarded')
  assert.equal(of(''), undefined)
  assert.match(
    faults({ ...minimal, TRUST_PROXY: '1', TRUST_PROXY_HEADER: 'X-Real-IP' }),
    /TRUST_PROXY_HEADER must be/,
  )
  assert.match(faults({ ...minimal, TRUST_PROXY_HEADER: 'Forwarded' }), /has no effect without TRUST_PROXY/)
  assert.match(
    faults({ TRUST_PROXY_HEADER: 'Forwarded' }),
    /AWS_REGION[\s\S]*has no effect without TRUST_PROXY/,
  )
})

test('PUBLIC_URL is normalised, and the other URLs are, too', () => {
  for (const [text, url] of [
    ['https://keys.example.com/', 'https://keys.example.com'],
    ['HTTPS://Keys.Example.COM:443/a/../prod//', 'https://keys.example.com/prod'],
    ['http://x:80/a//b/.', 'http://x/a/b'],
    ['https://ключи.example', 'https://xn--h1add2c8a.example'],
    ['https://bücher.example/é', 'https://xn--bcher-kva.example/%C3%A9'],
    ['http://[2001:DB8::0:1]:3000', 'http://[2001:db8::1]:3000'],
  ] as const) {
    assert.equal(readConfig({ ...minimal, PUBLIC_URL: text }).publicUrl, url)
    assert.equal(
      readConfig({ ...minimal, API_BASE_URL: text }).apiBaseUrl.replace(/\/+$/, ''),
      url.replace('/a/b', '/a//b'),
    )
  }
  assert.equal(
    readConfig({ ...minimal, API_BASE_URL: 'https://API.example.com' }).apiBaseUrl,
    'https://api.example.com',
  )
  for (const text of [
    'https://u:p@x',
    'https://',
    'https:x',
    'https://a b',
    '//x',
    'https://x/?a',
    'https://x#',
    'https://x:99999',
  ])
    assert.match(faults({ ...minimal, PUBLIC_URL: text }), /PUBLIC_URL must .* for example https/, text)
})

test('a PUBLIC_URL that ends in a path of this service is refused, with the URL that is probably meant', () => {
  const base = 'https://keys.example.com'
  for (const [text, meant] of [
    ...ownPaths.map((path) => [`${base}/${path}`, base] as const),
    [`${base}/register/`, base],
    [`${base}//connect//register`, base],
    [`${base}/prod/register`, `${base}/prod`],
    [`${base}/a/../v1/problems`, `${base}/v1`],
    ['http://x:80/docs/.', 'http://x'],
  ] as const) {
    const line = faults({ ...minimal, PUBLIC_URL: text })
    assert.match(line, /^ {2}PUBLIC_URL must be the base of all paths/m)
    assert.ok(line.endsWith(`: ${meant} is probably meant (the value is "${text}")`), line)
  }
  for (const path of ['/registry', '/docs/prod', '/Register', '/register-keys', '/my.register'])
    assert.equal(faults({ ...minimal, PUBLIC_URL: base + path }), '', path)
})

test('GATEWAY_STAGE is the name of a stage, and no path of this service', () => {
  assert.equal(readConfig({ ...minimal, GATEWAY_STAGE: 'prod' }).gatewayStage, 'prod')
  for (const stage of ['/prod', 'a/b', '$default', 'x y', 'ключ', 'x'.repeat(129)])
    assert.match(
      faults({ ...minimal, GATEWAY_STAGE: stage }),
      /GATEWAY_STAGE must be the name of a stage/,
      stage,
    )
  for (const stage of ['register', 'docs', 'readyz'])
    assert.match(faults({ ...minimal, GATEWAY_STAGE: stage }), /GATEWAY_STAGE must not be a path of firstkey/)
})

test('readStoreLocation needs only the variables of the store', () => {
  assert.deepEqual(readStoreLocation({ STORE: 'sqlite:/tmp/x.db' }), { kind: 'sqlite', path: '/tmp/x.db' })
  assert.throws(() => readStoreLocation({ STORE: 'x' }), /STORE must be sqlite:PATH/)
  assert.throws(() => readStoreLocation({ STORE: 'dynamodb:x y' }), /or dynamodb:TABLE/)
  assert.throws(() => readStoreLocation({ STORE: 'dynamodb:keys' }), /AWS_REGION is required/)
  assert.deepEqual(
    readStoreLocation({ STORE: 'dynamodb:keys', AWS_REGION: 'eu-west-1', AWS_ENDPOINT_URL: 'http://x' }),
    {
      kind: 'dynamodb',
      table: 'keys',
      region: 'eu-west-1',
      endpoint: 'http://x',
      proxies: {},
    },
  )
})

test('white space at the ends of a value, as env files leave it, counts as absent', () => {
  const clean = { ...minimal, HOST: '0.0.0.0', PORT: '3000', TRUST_PROXY: '1', STORE: 'sqlite:/data/x.db' }
  const config = readConfig(clean)
  for (const residue of ['\r', ' ', '\t', '\r\n', ' \r']) {
    const left = Object.fromEntries(
      Object.entries(clean).map(([name, value]) => [name, ` ${value}${residue}`]),
    )
    assert.deepEqual(readConfig({ ...left, PUBLIC_URL: residue }), config)
    assert.deepEqual(readStoreLocation(left), config.store)
  }
  assert.deepEqual(readStoreLocation({ STORE: 'sqlite::memory:\r' }), { kind: 'sqlite', path: ':memory:' })
  assert.throws(
    () =>
      readStoreLocation({
        STORE: ' dynamodb:keys\r',
        AWS_REGION: 'eu-west-1\r',
        AWS_ACCESS_KEY_ID: 'A',
        AWS_SECRET_ACCESS_KEY: 'b\r',
      }),
    /^ConfigError: the configuration is not valid:\n {2}AWS_SECRET_ACCESS_KEY contains [^\n]*$/,
  )
})

test('STORE is the file that is meant: what only a shell replaces, and what is no path, is refused', () => {
  const located = (STORE: string) => readStoreLocation({ STORE })
  const file = (path: string) => ({ kind: 'sqlite', path })
  assert.deepEqual(located('sqlite:data/../x.db'), file('data/../x.db'))
  assert.deepEqual(located('sqlite: ./x.db \r'), file('./x.db'))
  assert.deepEqual(located('sqlite:/srv/a b/x~1.db'), file('/srv/a b/x~1.db'))
  assert.deepEqual(located('sqlite: :memory: '), file(':memory:'))
  const refused: [store: string, reason: RegExp][] = [
    ['"sqlite:/data/x.db"', /STORE has quotes.*remove them/],
    [`'sqlite:/data/x.db'`, /STORE has quotes/],
    ['sqlite:"/data/x.db"', /STORE has quotes/],
    ['"dynamodb:firstkey"', /STORE has quotes/],
    ['sqlite:~/keys/x.db', RegExp(`only a shell replaces: .* sqlite:${homedir()}/keys/x\\.db`)],
    ['sqlite:~acme/x.db', /only a shell replaces: .* absolute path/],
    ['sqlite:$HOME/x.db', /contains a variable/],
    ['sqlite:/srv/$NAME/x.db', /contains a variable/],
    ['sqlite:///data/x.db', /a path and no URL/],
    ['sqlite:file:x.db', /a path and no URL/],
    ['sqlite::memory', /exactly sqlite::memory:/],
    ['sqlite::MEMORY:', /exactly sqlite::memory:/],
    ['sqlite:/data/', /names a folder: .* sqlite:\/data\/firstkey\.db/],
    ['sqlite:/data/\rx.db', /control character/],
    ['sqlite: ', /must be sqlite:PATH/],
  ]
  for (const [store, reason] of refused) assert.throws(() => located(store), reason, store)
})

test('TRUST_FILE names a file, and variables that are not the configuration are kept for its secrets', () => {
  assert.equal(readConfig(minimal).trustFile, null)
  const { trustFile, environment } = readConfig({
    ...minimal,
    TRUST_FILE: ' /etc/trust.yaml ',
    OIDC_SECRET: 'x\r',
    EMPTY: ' ',
  })
  assert.equal(trustFile, '/etc/trust.yaml')
  assert.deepEqual(environment, { OIDC_SECRET: 'x' })
})

test('commands that look at API Gateway need no more than its Region, and reject what the server rejects', () => {
  const region = { AWS_REGION: 'eu-west-1' }
  assert.deepEqual(readGatewayConfig({ ...region, STORE: 'postgres://x' }), {
    ...{ region: 'eu-west-1', apiGatewayEndpoint: undefined, proxies: {}, callsPerSecond: 10 },
    ...{ plans: [], apiBaseUrl: null, apiProbePath: null },
  })
  const found = readGatewayConfig({
    ...{ ...region, USAGE_PLANS: 'free=abc,gold=def', API_BASE_URL: 'https://api.example.com/v1/' },
    // The server refuses it; a check of the API says why.
    API_PROBE_PATH: '/ping',
  })
  assert.deepEqual(
    found.plans.map(({ name }) => name),
    ['free', 'gold'],
  )
  assert.equal(found.apiBaseUrl, 'https://api.example.com/v1/')
  assert.equal(found.apiProbePath, '/ping')
  assert.deepEqual(readGatewayConfig({ ...region, USAGE_PLAN_ID: 'abc' }).plans, [
    { name: 'default', usagePlanId: 'abc' },
  ])
  assert.throws(
    () => readGatewayConfig({ USAGE_PLAN_ID: 'abc', USAGE_PLANS: 'gold=def', API_BASE_URL: 'x' }),
    ({ message }: Error) =>
      ['AWS_REGION is required', 'USAGE_PLAN_ID must not be set together', 'API_BASE_URL must be'].every(
        (fault) => message.includes(fault),
      ),
  )
})

test('METRICS_PORT turns metrics on, on this machine alone unless METRICS_HOST says otherwise', () => {
  assert.equal(readConfig(minimal).metrics, null)
  const { metrics } = readConfig({ ...minimal, METRICS_PORT: '9464' })
  assert.deepEqual(metrics, { host: '127.0.0.1', port: 9464 })
  const named = readConfig({ ...minimal, METRICS_PORT: '0', METRICS_HOST: '0.0.0.0' }).metrics
  assert.deepEqual(named, { host: '0.0.0.0', port: 0 })
  assert.match(
    faults({ ...minimal, METRICS_HOST: '0.0.0.0' }),
    /METRICS_HOST has no effect without METRICS_PORT/,
  )
  for (const port of ['on', '-1', '65536', '9464.5'])
    assert.match(faults({ ...minimal, METRICS_PORT: port }), /METRICS_PORT must be .*for example 9464/)
  assert.match(faults({ ...minimal, METRICS_PORT: '3000' }), /METRICS_PORT must be another port than PORT/)
  const both = { ...minimal, PORT: '0', METRICS_PORT: '0' }
  assert.equal(readConfig(both).metrics?.port, 0)
})

test('POOL is a number of keys for each plan that is on offer, and empty by default', () => {
  const { USAGE_PLAN_ID: _, ...rest } = minimal
  const offered = { ...rest, USAGE_PLANS: 'gold=g1,free=f1' }
  const of = (POOL: string, env: Record<string, string> = offered) => [...readConfig({ ...env, POOL }).pool]
  assert.equal(readConfig(minimal).pool.size, 0)
  for (const text of ['', ' ', 'gold:0', 'gold:0,free:0']) assert.deepEqual(of(text), [])
  assert.deepEqual(of(' gold:50, free : 20\r'), [
    ['gold', 50],
    ['free', 20],
  ])
  assert.deepEqual(of('gold:9999,free:1'), [
    ['gold', 9_999],
    ['free', 1],
  ])
  assert.deepEqual(of('default:3', minimal), [['default', 3]])
  for (const wrong of [
    ...['gold:x', 'gold:-1', 'gold:1.5', 'gold', 'gold:', ':5', '5', 'gold:1e3', 'gold=5', 'gold:1:2'],
    ...['gold:1,', ',', 'gold:1 free:2', 'gold:0x10', 'gold:９', `gold:${'9'.repeat(30)}`, 'gold:\u001b'],
  ])
    assert.match(
      faults({ ...offered, POOL: wrong }),
      /^ {2}POOL contains ".*", which must be plan:keys, with a whole number of keys, for example gold:50,free:20/m,
      wrong,
    )
  assert.equal(faults({ ...offered, POOL: ',,' }).match(/POOL contains "",/g)?.length, 1, 'each fault once')
  assert.match(faults({ ...offered, POOL: 'gold:1,gold:2' }), /POOL names the plan "gold" twice/)
  for (const plan of ['silver', 'Gold', 'constructor', 'default'])
    assert.match(
      faults({ ...offered, POOL: `free:1,${plan}:1` }),
      RegExp(`POOL names the plan "${plan}", which is not on offer: the plans are gold, free \\(`),
    )
  assert.match(
    faults({ ...offered, POOL: 'gold:9000,free:1001' }),
    /POOL asks for 10001 keys, and an account of AWS has room for 10000/,
  )
})

test('POOL_SETTLE and POOL_MAX_AGE are durations; a number alone is in seconds, and in hours', () => {
  const of = (env: Record<string, string>) => {
    const { poolSettleMs, poolMaxAgeMs } = readConfig({ ...minimal, ...env })
    return [poolSettleMs, poolMaxAgeMs]
  }
  assert.deepEqual(of({}), [120_000, 86_400_000])
  assert.deepEqual(of({ POOL_SETTLE: '30', POOL_MAX_AGE: '12' }), [30_000, 43_200_000])
  assert.deepEqual(of({ POOL_SETTLE: '2m', POOL_MAX_AGE: '7d' }), [120_000, 604_800_000])
  assert.deepEqual(of({ POOL_SETTLE: '0', POOL_MAX_AGE: '1s' }), [0, 1_000])
  for (const wrong of ['-1', '1.5', 'x', '120 s', '2h', '61m', '1e2', '5ms'])
    assert.match(faults({ ...minimal, POOL_SETTLE: wrong }), /POOL_SETTLE must be a duration .* example 120s/)
  for (const wrong of ['0', '-1', '1.5', 'x', '2y', '24 h'])
    assert.match(
      faults({ ...minimal, POOL_MAX_AGE: wrong }),
      /POOL_MAX_AGE must be a duration .* example 24h/,
    )
  const short = { ...minimal, POOL_MAX_AGE: '60s' }
  assert.match(faults(short), /POOL_MAX_AGE must be longer than POOL_SETTLE/)
  assert.equal(faults({ ...short, API_PROBE_PATH: '/status' }), '')
})
