import assert from 'node:assert/strict'
import { test } from 'node:test'
import { networkOf } from '../src/client-network.ts'

const cases: [address: string, network: string][] = [
  ['203.0.113.7', '203.0.113.7'],
  ['::ffff:203.0.113.7', '203.0.113.7'],
  ['::FFFF:203.0.113.7', '203.0.113.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:DB8:1:2::', '2001:db8:1:2::/64'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['2001:0db8:0001::', '2001:db8:1:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['::', '0:0:0:0::/64'],
  ['1:2:3::6:7:8', '1:2:3:0::/64'],
  ['1:2:3::203.0.113.7', '1:2:3:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['unknown', 'unknown'],
  ['', ''],
]

for (const [address, network] of cases)
  test(`the network of ${JSON.stringify(address)} is ${network}`, () =>
    assert.equal(networkOf(address), network))
