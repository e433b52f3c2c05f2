import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { startTarget, trustFile } from '../support/identity/attacks.ts'
import { createSigningKey } from '../support/identity/issuer.ts'
import { startService, tempDir } from '../support/service.ts'

const FLOOD = 1_000
const AT_ONCE = 50

test('a flood of tokens of as many unknown issuers causes no request to any, no memory growth, and few audit entries', async (t) => {
  setFlagsFromString('--expose-gc')
  const collectGarbage: () => void = runInNewContext('gc')
  const target = await startTarget(t)
  const path = join(tempDir(t), 'trust.yaml')
  writeFileSync(path, trustFile(target))
  const service = await startService(t, { env: { TRUST_FILE: path } })
  const key = createSigningKey()

  async function flood(): Promise<number> {
    for (let sent = 0; sent < FLOOD; sent += AT_ONCE)
      await Promise.all(
        Array.from({ length: AT_ONCE }, async () => {
          const jwt = target.issuer.sign({ iss: `${target.evilUrl}/${randomUUID()}` }, { key })
          const answer = await service.register(jwt, undefined, { 'idempotency-key': randomUUID() })
          assert.equal(answer.status, 401, await answer.text())
        }),
      )
    service.logLines.length = 0
    collectGarbage()
    return process.memoryUsage().heapUsed
  }
  // The first one fills what is bounded.
  await flood()
  const before = await flood()
  const grown = (await flood()) - before
  assert.ok(grown < 2_000_000, `the heap has grown by ${grown} bytes in ${FLOOD} requests`)
  const { discovery, jwks } = target.issuer.requests
  assert.equal(target.evilRequests() + discovery + jwks, 0)
  await service.deps.refusals.flush()
  const entries = await service.deps.store.listAudit({ limit: 100 })
  assert.ok(entries.length < 10, `${entries.length} audit entries`)
})
