import assert from 'node:assert/strict'
import { test } from 'node:test'
import { targetOf, withParameters } from '../../../src/auth/login/redirect-uri.ts'

const OWN = ['https://keys.example.com/prod/', 'https://keys.example.com/prod/connect/code']

test('a login ends at a loopback address with any port and path, or at a page of this service', () => {
  for (const [uri, host, port] of [
    ['http://127.0.0.1:5123/callback', '127.0.0.1', 5_123],
    ['http://127.0.0.1:65535', '127.0.0.1', 65_535],
    ['http://127.0.0.1/', '127.0.0.1', 80],
    ['http://localhost:1/a/b-c_d.e~f/?x=1&y=%20', 'localhost', 1],
    ['http://[::1]:8080/callback', '[::1]', 8_080],
  ] as const)
    assert.deepEqual(targetOf(uri, OWN), { kind: 'program', host, port }, uri)
  for (const uri of OWN) assert.deepEqual(targetOf(uri, OWN), { kind: 'page' }, uri)
})

test('a login ends nowhere else', () => {
  for (const uri of [
    '',
    'callback',
    '//127.0.0.1/',
    'https://127.0.0.1/',
    'ftp://127.0.0.1/',
    'javascript:alert(1)',
    'data:text/html,x',
    'com.example.app:/callback',
    'HTTP://127.0.0.1/',
    'http:127.0.0.1',
    'http:///127.0.0.1/',
    'http://127.0.0.1.evil.com',
    'http://127.0.0.1.evil.com:80/',
    'http://localhost.evil.com/',
    'http://127.0.0.1@evil.com',
    'http://127.0.0.1:80@evil.com/',
    'http://evil.com@127.0.0.1/',
    'http://127.0.0.1:a@evil.com/',
    'http://evil.com#@127.0.0.1/',
    'http://evil.com/127.0.0.1',
    'http://evil.com\\@127.0.0.1/',
    'http://127.0.0.1\\@evil.com/',
    'http://127.0.0.1:80\\.evil.com/',
    'http://127.0.0.1 .evil.com/',
    'http://127.0.0.1\n.evil.com/',
    ' http://127.0.0.1/',
    'http://127.0.0.1/\t',
    'http://127.0.0.1%2eevil.com/',
    'http://127.0.0.1?@evil.com',
    'http://localhost:1/..//evil',
    'http://localhost:1//evil.com',
    'http://localhost:1/a/../b',
    'http://localhost:1/%2e%2e/b',
    'http://localhost:1/#fragment',
    'http://localhost:1/a#',
    'http://localhost:0/',
    'http://localhost:080/',
    'http://localhost:65536/',
    'http://localhost:99999999999/',
    'http://localhost:1e3/',
    'http://localhost:/',
    'http://localhost:-1/',
    'http://LOCALHOST:1/',
    'http://127.1:1/',
    'http://127.0.0.2:1/',
    'http://2130706433:1/',
    'http://0x7f000001:1/',
    'http://0177.0.0.1:1/',
    'http://0.0.0.0:1/',
    'http://[::]:1/',
    'http://[::ffff:127.0.0.1]:1/',
    'http://[0:0:0:0:0:0:0:1]:1/',
    'http://[::1%25lo]:1/',
    'http://[::1]evil.com/',
    'http://１２７.0.0.1/',
    'http://localhoſt/',
    'http://localhost:1/?code=1',
    'http://localhost:1/?a=b&state=1',
    'http://localhost:1/?%63ode=1',
    'http://localhost:1/?iss=x',
    `http://localhost:1/${'x'.repeat(600)}`,
    'https://keys.example.com/prod',
    'https://keys.example.com/prod/connect/code/',
    'https://keys.example.com/prod/connect/code?x=1',
    'https://keys.example.com/prod/connect/confirm',
    'https://keys.example.com/prod/../evil',
    'https://keys.example.com.evil.com/prod/',
    'https://KEYS.example.com/prod/',
  ])
    assert.equal(targetOf(uri, OWN), undefined, JSON.stringify(uri))
})

test('parameters are added to a query that is there, and absent ones are left out', () => {
  assert.equal(withParameters('http://[::1]:1', { code: 'a b', state: undefined }), 'http://[::1]:1?code=a+b')
  const uri = withParameters('http://localhost:1/x?y=1', { code: 'a', state: 'é&=\n' })
  assert.equal(uri, 'http://localhost:1/x?y=1&code=a&state=%C3%A9%26%3D%0A')
})
