import assert from 'node:assert/strict'
import type { lookup } from 'node:dns'
import { test } from 'node:test'
import { checkedLookup } from '../../../src/auth/federation/ask-issuer.ts'

/** Resolves a name that leads to these addresses. @returns the address to connect to, or all of them, or the reason against it */
function resolved(protocol: string, addresses: string[], all: boolean): Promise<unknown> {
  const answer = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
  const resolve = ((_name: string, _options: object, callback: (error: null, found: typeof answer) => void) =>
    callback(null, answer)) as typeof lookup
  return new Promise((done) => {
    checkedLookup(protocol, resolve)('idp.example.com', { all }, (error, address) =>
      done(error?.message ?? address),
    )
  })
}

test('a name is connected to only where all of its addresses are allowed', async () => {
  for (const all of [true, false]) {
    const right = await resolved('https:', ['93.184.215.14', '10.0.0.1'], all)
    assert.deepEqual(
      right,
      all
        ? [
            { address: '93.184.215.14', family: 4 },
            { address: '10.0.0.1', family: 4 },
          ]
        : '93.184.215.14',
    )
    for (const address of [
      '169.254.169.254',
      'fd00:ec2::254',
      'fe80::1',
      '0.0.0.0',
      '::ffff:169.254.169.254',
    ])
      assert.match(
        String(await resolved('https:', ['93.184.215.14', address], all)),
        /^idp\.example\.com leads to .*, which is link-local/,
      )
    assert.match(
      String(await resolved('http:', ['127.0.0.1', '10.0.0.1'], all)),
      /10\.0\.0\.1, which is no loopback address/,
    )
    assert.match(String(await resolved('https:', [], all)), /has no address/)
  }
})
