import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSecret } from '../../src/auth/token-format.ts'
import { runCli, startServer } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

test('tokens are created, used, shown, listed and revoked beside a running server', async (t) => {
  const env = serverEnv(await testGateway(t), tempDir(t))
  const { url } = await startServer(t, env)
  const cli = (...args: string[]) => runCli(t, ['tokens', ...args], env)
  const register = (secret: string) =>
    fetch(`${url}/register`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
      body: '{"name":"p-1"}',
    })

  const created = await cli(
    ...['create', '--label', 'Acme', '--plan', 'gold', '--plan', 'free', '--max-uses', '2'],
    ...['--expires', '7d', '--key-ttl', '30d', '--name-prefix', 'p-', '--rate', '60'],
  )
  assert.equal(created.code, 0)
  assert.match(created.stdout, /^fkb_[0-9A-Za-z]{38}\n$/, 'the secret is the only output on stdout')
  assert.ok(!created.stderr.includes(created.stdout.trim()))
  const id = created.stderr.match(/tok_[0-9A-Za-z]{20}/)?.[0] ?? ''

  const secret = created.stdout.trim()
  assert.equal((await register(secret)).status, 201)

  const shown = JSON.parse((await cli('show', id, '--json')).stdout)
  assert.equal(shown.label, 'Acme')
  assert.deepEqual(shown.plans, ['gold', 'free'])
  assert.deepEqual([shown.uses, shown.max_uses, shown.status], [1, 2, 'usable'])
  assert.equal(shown.key_ttl_seconds, 30 * 86_400)
  assert.equal(Date.parse(shown.expires_at) - Date.parse(shown.created_at), 7 * 86_400_000)
  assert.deepEqual(
    Object.keys(shown).filter((key) => /secret|hash/.test(key)),
    [],
  )

  const listed = await cli('list')
  assert.match(listed.stdout, /^ID +STATUS +USES +EXPIRES +PLANS +LABEL\n/)
  assert.match(listed.stdout, RegExp(`${id} +usable +1/2 .* gold,free +Acme`))

  assert.equal((await cli('revoke', id)).code, 0)
  assert.equal((await register(secret)).status, 401)
  assert.equal(JSON.parse((await cli('list', '--json')).stdout)[0].status, 'revoked')
})

test('tokens create --json prints only JSON, including the secret', async (t) => {
  const file = `${tempDir(t)}/x.db`
  const env = { STORE: `sqlite:${file}` }
  const { code, stdout, stderr } = await runCli(t, ['tokens', 'create', '--label', 'x', '--json'], env)
  assert.equal(code, 0)
  assert.match(JSON.parse(stdout).secret, /^fkb_/)
  assert.equal(stderr, `created a new store at ${file}\n`)
})

test('a label and a prefix are taken in any script, and stored in NFC', async (t) => {
  const env = { STORE: `sqlite:${tempDir(t)}/x.db` }
  const label = 'نرم\u200cافزار € Việt'
  const args = ['tokens', 'create', '--label', label.normalize('NFD'), '--name-prefix', 'é '.normalize('NFD')]
  const created = JSON.parse((await runCli(t, [...args, '--json'], env)).stdout)
  assert.deepEqual([created.label, created.name_prefix], [label.normalize('NFC'), 'é '])
})

test('errors are printed on stderr, with exit code 1', async (t) => {
  const env = { STORE: `sqlite:${tempDir(t)}/x.db` }
  const cases: [args: string[], message: RegExp, env?: Record<string, string>][] = [
    [['tokens', 'create'], /required option '--label <text>' not specified/],
    [['tokens', 'create', '--label', 'x', '--expires', '7'], /--expires.*Expected a duration such as/],
    [['tokens', 'create', '--label', 'x', '--max-uses', '0'], /--max-uses.*Expected a whole number from 1/],
    [['tokens', 'create', '--label', 'x', '--plan', 'G!'], /--plan.*Expected a plan name/],
    [
      ['tokens', 'create', '--label', 'a\nb'],
      /--label[\s\S]*printable characters: .*; character 2 is U\+000A/,
    ],
    [['tokens', 'create', '--label', ''], /--label.*Expected 1 to 100 printable characters/],
    [['tokens', 'create', '--label', 'a\u202eb'], /--label.*character 2 is U\+202E/],
    [['tokens', 'create', '--label', 'x', '--name-prefix', 'a  '], /--name-prefix.*character 2 is U\+0020/],
    [['tokens', 'create', '--label', 'x', '--name-prefix', ' '], /--name-prefix.*character 1 is U\+0020/],
    [['tokens', 'create', '--label', 'x', '--name-prefix', 'a'.repeat(101)], /at most 100 characters/],
    [['tokens', 'show', 'tok_none'], /there is no token tok_none/],
    [['tokens', 'revoke', 'tok_none'], /there is no token tok_none/],
    [['tokens', 'list', '--all'], /unknown option '--all'/],
    [['tokens', 'list'], /STORE must be sqlite:PATH/, { STORE: 'mysql:x' }],
    [['tokens', 'create', '--label', 'x'], /cannot be opened/, { STORE: 'sqlite:/dev/null/x' }],
    [['tokens', 'list'], /no other process can see/, { STORE: 'sqlite::memory:' }],
  ]
  assert.match((await runCli(t, ['tokens', 'list'], env)).stderr, /there is no store .*x\.db: correct STORE/)
  await runCli(t, ['tokens', 'create', '--label', 'first'], env)
  for (const [args, message, other] of cases) {
    const { code, stdout, stderr } = await runCli(t, args, other ?? env)
    assert.equal(code, 1, args.join(' '))
    assert.match(stderr, message)
    assert.equal(stdout, '')
  }
})

test('a usage error that quotes a secret hides it', async (t) => {
  const env = { STORE: `sqlite:${tempDir(t)}/x.db` }
  const secret = createSecret('fkb_')
  for (const args of [
    ['tokens', 'create', '--label', secret],
    [secret],
    ['registrations', 'list', '--status', secret],
    ['audit', `--${secret}`],
  ]) {
    const { code, stdout, stderr } = await runCli(t, args, env)
    assert.equal(code, 1)
    assert.match(stderr, /^error: .*\[redacted\]/)
    assert.ok(!`${stdout}${stderr}`.includes(secret), args.join(' '))
  }
})
