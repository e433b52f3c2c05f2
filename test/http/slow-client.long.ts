import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startService } from '../support/service.ts'

async function open(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname).on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}

describe('slow clients', { concurrency: true }, () => {
  test('a body that arrives a byte at a time is answered with 408 after 10 seconds, and the connection is closed', async (t) => {
    const service = await startService(t)
    const { secret } = await service.token()
    const socket = await open(service.url)
    const startedAt = performance.now()
    socket.write(
      `POST /register HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${secret}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n`,
    )
    const dripping = setInterval(() => socket.write(' '), 200)
    const response = await text(socket)
    clearInterval(dripping)
    assert.ok(performance.now() - startedAt < 20_000, `${performance.now() - startedAt} ms`)
    assert.match(response, /^HTTP\/1\.1 408 [\s\S]*"code":"request_timeout"/)
    assert.equal(response.match(/HTTP\/1\.1/g)?.length, 1)
    await sleep(100)
    const lines = service.logLines.map((line) => JSON.parse(line))
    const completed = lines.find(({ msg }) => msg === 'request completed')
    assert.deepEqual([completed?.status, completed?.code], [408, 'request_timeout'])
    assert.ok(
      !lines.some(({ level }) => level >= 40),
      JSON.stringify(lines.filter(({ level }) => level >= 40)),
    )
  })

  test('a body that stops behind an unanswered request of the connection closes it without a response', async (t) => {
    const service = await startService(t, { gateway: { latency: { CreateApiKey: 15_000 } } })
    const { secret } = await service.token()
    const socket = await open(service.url)
    const head = `POST /register HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${secret}\r\ncontent-type: application/json\r\n`
    const body = '{"name":"acme-agent"}'
    socket.write(`${head}content-length: ${body.length}\r\n\r\n${body}${head}content-length: 100\r\n\r\n{`)
    assert.equal(await text(socket), '')
  })

  test('a client that does not read its responses is disconnected', async (t) => {
    const service = await startService(t)
    const socket = await open(service.url)
    socket.pause()
    const closed = new Promise<void>((resolve) => {
      const check = setInterval(() => {
        service.app.server.getConnections((_error, count) => {
          if (count > 0) return
          clearInterval(check)
          resolve()
        })
      }, 100)
    })
    // Far more than the sockets of both sides buffer.
    socket.write('GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(300))
    const startedAt = performance.now()
    await closed
    assert.ok(performance.now() - startedAt < 25_000, `${performance.now() - startedAt} ms`)
    socket.destroy()
  })

  test('a second request of a connection may take longer than its first response took to be sent', async (t) => {
    const service = await startService(t, {
      gateway: { latency: { CreateApiKey: 12_000 } },
      timing: { upstreamCall: 20_000 },
    })
    const { secret } = await service.token()
    const socket = await open(service.url)
    const body = '{"name":"acme-agent"}'
    socket.write(
      `GET /livez HTTP/1.1\r\nhost: x\r\n\r\nPOST /register HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${secret}\r\n` +
        `content-type: application/json\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    )
    assert.match(await text(socket), /^HTTP\/1\.1 200 [\s\S]*HTTP\/1\.1 201 /)
  })
})
