import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseBaseUrl } from '../../src/setup/base-url.ts'

const cases: [url: string, api: string | null, stage: string | null, region: string | null, path: string][] =
  [
    ['https://abc123.execute-api.eu-west-1.amazonaws.com/prod', 'abc123', 'prod', 'eu-west-1', ''],
    ['https://abc123.execute-api.eu-west-1.amazonaws.com/prod/', 'abc123', 'prod', 'eu-west-1', ''],
    ['https://ABC123.execute-api.eu-west-1.amazonaws.com/v1/x', 'abc123', 'v1', 'eu-west-1', '/x'],
    ['https://abc123.execute-api.cn-north-1.amazonaws.com.cn/a//b/', 'abc123', 'a', 'cn-north-1', '/b'],
    ['https://a1-vpce-0f1.execute-api.us-east-1.amazonaws.com/p', 'a1', 'p', 'us-east-1', ''],
    ['https://a1.execute-api-fips.us-gov-west-1.amazonaws.com/p', 'a1', 'p', 'us-gov-west-1', ''],
    ['https://a1.execute-api.us-east-1.amazonaws.com', 'a1', '', 'us-east-1', ''],
    ['http://a1.execute-api.localhost:4566/p/%7Bid%7D', 'a1', 'p', null, '/{id}'],
    ['http://127.0.0.1:4000/execute-api/demo/prod/hello', 'demo', 'prod', null, '/hello'],
    ['http://localhost:4566/restapis/a1/dev/_user_request_/x', 'a1', 'dev', null, '/x'],
    ['https://a1.execute-api.us-east-1.api.aws/p', 'a1', 'p', 'us-east-1', ''],
    ['https://a1.execute-api.eu-west-1.example.com/prod', null, null, null, '/prod'],
    ['https://a1.execute-api.eu-west-1.amazonaws.com.example.com/prod', null, null, null, '/prod'],
    ['https://api.example.com/v1/', null, null, null, '/v1'],
    ['https://api.example.com/%', null, null, null, '/%'],
  ]

for (const [url, api, stage, region, path] of cases)
  test(`the API and the stage of ${url} are read`, () => {
    const found = parseBaseUrl(url)
    assert.deepEqual(found.target, api === null ? null : { api, stage })
    assert.equal(found.region, region)
    assert.equal(found.path, path)
  })

test('only a host name that callers could resolve may be a custom domain', () => {
  const domainOf = (url: string) => parseBaseUrl(url).domain
  assert.equal(domainOf('https://API.example.com/v1'), 'api.example.com')
  for (const host of ['localhost:3000', '127.0.0.1', '[::1]:8080', 'api.localhost'])
    assert.equal(domainOf(`http://${host}/v1`), null, host)
})
