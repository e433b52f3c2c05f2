import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Gateway } from '../../emulator/gateway.ts'
import { assumedLatency, type GatewayOptions } from '../../emulator/options.ts'
import { newRegistrationIds } from '../../src/registration/key-names.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { newRegistration } from '../store/store-contract.ts'
import { FAST_SERVER, runCli, startProgram, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

interface Setting {
  readonly gateway: Gateway
  readonly env: Record<string, string>
  readonly store: Store
  readonly server: Awaited<ReturnType<typeof startServer>>
  token(label: string): Promise<{ id: string; secret: string }>
  /** Registers, and returns the milliseconds until the 201. */
  register(secret: string): Promise<number>
  /** Starts a command beside the server. */
  start(...args: string[]): ReturnType<typeof startProgram>
}

async function setUp(t: TestContext, options: Partial<GatewayOptions> = {}, main?: string): Promise<Setting> {
  const gateway = await testGateway(t, options)
  const dir = tempDir(t)
  const env = { ...serverEnv(gateway, dir), AWS_CALLS_PER_SECOND: '10' }
  const server = await startServer(t, env, main)
  const store = openSqliteStore(join(dir, 'firstkey.db'))
  t.after(() => store.close())
  return {
    gateway,
    env,
    store,
    server,
    async token(label) {
      const { stdout } = await runCli(t, ['tokens', 'create', '--label', label, '--json'], env)
      return JSON.parse(stdout) as { id: string; secret: string }
    },
    async register(secret) {
      const since = performance.now()
      const answer = await fetch(`${server.url}/register`, {
        method: 'POST',
        headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
        body: '{"name":"acme-agent"}',
      })
      assert.equal(answer.status, 201, await answer.text())
      return performance.now() - since
    },
    start: (...args) => startProgram(t, 'src/cli/main.ts', args, env),
  }
}

const times = <T>(count: number, make: () => Promise<T>) => Promise.all(Array.from({ length: count }, make))
const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0

function answers({ gateway }: Setting, operation: string, status: number): number {
  return gateway.answers[operation]?.[status] ?? 0
}

/** Returns the number of 429s so far. */
const throttled = ({ gateway }: Setting) =>
  Object.values(gateway.answers).reduce((sum, byStatus) => sum + (byStatus[429] ?? 0), 0)

async function keysOf(store: Store, tokenId: string): Promise<string[]> {
  const all = await store.listRegistrations({ tokenId, limit: 1_000 })
  return all.filter(({ status }) => status !== 'ended').map(({ id }) => id)
}

test('tokens revoke --with-keys leaves 60 keys to the running server: no call is throttled, and registrations keep their latency', async (t) => {
  const setting = await setUp(t, { quotas: true, latency: assumedLatency })
  const { register, store } = setting
  const revoked = await setting.token('revoked')
  const other = await setting.token('other')
  await times(60, () => register(revoked.secret))
  const usual = []
  for (let n = 0; n < 5; n++) {
    usual.push(await register(other.secret))
    await sleep(1_000)
  }
  const throttledBefore = throttled(setting)

  const command = setting.start('tokens', 'revoke', revoked.id, '--with-keys', '--yes')
  let code: number | string | undefined
  const ended = command.ended().then((result) => {
    code = result
  })
  const beside = []
  while (code === undefined) {
    beside.push(await register(other.secret))
    await sleep(1_000)
  }
  await ended
  assert.equal(code, 0, command.output.stderr)
  assert.match(
    command.output.stderr,
    /^A running server works on the keys; Ctrl-C stops only this command\.$/m,
  )
  assert.match(command.output.stderr, /^60\/60 .* revoked$/m)
  assert.match(command.output.stderr, /^60 of 60 revoked\.$/m)
  assert.deepEqual(await keysOf(store, revoked.id), [])
  assert.equal(answers(setting, 'DeleteApiKey', 202), 60)
  assert.equal(throttled(setting) - throttledBefore, 0, 'calls were throttled')
  assert.ok(beside.length > 10, `${beside.length} registrations beside the command`)
  const [before, during] = [median(usual), median(beside)]
  assert.ok(during < 2 * before + 200, `${Math.round(before)} ms before, ${Math.round(during)} ms beside`)
})

test('Ctrl-C stops a revocation beside a server, which deletes the remaining keys', async (t) => {
  const { token, register, start, store } = await setUp(t)
  const { id, secret } = await token('revoked')
  await times(10, () => register(secret))
  const command = start('registrations', 'revoke', '--token', id, '--yes')
  await command.seen(/^1\/10 /m)
  command.child.kill('SIGINT')
  assert.equal(await command.ended(), 130)
  assert.match(
    command.output.stderr,
    /^Stopped\. Of the keys, \d are left; the running server finishes them\.$/m,
  )
  for (let tries = 0; (await keysOf(store, id)).length > 0; tries++) {
    assert.ok(tries < 300, 'the server did not delete the keys')
    await sleep(100)
  }
})

test('if the server dies, the command takes over the leader lease and deletes the keys itself', async (t) => {
  const setting = await setUp(t)
  const { token, register, start, server, store } = setting
  const { id, secret } = await token('revoked')
  await times(10, () => register(secret))
  const command = start('registrations', 'revoke', '--token', id, '--yes')
  await command.seen(/^1\/10 /m)
  server.child.kill('SIGKILL')
  assert.equal(await command.ended(), 0, command.output.stderr)
  assert.match(command.output.stderr, /^10 of 10 revoked\.$/m)
  assert.deepEqual(await keysOf(store, id), [])
  assert.equal(answers(setting, 'DeleteApiKey', 202), 10)
})

test('registrations recover --yes beside a server waits until the server has recovered, and reports what it has', async (t) => {
  const setting = await setUp(t, {}, FAST_SERVER)
  const { gateway, token, store, start } = setting
  const { id: tokenId } = await token('x')
  // The server cannot recover yet.
  gateway.faults.order({ operation: 'GetApiKeys', when: 'before', kind: 'denied', times: 1_000_000 })
  const left = newRegistration(tokenId, Date.now())
  await store.beginRegistrations([left], { owner: 'dead', until: Date.now() - 1 })
  const recover = () => start('registrations', 'recover', '--yes', '--json')
  let command = recover()
  // While the server tries, the registration is under its lease, and a command finds nothing to recover.
  while ((await command.seen(/A running server works on the registrations|^\[\]$/m))[0] === '[]')
    command = recover()
  gateway.faults.clear()
  assert.equal(await command.ended(), 0, command.output.stderr)
  assert.deepEqual(JSON.parse(command.output.stdout), [{ id: left.id, action: 'undo', done: true }])
  assert.equal((await store.getRegistration(left.id))?.status, 'failed')
})

test('reconcile and rotate make few calls a second beside a server', async (t) => {
  const setting = await setUp(t)
  const { gateway, token, register, env } = setting
  const { secret } = await token('x')
  await register(secret)
  for (const id of newRegistrationIds(setting.store.id, 12))
    gateway.account.createKey({ name: `${id} stray`, enabled: true })
  const since = performance.now()
  const { code, stderr } = await runCli(t, ['reconcile', '--yes', '--delete'], env)
  assert.equal(code, 0, stderr)
  const seconds = (performance.now() - since) / 1_000
  const calls = answers(setting, 'DeleteApiKey', 202)
  assert.equal(calls, 12)
  assert.ok(calls / seconds <= 2, `${calls} deletions in ${seconds} s`)
})

test('rotate beside a server says who deletes the old key, also if the clock of the machine is wrong', async (t) => {
  // The clock of the machine is ahead of AWS's: by it, the lease of the server has expired.
  const setting = await setUp(t, { clock: () => Date.now() - 600_000 })
  const { token, register, store, env } = setting
  const { id, secret } = await token('x')
  await register(secret)
  const [own] = await store.listRegistrations({ tokenId: id, limit: 1 })
  assert.ok(own?.apiKeyId)
  const rotate = ['registrations', 'rotate', own.id]
  const kept = await runCli(t, rotate, env)
  assert.equal(kept.code, 0, kept.stderr)
  assert.match(
    kept.stderr,
    RegExp(`^The key ${own.apiKeyId} works until \\S+Z; the running server deletes it then\\.$`, 'm'),
  )
})

test('rotate --overlap 0 beside a server waits until the server has deleted the old key', async (t) => {
  const { gateway, token, register, store, env } = await setUp(t)
  const { id, secret } = await token('x')
  await register(secret)
  const [own] = await store.listRegistrations({ tokenId: id, limit: 1 })
  assert.ok(own?.apiKeyId)
  const { code, stderr } = await runCli(
    t,
    ['registrations', 'rotate', own.id, '--overlap', '0', '--yes'],
    env,
  )
  assert.equal(code, 0, stderr)
  assert.match(stderr, /^A running server works on the keys; Ctrl-C stops only this command\.$/m)
  assert.match(stderr, RegExp(`^The key ${own.apiKeyId} is deleted\\.$`, 'm'))
  assert.ok(!gateway.account.keys.has(own.apiKeyId))
})
