import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ConfigError, readConfig, readStoreLocation } from '../src/config.ts'
import { credentialFaults } from '../src/credential-variables.ts'
import { tempDir } from './support/service.ts'

const keys = { AWS_ACCESS_KEY_ID: 'AKIAIOSFODNN7EXAMPLE', AWS_SECRET_ACCESS_KEY: 'wJalr/bPx+RfiCY=' }
const webIdentity = { AWS_ROLE_ARN: 'arn:aws:iam::123456789012:role/firstkey' }
const token = 'AWS_WEB_IDENTITY_TOKEN_FILE'
const full = 'AWS_CONTAINER_CREDENTIALS_FULL_URI'
const relative = 'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI'
const nowhere = { AWS_SHARED_CREDENTIALS_FILE: '/none/credentials', AWS_CONFIG_FILE: '/none/config' }

const wrong: [title: string, variable: string, env: Record<string, string>][] = [
  ['a line break', 'AWS_ACCESS_KEY_ID', { ...keys, AWS_ACCESS_KEY_ID: 'AKIA\n' }],
  ['a carriage return', 'AWS_SECRET_ACCESS_KEY', { ...keys, AWS_SECRET_ACCESS_KEY: 'secret\r' }],
  ['a line break inside', 'AWS_SESSION_TOKEN', { ...keys, AWS_SESSION_TOKEN: 'abc\ndef' }],
  ['a space', 'AWS_SESSION_TOKEN', { ...keys, AWS_SESSION_TOKEN: ' abc' }],
  ['a letter outside ASCII', 'AWS_ACCESS_KEY_ID', { ...keys, AWS_ACCESS_KEY_ID: 'AKIÄ' }],
  ['a missing file', token, { ...webIdentity, [token]: '/none/token' }],
  ['a folder', token, { ...webIdentity, [token]: '/' }],
  ['an empty file', token, { ...webIdentity, [token]: '/dev/null' }],
  ['no role', 'AWS_ROLE_ARN', { [token]: import.meta.filename }],
  ['an unknown profile', 'AWS_PROFILE', { ...keys, ...nowhere, AWS_PROFILE: 'work' }],
  ['no URL', full, { [full]: 'not a URL' }],
  ['plain HTTP to another host', full, { [full]: 'http://metadata.example.com/' }],
  ['no path', relative, { [relative]: 'v2/credentials' }],
  [
    'a missing file of a token',
    'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE',
    { [full]: 'http://169.254.170.23/', AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: '/none/token' },
  ],
  ['missing certificates', 'NODE_EXTRA_CA_CERTS', { ...keys, NODE_EXTRA_CA_CERTS: '/none/ca.pem' }],
]

for (const [title, variable, env] of wrong)
  test(`${title} is reported with its variable: ${variable}`, () => {
    const faults = credentialFaults(env)
    assert.equal(faults.length, 1, faults.join('\n'))
    assert.match(faults[0] ?? '', RegExp(`^${variable} `))
    for (const secret of ['AKIA\n', 'secret', 'abc']) assert.ok(!faults[0]?.includes(secret))
  })

const right: [title: string, env: Record<string, string>][] = [
  ['no variable', {}],
  ['a key pair', { ...keys, AWS_SESSION_TOKEN: 'IQoJb3JpZ2luX2VjE+/=' }],
  ['a token file with its role', { ...webIdentity, [token]: import.meta.filename }],
  ['the container service', { [full]: 'http://169.254.170.23/v1/credentials' }],
  ['a metadata service on this machine', { [full]: 'http://127.0.0.1:8080/' }],
  ['a path of the container service', { [relative]: '/v2/credentials' }],
  ['a source that a key pair overrides', { ...keys, [token]: '/none/token' }],
]

for (const [title, env] of right)
  test(`${title} has no fault`, () => assert.deepEqual(credentialFaults(env), []))

test('a profile is found in both files, in both forms', (t) => {
  const dir = tempDir(t)
  const files = {
    AWS_SHARED_CREDENTIALS_FILE: join(dir, 'credentials'),
    AWS_CONFIG_FILE: join(dir, 'config'),
  }
  writeFileSync(files.AWS_SHARED_CREDENTIALS_FILE, '[default]\naws_access_key_id = a\n\n  [work]\n')
  writeFileSync(files.AWS_CONFIG_FILE, '[profile home]\nregion = eu-west-1\n[profile "with space"]\n')
  for (const name of ['default', 'work', 'home', 'with space'])
    assert.deepEqual(credentialFaults({ ...files, AWS_PROFILE: name }), [], name)
  assert.equal(credentialFaults({ ...files, AWS_PROFILE: 'profile' }).length, 1)
})

test('the configuration reports them together with its own faults; a store on DynamoDB, too', () => {
  const broken = { ...keys, AWS_ACCESS_KEY_ID: 'AKIA\n' }
  assert.throws(
    () => readConfig(broken),
    (error) =>
      error instanceof ConfigError &&
      /AWS_REGION is required[\s\S]*AWS_ACCESS_KEY_ID contains/.test(error.message),
  )
  const store = { ...broken, STORE: 'dynamodb:keys', AWS_REGION: 'eu-west-1' }
  assert.throws(() => readStoreLocation(store), /AWS_ACCESS_KEY_ID contains/)
  assert.equal(readStoreLocation({ ...broken, STORE: 'sqlite:x.db' }).kind, 'sqlite')
})
