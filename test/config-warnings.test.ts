import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readConfig } from '../src/config.ts'
import { configWarnings } from '../src/config-warnings.ts'

const right = {
  AWS_REGION: 'eu-west-1',
  USAGE_PLAN_ID: 'abc123',
  API_BASE_URL: 'https://api.example.com/v1',
  PUBLIC_URL: 'https://keys.example.com',
}

function warnings(env: Record<string, string>, mounts = ''): string[] {
  const whole = { ...right, ...env }
  return configWarnings(whole, readConfig(whole), mounts).map(
    ({ variable, message }) => `${variable}: ${message}`,
  )
}

test('a name that is close to a variable is named with the right one, and never stops the start', () => {
  for (const [name, meant] of [
    ['RATE_LIMIT_PER_IPS', 'RATE_LIMIT_PER_IP'],
    ['RATE_LIMIT_PERIP', 'RATE_LIMIT_PER_IP'],
    ['rate_limit_per_ip', 'RATE_LIMIT_PER_IP'],
    ['TRUST_PROXIES', 'TRUST_PROXY'],
    ['TRUSTED_PROXY', 'TRUST_PROXY'],
    ['PUBIC_URL', 'PUBLIC_URL'],
    ['LOGLEVEL', 'LOG_LEVEL'],
    ['AUDIT_RETENTION_DAY', 'AUDIT_RETENTION_DAYS'],
    ['API_PROBEPATH', 'API_PROBE_PATH'],
    ['REGISTER_TIMEOUT', 'REGISTER_TIMEOUT_MS'],
    ['STOER', 'STORE'],
    ['AWS_REGON', 'AWS_REGION'],
  ] as const)
    assert.deepEqual(warnings({ [name]: '' }), [
      `${name}: ${name} is not a variable of firstkey and has no effect (did you mean "${meant}"?)`,
    ])
  assert.match(
    warnings({ RATE_LIMIT_OF_EVERYTHING_AND_ALL: '1' }).join(),
    /is not a variable of firstkey and has no effect$/,
  )
})

test('the variables of other programs are not named', () => {
  const others = {
    ...{
      PATH: '/bin',
      HOME: '/',
      HOSTNAME: 'x',
      NODE_ENV: 'test',
      NODE_OPTIONS: '',
      TZ: 'UTC',
      PWD: '/',
      SHLVL: '1',
    },
    ...{
      AWS_PROFILE: 'x',
      AWS_SESSION_TOKEN: 'x',
      AWS_DEFAULT_REGION: 'x',
      AWS_ENDPOINT_URL_S3: 'http://x',
      AWS_CONFIG_FILE: 'x',
    },
    ...{
      AWS_EXECUTION_ENV: 'x',
      AWS_WEB_IDENTITY_TOKEN_FILE: 'x',
      AWS_STS_REGIONAL_ENDPOINTS: 'x',
      AWS_CA_BUNDLE: 'x',
    },
    ...{
      FIRSTKEY_SERVICE_HOST: 'x',
      FIRSTKEY_PORT: 'x',
      KUBERNETES_PORT: 'x',
      HTTPS_PROXY: 'http://x',
      NO_PROXY: 'x',
      FIRSTKEY_URL: 'x',
    },
    ...{
      ECS_CONTAINER_METADATA_URI_V4: 'x',
      npm_config_user_agent: 'x',
      MAIL: 'x',
      LANG: 'C',
      LOGNAME: 'root',
      USER: 'x',
      TERM: 'x',
    },
  }
  assert.deepEqual(configWarnings({ ...right, ...others }, readConfig(right), ''), [])
})

test('a PUBLIC_URL that only this machine can reach, or without TLS, is named', () => {
  assert.match(
    warnings({ PUBLIC_URL: '', PORT: '8080' }).join(),
    /^PUBLIC_URL: PUBLIC_URL is not set: .* http:\/\/localhost:8080/,
  )
  assert.match(warnings({ PUBLIC_URL: ' \r' }).join(), /^PUBLIC_URL: PUBLIC_URL is not set/)
  for (const host of ['keys.example.com', '10.0.0.1:3000', 'localhost.example.com', '[::2]', 'firstkey'])
    assert.match(
      warnings({ PUBLIC_URL: `http://${host}` }).join(),
      /^PUBLIC_URL: PUBLIC_URL is http:\/\/.* without encryption/,
    )
  for (const url of [
    'https://keys.example.com',
    'http://localhost:3000',
    'http://127.1.2.3',
    'http://[::1]:80',
    'http://a.localhost',
  ])
    assert.deepEqual(warnings({ PUBLIC_URL: url }), [])
})

const layer =
  '100 99 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/a\n101 100 0:51 / /proc rw - proc proc rw\n'
const volume = (root: string) =>
  `${layer}102 100 8:1 ${root} /data rw,relatime master:1 - ext4 /dev/sda1 rw\n`
const anonymous = volume(`/var/lib/docker/volumes/${'0a'.repeat(32)}/_data`)
const named = volume('/var/lib/docker/volumes/firstkey-data/_data')

test('a store that is deleted with its container is named', () => {
  assert.match(
    warnings({}, layer).join(),
    /^STORE: STORE is not set: .*\/data\/firstkey\.db\. With a container they would be deleted/,
  )
  assert.match(warnings({ STORE: '' }, named).join(), /^STORE: STORE is not set/)
  assert.match(warnings({ NODE_ENV: 'production' }).join(), /^STORE: STORE is not set/)
  assert.match(warnings({ STORE: 'sqlite:/data/firstkey.db' }, anonymous).join(), /anonymous volume/)
  for (const [STORE, mounts] of [
    ['sqlite:/data/firstkey.db', named],
    ['sqlite:/data/firstkey.db', volume('/srv/firstkey')],
    ['sqlite:/database/firstkey.db', anonymous],
    ['sqlite::memory:', anonymous],
    ['dynamodb:firstkey', anonymous],
    ['', ''],
    ['', layer.replace('overlay overlay', 'ext4 /dev/sda1')],
    ['', 'not as expected\n'],
  ] as const)
    assert.deepEqual(warnings({ STORE }, mounts), [], STORE)
})
