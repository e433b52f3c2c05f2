import assert from 'node:assert/strict'
import { test } from 'node:test'
import { addressFault, urlFault } from '../../../src/auth/federation/key-addresses.ts'

const cases: [address: string, http: boolean, https: boolean][] = [
  ['93.184.215.14', false, true],
  ['10.0.0.1', false, true],
  ['192.168.1.1', false, true],
  ['127.0.0.1', true, true],
  ['127.8.9.10', true, true],
  ['::1', true, true],
  ['2606:2800:21f:cb07::1', false, true],
  ['fd12:3456::1', false, true],
  ['169.254.169.254', false, false],
  ['169.254.170.2', false, false],
  ['169.254.0.1', false, false],
  ['0.0.0.0', false, false],
  ['0.1.2.3', false, false],
  ['100.100.100.200', false, false],
  ['168.63.129.16', false, false],
  ['255.255.255.255', false, false],
  ['224.0.0.1', false, false],
  ['::', false, false],
  ['fe80::1', false, false],
  ['fe80::1%eth0', false, false],
  ['febf::1', false, false],
  ['fd00:ec2::254', false, false],
  ['fd00:0ec2:0:0:0:0:0:0254', false, false],
  ['ff02::1', false, false],
  ['::ffff:169.254.169.254', false, false],
  ['::ffff:a9fe:a9fe', false, false],
  ['::ffff:127.0.0.1', true, true],
  ['::169.254.169.254', false, false],
  ['64:ff9b::a9fe:a9fe', false, false],
  ['2002:a9fe:a9fe::1', false, false],
  ['no address', false, false],
]
test('the addresses that names may lead to', () => {
  for (const [address, http, https] of cases) {
    assert.equal(addressFault(address, 'http:') === undefined, http, `http ${address}`)
    assert.equal(addressFault(address, 'https:') === undefined, https, `https ${address}`)
  }
})

const urls: [url: string, allowed: boolean][] = [
  ['https://idp.example.com', true],
  ['https://idp.example.com:8443/realms/x', true],
  ['http://localhost:3000', true],
  ['http://127.0.0.1:3000/x', true],
  ['http://[::1]:3000', true],
  ['http://idp.example.com', false],
  ['http://localhost.example.com', false],
  ['http://10.0.0.1', false],
  ['https://169.254.169.254', false],
  ['https://0xa9fea9fe/', false],
  ['https://2852039166/', false],
  ['https://0251.0376.0251.0376/', false],
  ['https://169.254.169.254./', false],
  ['https://[::ffff:169.254.169.254]/', false],
  ['https://[fe80::1]/', false],
  ['https://0/', false],
  ['https://user@idp.example.com', false],
  ['https://idp.example.com#x', false],
  ['ftp://idp.example.com', false],
  ['file:///etc/passwd', false],
  ['idp.example.com', false],
  ['', false],
  [' https://idp.example.com', false],
  ['https://idp.example.com/a\tb', false],
  ['https://idp.example.com\\realms', false],
]
test('the URLs of issuers and keys', () => {
  for (const [url, allowed] of urls) assert.equal(urlFault(url) === undefined, allowed, url)
})
