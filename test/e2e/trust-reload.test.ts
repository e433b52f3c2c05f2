import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { long } from '../support/long.ts'
import { startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

const trustOf = (id: string) =>
  `issuers: { github: { kind: github } }\nrules:\n  - { id: ${id}, issuer: github, match: { repository_id: "42" }, grant: { key_ttl: 24h } }\n`

test(
  'SIGHUP reloads the trust file; a faulty one is refused in the log and in /readyz, which stays 200',
  long,
  async (t) => {
    const dir = tempDir(t)
    const file = join(dir, 'trust.yaml')
    writeFileSync(file, trustOf('first'))
    const { child, seen, url } = await startServer(t, {
      ...serverEnv(await testGateway(t), dir),
      TRUST_FILE: file,
    })
    const ready = async () => {
      const response = await fetch(`${url}/readyz`)
      const body: { trust_file_refused_at?: string } = JSON.parse(await response.text())
      return [response.status, body] as const
    }
    assert.deepEqual(await ready(), [200, { status: 'ready' }])

    writeFileSync(file, trustOf('second'))
    child.kill('SIGHUP')
    await seen(
      /"rules_added":\["second"\],"rules_removed":\["first"\],"msg":"the changed trust file is in force"/,
    )

    writeFileSync(file, 'issuers: {}\nrules: [{ id: third }]\n')
    child.kill('SIGHUP')
    const [line] = await seen(/.*the trust file has faults and is refused.*/)
    assert.equal(JSON.parse(line).level, 'error')
    assert.match(line, /trust\.yaml:2:/)
    const [status, body] = await ready()
    assert.equal(status, 200)
    assert.ok(Date.parse(body.trust_file_refused_at ?? '') > 0)

    // Without a signal: the file is looked at.
    writeFileSync(file, trustOf('fourth'))
    await seen(/"rules_added":\["fourth"\].*the trust file has no faults any more and is in force/)
    assert.deepEqual(await ready(), [200, { status: 'ready' }])
  },
)

test('SIGHUP without TRUST_FILE does not stop the service', async (t) => {
  const dir = tempDir(t)
  const env = serverEnv(await testGateway(t), dir)
  const { child, seen, url } = await startServer(t, env)
  child.kill('SIGHUP')
  await seen(/SIGHUP has no effect, because TRUST_FILE is not set/)
  assert.equal((await fetch(`${url}/livez`)).status, 200)
})
