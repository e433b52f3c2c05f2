import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { promisify } from 'node:util'
import { passOn } from './pass-on.ts'
import { tempDir } from './service.ts'

/**
 * Starts a server that ends TLS in front of a local server, until the test ends.
 * @param name the host name of its certificate
 * @returns its port, and the certificate, which is its own authority
 */
export async function startTlsFront(
  t: TestContext,
  name: string,
  targetUrl: string,
): Promise<{ readonly port: number; readonly certificate: string; readonly file: string }> {
  const dir = tempDir(t)
  const [keyFile, file] = [join(dir, 'key.pem'), join(dir, 'certificate.pem')]
  const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`]
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', keyFile]
  await promisify(execFile)('openssl', ['req', '-x509', ...key, '-out', file, '-days', '2', ...subject])
  const certificate = readFileSync(file, 'utf8')
  const server = createServer({ key: readFileSync(keyFile), cert: certificate }, (incoming, outgoing) => {
    passOn(incoming, outgoing, new URL(incoming.url ?? '', targetUrl))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, certificate, file }
}
