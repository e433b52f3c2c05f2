import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import { columnWidths, formatJson, printable } from '../../src/cli/format.ts'
import { commandLine } from '../../src/cli/shell-quoting.ts'
import { SERVICE } from '../../src/store/audit.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { newRegistration } from '../store/store-contract.ts'
import { long } from '../support/long.ts'
import { runCli } from '../support/server-process.ts'
import { tempDir, unlimitedPolicy } from '../support/service.ts'

const run = promisify(execFile)
const MANY = 130_000

/** Runs a shell command in which `firstkey` is the CLI. @returns its output, and the exit codes of its pipeline on stderr */
async function shell(command: string, env: Record<string, string>) {
  const script = `firstkey() { "${process.execPath}" src/cli/main.ts "$@"; }\n${command}; echo "codes \${PIPESTATUS[*]}" >&2`
  const cwd = join(import.meta.dirname, '../..')
  return run('bash', ['-c', script], {
    cwd,
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...env },
  })
}

/** A store with a token, 1,200 registrations and 130,000 audit entries. */
async function fill(t: TestContext): Promise<{ STORE: string }> {
  const path = join(tempDir(t), 'firstkey.db')
  const store = openSqliteStore(path)
  const { token } = await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
  const registrations = Array.from({ length: 1_200 }, (_, i) => newRegistration(token.id, 1_000 + i))
  await store.beginRegistrations(registrations, { owner: 'dead', until: 5_000 })
  const entry = { actor: SERVICE, action: 'request.refused', detail: 'x', tokenId: token.id } as const
  const entries = Array.from({ length: MANY }, (_, i) => ({
    ...entry,
    ...{ at: 10_000 + i, registrationId: null, apiKeyId: null },
  }))
  await store.appendAudit(entries)
  await store.close()
  return { STORE: `sqlite:${path}` }
}

test(
  'a long list needs little memory, is whole and in order, and ends when its reader has enough',
  long,
  async (t) => {
    const env = await fill(t)
    const small = { ...env, NODE_OPTIONS: '--max-old-space-size=80' }
    const table = await runCli(t, ['audit', '--limit', String(MANY)], small)
    assert.equal(table.code, 0, table.stderr)
    const lines = table.stdout.trimEnd().split('\n')
    assert.equal(lines.length, MANY + 1)
    assert.match(lines[0] ?? '', /^TIME +ACTOR +ACTION/)
    const times = lines.slice(2).map((line) => line.slice(0, 24)) // The first entry is the command's own.
    assert.deepEqual(times, times.toSorted().reverse())
    assert.match(table.stderr, /^There may be more entries: add --after /m)

    const json = await runCli(t, ['registrations', 'list', '--limit', '1100', '--json'], small)
    assert.equal(json.code, 0, json.stderr)
    const listed = JSON.parse(json.stdout) as { id: string }[]
    assert.equal(new Set(listed.map(({ id }) => id)).size, 1_100)
    assert.equal(json.stdout, `${JSON.stringify(listed, null, 2)}\n`)

    for (const command of [
      ...['audit --limit 130000', 'audit --limit 130000 --json', 'registrations list --limit 1200'],
      ...[
        'tokens list',
        'registrations list --limit 1200 --json',
        'registrations recover',
        '--help',
        'audit --help',
      ],
    ]) {
      const { stdout, stderr } = await shell(`firstkey ${command} | head -1`, env)
      assert.equal(stdout.split('\n').length, 2, command)
      assert.match(stderr.trim().split('\n').at(-1) ?? '', /^codes 0 0$/, `${command}: ${stderr}`)
      assert.doesNotMatch(stderr, /EPIPE|Error|^ +at /m, command)
    }
    const closed = await shell('firstkey audit --limit 5000 --json 2>&1 | true', env)
    assert.equal(closed.stderr, 'codes 0 0\n')
    const full = await shell('firstkey tokens create --label lost > /dev/full', env)
    assert.match(full.stderr, /^firstkey: the output cannot be written: .*ENOSPC/m)
    assert.match(full.stderr, /^codes 1$/m)
  },
)

test('no argument and no variable forges a line of output or of the audit trail', long, async (t) => {
  const env = { STORE: `sqlite:${join(tempDir(t), 'firstkey.db')}` }
  const forged = 'x\n2026-11-28T00:00:00.000Z  operator root  token.revoked'
  assert.equal((await runCli(t, ['tokens', 'create', '--label', 'first'], env)).code, 0)
  for (const [text, shown] of [
    [forged, /is "x\\u\{a\}2026-11-28T00:00:00\.000Z /],
    ['reg_1\r', /is "reg_1\\u\{d\}"/],
    ['a\u001b[2Kb', /is "a\\u\{1b\}\[2Kb"/],
    ['a\u009b31mb', /\\u\{9b\}/],
    ['a\u202eb', /\\u\{202e\}/],
    ['a\u2066b', /\\u\{2066\}/],
    ['a\u200bb', /\\u\{200b\}/],
    ['a\u2028b', /\\u\{2028\}/],
    ['a\u{e0041}b', /\\u\{e0041\}/],
  ] as const) {
    for (const args of text === forged ? [['tokens', 'show', text], [text]] : [['audit', '--token', text]]) {
      const { code, stdout, stderr } = await runCli(t, args, env)
      assert.equal(code, 1)
      assert.equal(stdout, '')
      assert.match(
        stderr,
        /^firstkey: the .*argument.* must have only printable characters: .*; character \d is U\+[0-9A-F]{4,5}\n$/,
      )
      assert.match(stderr, shown)
    }
    if (text !== forged) continue
    const other = { ...env, SUDO_USER: text, USER: text, LOGNAME: text }
    assert.equal((await runCli(t, ['tokens', 'list'], other)).code, 0)
  }
  assert.equal((await runCli(t, ['tokens', 'list'], { ...env, SUDO_USER: 'root\u202e' })).code, 0)
  // What another program wrote into the store is escaped too.
  const store = openSqliteStore(env.STORE.slice('sqlite:'.length))
  const entry = { at: 1, action: 'request.refused', detail: forged, tokenId: null } as const
  await store.appendAudit([{ ...entry, actor: SERVICE, registrationId: null, apiKeyId: null }])
  await store.close()

  const audit = await runCli(t, ['audit'], env)
  const rows = audit.stdout.trimEnd().split('\n')
  assert.equal(rows.filter((row) => /operator root +token\.revoked/.test(row)).length, 2, audit.stdout)
  for (const row of rows.slice(1)) assert.match(row, /^\d{4}-\S+Z {2}(operator|service)/)
  const { username } = userInfo()
  const entries = JSON.parse((await runCli(t, ['audit', '--json'], env)).stdout) as {
    actor: { id: string }
  }[]
  const actors = new Set(entries.map(({ actor }) => actor.id))
  assert.ok(actors.has(username))
  assert.ok(
    [...actors].every((id) => id === null || id.startsWith(username)),
    [...actors].join(),
  )
})

test('the help of every command says what times and exit codes mean', long, async (t) => {
  for (const args of [[], ['audit'], ['registrations', 'revoke']]) {
    const { code, stdout } = await runCli(t, [...args, '--help'], {})
    assert.equal(code, 0)
    assert.match(stdout, /^Times are ISO 8601, UTC unless they have an offset/m)
    assert.match(stdout, /^Exit codes: 0 done, or a dry run; 1 /m)
  }
})

test('JSON that is printed on a terminal has its control characters escaped, and is the same JSON', () => {
  const value = { 'a\u009b': ['\u202e', '\u{e0041}', '\n', '\u007f', 'نرم\u200cافزار', '👍'] }
  const text = formatJson(value)
  assert.deepEqual(JSON.parse(text), value)
  assert.doesNotMatch(text, /[\u007f-\u009f\u202e\u{e0041}]/u)
  assert.ok(text.includes('نرم\u200cافزار'))
  assert.deepEqual(columnWidths([['a', 'bb'], ['ccc']]), [3, 2])
  assert.equal(printable('a\tb'), 'a\\u{9}b')
})

test('a recorded command line is one line, and can be pasted into a shell', async () => {
  const words = [
    'tokens',
    'create',
    '--label',
    "Acme, Bob's CI",
    '',
    'tok_1',
    "a\n'\\b\u202e",
    '#1',
    '$(x) `y` *',
  ]
  const line = commandLine(words)
  assert.match(line, /^tokens create --label 'Acme, Bob'\\''s CI' '' tok_1 /)
  assert.equal(printable(line), line)
  const { stdout } = await run('bash', ['-c', `printf '%s\\0' ${line}`])
  assert.deepEqual(stdout.split('\0').slice(0, -1), words)
})
