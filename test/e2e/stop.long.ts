import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { connect } from 'node:net'
import { test } from 'node:test'
import { runCli, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

test('SIGTERM: requests in flight finish, new connections are refused, exit code 0', async (t) => {
  const gateway = await testGateway(t, { latency: { CreateUsagePlanKey: 300 } })
  const env = serverEnv(gateway, tempDir(t))
  const server = await startServer(t, env)
  const { stdout } = await runCli(t, ['tokens', 'create', '--label', 'x'], env)
  const attaching = new Promise<void>((resolve) => {
    gateway.onCall = (operation) => operation === 'CreateUsagePlanKey' && resolve()
  })

  const registration = fetch(`${server.url}/register`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stdout.trim()}`, 'content-type': 'application/json' },
    body: '{"name":"acme-agent"}',
  })
  await attaching
  server.child.kill('SIGTERM')
  await server.seen(/"msg":"stopping"/)
  await assert.rejects(fetch(`${server.url}/livez`))

  const answer = await registration
  assert.equal(answer.status, 201)
  assert.equal(answer.headers.get('connection'), 'close')
  assert.equal(await server.ended(), 0)
  assert.match(server.output.stdout, /"msg":"stopped"/)
  assert.equal(server.output.stderr, '')
})

test('the repeats of a refusal that were counted so far are recorded at the stop', async (t) => {
  const env = serverEnv(await testGateway(t), tempDir(t))
  const server = await startServer(t, env)
  const { stdout } = await runCli(t, ['tokens', 'create', '--label', 'x', '--plan', 'gold'], env)
  for (let i = 0; i < 3; i++) {
    const refused = await fetch(`${server.url}/register`, {
      method: 'POST',
      headers: { authorization: `Bearer ${stdout.trim()}`, 'content-type': 'application/json' },
      body: '{"name":"acme-agent","plan":"free"}',
    })
    assert.equal(refused.status, 403)
  }
  server.child.kill('SIGTERM')
  assert.equal(await server.ended(), 0)
  const { stdout: audit } = await runCli(t, ['audit', '--json'], env)
  assert.match(audit, /"detail": "plan_not_allowed: 2 more in \d+ s"/)
})

test('a request that is arriving when the stop begins gets 503 shutting_down, and the connection closes', async (t) => {
  const server = await startServer(t, serverEnv(await testGateway(t), tempDir(t)))
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
  // A complete request first, so that the server is reading from this connection.
  socket.write('GET /livez HTTP/1.1\r\nhost: x\r\n\r\n')
  await once(socket, 'data')
  socket.write('POST /register HTTP/1.1\r\nhost: x\r\n')
  await fetch(`${server.url}/livez`)
  server.child.kill('SIGTERM')
  await server.seen(/"msg":"stopping"/)
  socket.write('content-length: 0\r\n\r\n')
  const text = (await socket.toArray()).join('')
  assert.match(text, /^HTTP\/1\.1 503 /)
  assert.match(text, /connection: close/i)
  assert.match(text, /"code":"shutting_down"/)
  assert.equal(await server.ended(), 0)
  assert.doesNotMatch(server.output.stdout, /"level":"error"/, 'a stop is no fault')
})

test('a stop waits for requests that are not complete no longer than a server that runs', async (t) => {
  const server = await startServer(t, serverEnv(await testGateway(t), tempDir(t)))
  const head = 'POST /register HTTP/1.1\r\nhost: x\r\n'
  const body = `${head}authorization: Bearer fk_boot_x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{`
  const starts = ['P', head, body, `GET /livez HTTP/1.1\r\nhost: x\r\n\r\n${head}`]
  const answers = starts.map(async (start) => {
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    socket.write(start)
    return (await socket.toArray()).join('')
  })
  await fetch(`${server.url}/livez`)
  const before = Date.now()
  server.child.kill('SIGTERM')
  for (const text of await Promise.all(answers))
    assert.match(text, /HTTP\/1\.1 408 .*"code":"request_timeout"/s)
  assert.equal(await server.ended(), 0)
  assert.ok(Date.now() - before < 12_000)
})

test('an idle keep-alive connection does not delay the stop', async (t) => {
  const server = await startServer(t, serverEnv(await testGateway(t), tempDir(t)))
  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  const [response] = await once(request(`${server.url}/livez`, { agent }).end(), 'response')
  response.resume()
  await once(response, 'end')
  const before = Date.now()
  server.child.kill('SIGTERM')
  assert.equal(await server.ended(), 0)
  assert.ok(Date.now() - before < 2_000)
})

test('a client that never finishes its headers is disconnected within seconds', async (t) => {
  const server = await startServer(t, serverEnv(await testGateway(t), tempDir(t)))
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
  socket.write('POST /register HTTP/1.1\r\nhost: x\r\n')
  const before = Date.now()
  const text = (await socket.toArray()).join('')
  assert.match(text, /^HTTP\/1\.1 408 /)
  assert.match(text, /application\/problem\+json/)
  assert.match(text, /retry-after: 1\r\n/)
  assert.ok(Date.now() - before < 9_000)
})
