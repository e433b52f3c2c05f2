import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { parseEnv } from 'node:util'
import { z } from 'zod'
import { fetchScript } from '../support/register-script.ts'
import { dataPlane, type Service, startService } from '../support/service.ts'

/** Fetches the script, and runs it with a token. */
async function scriptIn(t: TestContext, service: Service) {
  const { dir, run } = await fetchScript(t, service)
  const { secret } = await service.token()
  const keys = () => service.gateway.account.keys.size
  return { dir, run: (...args: string[]) => run(args, { FIRSTKEY_TOKEN: secret }), keys }
}

/** Reads one variable of a file as a shell does, and as a loader of .env files does. */
function readVariable(file: string, name: string): [string, string | undefined] {
  const script = `. "$1"; printf %s "$${name}"`
  return [
    execFileSync('sh', ['-euc', script, 'sh', file], { encoding: 'utf8' }),
    parseEnv(readFileSync(file, 'utf8'))[name],
  ]
}

test('register.mjs --out: a file that cannot be written is found before anything is requested', async (t) => {
  const service = await startService(t)
  const { dir, run, keys } = await scriptIn(t, service)
  mkdirSync(join(dir, 'folder'))
  symlinkSync('folder', join(dir, 'link'))
  symlinkSync('nowhere/x', join(dir, 'dangling'))
  writeFileSync(join(dir, 'utf16.env'), Buffer.from('\uFEFFA=1\r\n', 'utf16le'))
  writeFileSync(join(dir, 'file'), '')
  execFileSync('mkfifo', [join(dir, 'fifo')])
  const before = readdirSync(dir)
  for (const [args, message] of [
    [['folder'], /folder is a folder: name a file in it, such as folder\/firstkey\.env/],
    [['folder', '--force'], /is a folder/],
    [['folder', '--append'], /is a folder/],
    [['link', '--force'], /is a folder/],
    [['new/'], /new\/ cannot be written/],
    [['nowhere/x'], /cannot be written \(ENOENT\)/],
    [['file/x'], /cannot be written/],
    [['dangling'], /cannot be written/],
    [['fifo', '--force'], /is not a regular file/],
    [['/dev/null', '--append'], /is not a regular file/],
    [['utf16.env', '--append'], /is not a text file in UTF-8/],
    [[''], /--out requires a file/],
  ] as const) {
    const done = await run('--name', 'a', '--out', ...args)
    assert.equal(done.code, 2, args.join(' '))
    assert.match(done.stderr, message)
  }
  assert.deepEqual(readdirSync(dir), before, 'nothing is left behind')
  assert.equal(keys(), 0, 'no request was sent')
})

test('register.mjs --out --append adds its variables or replaces them, and keeps everything else', async (t) => {
  const service = await startService(t)
  const { dir, run } = await scriptIn(t, service)
  const file = join(dir, '.env')
  const shape = (content: string) =>
    content.replaceAll(
      /(FIRSTKEY_\w+=)([^\r\n]*)/g,
      (_, start, value) => `${start}${value === '' ? '' : '…'}`,
    )
  const added = (lineEnd: string, without: string[] = []) =>
    ['REGISTRATION_ID', 'API_KEY_ID', 'API_KEY', 'NAME', 'DESCRIPTION', 'USAGE_PLAN_ID', 'PLAN', 'CREATED_AT']
      .concat(['API_HEADER', 'API_BASE_URL', 'API_CURL', 'MANAGEMENT_TOKEN', 'MANAGEMENT_URL'])
      .filter((name) => !without.includes(name))
      .map((name) => `FIRSTKEY_${name}=…${lineEnd}`)
      .join('')
  for (const [title, before, after] of [
    ['no file', undefined, added('\n')],
    ['an empty file', '', added('\n')],
    ['a last line without its end', '# mine\nA="b\nc"', `# mine\nA="b\nc"\n${added('\n')}`],
    ['CRLF', 'A=1\r\nB=2', `A=1\r\nB=2\r\n${added('\r\n')}`],
    [
      'earlier variables, among others',
      'A=1\n#FIRSTKEY_API_KEY=x\nexport FIRSTKEY_API_KEY=old\nFIRSTKEY_TOKEN=\nFIRSTKEY_EXPIRES_AT=old\nFIRSTKEY_API_KEY = twice\nFIRSTKEY_OTHER=\nZ=9',
      `A=1\n#FIRSTKEY_API_KEY=…\nexport FIRSTKEY_API_KEY=…\nFIRSTKEY_TOKEN=\nFIRSTKEY_OTHER=\nZ=9\n${added('\n', ['API_KEY'])}`,
    ],
    [
      'a byte-order mark, and bytes that are not UTF-8',
      '\xEF\xBB\xBFFIRSTKEY_PLAN=old\r\nN=\xE9',
      `\xEF\xBB\xBFFIRSTKEY_PLAN=…\r\nN=\xE9\r\n${added('\r\n', ['PLAN'])}`,
    ],
  ] as const) {
    if (before !== undefined) {
      writeFileSync(file, before, 'latin1')
      chmodSync(file, 0o640)
    }
    const done = await run('--name', 'acme-agent', '--description', 'Zürich', '--out', '.env', '--append')
    assert.equal(done.code, 0, done.stderr)
    assert.equal(shape(readFileSync(file, 'latin1')), after, title)
    assert.equal(/can be read by other users/.test(done.stderr), before !== undefined, title)
    assert.equal(statSync(file).mode & 0o777, before === undefined ? 0o600 : 0o640, title)
    assert.deepEqual(readdirSync(dir), ['.env'], title)
  }
  const { FIRSTKEY_API_KEY = '', FIRSTKEY_DESCRIPTION } = parseEnv(readFileSync(file, 'utf8'))
  assert.equal(await dataPlane(service, FIRSTKEY_API_KEY), 200)
  assert.equal(FIRSTKEY_DESCRIPTION, 'Zürich')
})

test('register.mjs writes through a symbolic link, and a shell and a .env loader read the same', async (t) => {
  const service = await startService(t)
  const { dir, run } = await scriptIn(t, service)
  mkdirSync(join(dir, 'real'))
  const real = join(dir, 'real/.env')
  writeFileSync(real, 'A=1\n', { mode: 0o600 })
  symlinkSync('real/.env', join(dir, '.env'))
  for (const description of ["it's", 'a "b" $HOME `id` \\n', '#1 = x; y', '']) {
    const args = ['--name', 'Łukasz & Søren', '--description', description, '--out', '.env']
    for (const mode of ['--append', '--force']) {
      const done = await run(...args, mode)
      assert.equal(done.code, 0, done.stderr)
      assert.ok(lstatSync(join(dir, '.env')).isSymbolicLink())
      assert.deepEqual(readVariable(real, 'FIRSTKEY_DESCRIPTION'), [description, description])
      assert.deepEqual(readVariable(real, 'FIRSTKEY_NAME'), Array(2).fill('Łukasz & Søren'))
      assert.equal(statSync(real).mode & 0o777, 0o600)
      assert.equal(readFileSync(real, 'utf8').startsWith('A=1\n'), mode === '--append')
    }
    writeFileSync(real, 'A=1\n')
  }
  assert.deepEqual(readdirSync(join(dir, 'real')), ['.env'])
})

test('register.mjs names its variables as Accept: text/plain does', async (t) => {
  const service = await startService(t)
  const { dir, run } = await scriptIn(t, service)
  await run('--name', 'a', '--out', 'x.env')
  const { secret } = await service.token()
  const lines = await (await service.register(secret, { name: 'a' }, { accept: 'text/plain' })).text()
  const namesIn = (content: string) => [...content.matchAll(/^(\w+)=/gm)].map(([, name]) => name)
  assert.deepEqual(namesIn(readFileSync(join(dir, 'x.env'), 'utf8')), namesIn(lines))
})

test('register.mjs --json --out writes the JSON response to the file, and prints no secret', async (t) => {
  const service = await startService(t)
  const { dir, run } = await scriptIn(t, service)
  const done = await run('--name', 'a', '--json', '--out', 'key.json')
  assert.equal(done.code, 0, done.stderr)
  const written = z
    .looseObject({ api_key_id: z.string(), api_key_value: z.string() })
    .parse(JSON.parse(readFileSync(join(dir, 'key.json'), 'utf8')))
  assert.deepEqual(JSON.parse(done.stdout), { api_key_id: written.api_key_id })
  assert.ok(!done.stderr.includes(written.api_key_value))
  assert.equal(statSync(join(dir, 'key.json')).mode & 0o777, 0o600)
})

test('register.mjs prints a key that can no longer be written, and leaves no second copy of it', async (t) => {
  const service = await startService(t)
  const { dir, run } = await scriptIn(t, service)
  writeFileSync(join(dir, '.env'), 'A=1\n')
  // While the key is made, the file becomes a folder.
  service.gateway.onCall = () => {
    rmSync(join(dir, '.env'), { recursive: true })
    mkdirSync(join(dir, '.env'))
  }
  const done = await run('--name', 'a', '--out', '.env', '--force')
  assert.equal(done.code, 1)
  assert.match(done.stderr, /\.env could not be written \(E\w+\); the key was printed instead/)
  const [, key = ''] = done.stdout.match(/^api_key_value=(\w+)$/m) ?? []
  assert.equal(await dataPlane(service, key), 200)
  assert.deepEqual(
    readdirSync(dir).filter((name) => name !== '.env' && !name.startsWith('.firstkey-')),
    [],
  )
  assert.ok(existsSync(join(dir, '.env')))
})
