import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConfigError, readConfig } from '../src/config.ts'
import { createRoutes, proxyFaults, readProxies } from '../src/egress-proxy.ts'

const PROXY = 'http://proxy.example:3128'

/** Returns the proxy for a URL. */
function proxyFor(env: Record<string, string>, url: string): string | undefined {
  const { protocol, hostname, port } = new URL(url)
  return createRoutes(readProxies(env))({ protocol, hostname, port: Number(port) || undefined }).proxy
}

const chosen: [env: Record<string, string>, url: string, proxy: string | undefined][] = [
  [{}, 'https://a.example', undefined],
  [{ HTTPS_PROXY: PROXY }, 'https://a.example', 'proxy.example:3128'],
  [{ HTTPS_PROXY: PROXY }, 'http://a.example', undefined],
  [{ HTTP_PROXY: PROXY }, 'http://a.example', 'proxy.example:3128'],
  [{ HTTP_PROXY: PROXY }, 'https://a.example', undefined],
  [{ https_proxy: 'http://lower.example', HTTPS_PROXY: PROXY }, 'https://a.example', 'lower.example'],
  [{ https_proxy: '', HTTPS_PROXY: PROXY }, 'https://a.example', 'proxy.example:3128'],
  [{ HTTPS_PROXY: 'proxy.example:3128\r' }, 'https://a.example', 'proxy.example:3128'],
  [{ HTTPS_PROXY: 'http://user:secret@proxy.example:3128' }, 'https://a.example', 'proxy.example:3128'],
  [{ HTTPS_PROXY: PROXY }, 'https://127.0.0.1:4000', 'proxy.example:3128'],
]
for (const [env, url, proxy] of chosen)
  test(`${JSON.stringify(env)}: ${url} takes ${proxy ?? 'no proxy'}`, () =>
    assert.equal(proxyFor(env, url), proxy))

const excluded: [noProxy: string, url: string, isExcluded: boolean][] = [
  ['*', 'https://a.example', true],
  ['a.example', 'https://a.example', true],
  ['a.example', 'https://b.a.example', true],
  ['a.example', 'https://ba.example', false],
  ['.a.example', 'https://b.a.example', true],
  ['*.a.example', 'https://b.a.example', true],
  ['A.Example.', 'https://a.example', true],
  ['other.example, a.example', 'https://a.example', true],
  ['other.example a.example\r', 'https://a.example', true],
  ['a.example:443', 'https://a.example', true],
  ['a.example:8443', 'https://a.example', false],
  ['a.example:8443', 'https://a.example:8443', true],
  ['127.0.0.1', 'https://127.0.0.1:4000', true],
  ['127.0.0.1:4000', 'https://127.0.0.1:4000', true],
  ['127.0.0.1:4000', 'https://127.0.0.1:4001', false],
  ['10.0.0.0/8', 'https://10.1.2.3', true],
  ['10.0.0.0/8', 'https://11.1.2.3', false],
  ['10.0.0.0/99', 'https://10.1.2.3', false],
  ['fd00::/8', 'https://[fd00::1]', true],
  ['::1', 'https://[::1]:4000', true],
  ['[::1]:4000', 'https://[::1]:4000', true],
  ['0.0.1', 'https://10.0.0.1', false],
  [',, ,', 'https://a.example', false],
  ['localhost', 'https://localhost:4000', true],
]
for (const [noProxy, url, isExcluded] of excluded)
  test(`NO_PROXY=${JSON.stringify(noProxy)} ${isExcluded ? 'excludes' : 'does not exclude'} ${url}`, () => {
    assert.equal(proxyFor({ HTTPS_PROXY: PROXY, NO_PROXY: noProxy }, url) === undefined, isExcluded)
    assert.equal(proxyFor({ https_proxy: PROXY, no_proxy: noProxy }, url) === undefined, isExcluded)
  })

for (const value of [
  'socks5://p:1',
  'http://',
  'http://user:secret@p:99999',
  'http://user:sec ret@p:1:2',
  'user:s/ec@r@p:x',
  '://',
])
  for (const name of ['HTTP_PROXY', 'https_proxy'])
    test(`${name}=${JSON.stringify(value)} is a fault of the configuration, which does not show the value`, () => {
      const expected = `${name} must be the URL of an HTTP proxy, for example http://proxy.example.com:3128`
      assert.deepEqual(proxyFaults({ [name]: value }), [expected])
      assert.throws(
        () => readConfig({ [name]: value }),
        (error) =>
          error instanceof ConfigError && error.message.includes(expected) && !/sec/.test(error.message),
      )
    })
