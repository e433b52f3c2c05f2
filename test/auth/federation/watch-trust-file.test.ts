import assert from 'node:assert/strict'
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openFederation } from '../../../src/auth/federation/federation.ts'
import { watchTrustFile } from '../../../src/auth/federation/watch-trust-file.ts'
import { systemClock } from '../../../src/clock.ts'
import { createSigningKey, startIssuer } from '../../support/identity/issuer.ts'
import { tempDir } from '../../support/service.ts'

const AUDIENCE = 'https://keys.example.com'

const trustOf = (issuer: string, ...repositories: string[]) =>
  `issuers: { it: ${issuer} }\nrules:\n${repositories
    .map(
      (id) =>
        `  - { id: "r${id}", issuer: it, match: { repository_id: "${id}" }, grant: { key_ttl: 24h } }\n`,
    )
    .join('')}`
const github = (...repositories: string[]) => trustOf('{ kind: github }', ...repositories)

/** Watches a trust file, and collects what is logged about it. */
function watch(t: TestContext, path: string) {
  const lines: { level: string; message: string; fields: Record<string, unknown> }[] = []
  const at = (level: string) => (fields: object, message: string) =>
    void lines.push({ level, message, fields: { ...fields } })
  const log = { info: at('info'), warn: at('warn'), error: at('error') }
  const federation = openFederation({
    ...{ path, publicUrl: AUDIENCE, plans: null, variable: () => undefined },
    ...{ proxies: {}, clock: systemClock, log },
  })
  const trustFileWatch = watchTrustFile(federation, {
    ...{ path, publicUrl: AUDIENCE, isPublicUrlSet: true },
    ...{ log, everyMs: 10 },
  })
  t.after(() => trustFileWatch.stop())
  /** Resolves with the next line of the log. */
  const nextLine = async () => {
    while (lines.length === 0) await sleep(5)
    return lines.shift()
  }
  const rules = () => federation.trust().rules.map(({ id }) => id)
  return { federation, trustFileWatch, lines, nextLine, rules }
}

test('a ConfigMap that is changed by another symbolic link takes effect, and the log names the rules', async (t) => {
  const dir = tempDir(t)
  const publish = (version: string, text: string) => {
    mkdirSync(join(dir, version))
    writeFileSync(join(dir, version, 'trust.yaml'), text)
    symlinkSync(version, join(dir, '..data_tmp'))
    renameSync(join(dir, '..data_tmp'), join(dir, '..data'))
  }
  publish('..1', github('1', '2'))
  symlinkSync('..data/trust.yaml', join(dir, 'trust.yaml'))
  const { nextLine, rules } = watch(t, join(dir, 'trust.yaml'))
  publish('..2', github('1', '3'))
  rmSync(join(dir, '..1'), { recursive: true })
  const line = await nextLine()
  assert.deepEqual([line?.level, line?.message], ['info', 'the changed trust file is in force'])
  assert.deepEqual(line?.fields, {
    trust_file: join(dir, 'trust.yaml'),
    rules_added: ['r3'],
    rules_removed: ['r2'],
  })
  assert.deepEqual(rules(), ['r1', 'r3'])
})

test('a file with faults, or none, is refused and logged once; the rules before it stay until it is right', async (t) => {
  const path = join(tempDir(t), 'trust.yaml')
  writeFileSync(path, github('1'))
  const { federation, lines, nextLine, rules } = watch(t, path)
  for (const [change, fault] of [
    [() => writeFileSync(path, `${github('2')}  - nonsense\n`), /trust\.yaml:4:5: /],
    [() => rmSync(path), /trust\.yaml:1:1: cannot be read: ENOENT/],
    [() => writeFileSync(path, ''), /trust\.yaml:1:1: /],
  ] as const) {
    change()
    const line = await nextLine()
    assert.equal(line?.level, 'error')
    assert.match(line?.message ?? '', /has faults and is refused; the rules before it stay in force/)
    assert.match(String(line?.fields['faults']), fault)
    assert.deepEqual(rules(), ['r1'])
    assert.notEqual(federation.state().refused, null)
    await sleep(60)
    assert.deepEqual(lines, [], 'logged once')
  }
  writeFileSync(path, github('1'))
  assert.equal((await nextLine())?.message, 'the trust file has no faults any more and is in force')
  assert.equal(federation.state().refused, null)
})

test('a refused file that is written again is logged once, also if it is about to be read again at that moment', async (t) => {
  const path = join(tempDir(t), 'trust.yaml')
  writeFileSync(path, github('1'))
  const { lines, nextLine } = watch(t, path)
  for (let i = 0; i < 8; i++) {
    writeFileSync(path, `fault ${i}`)
    assert.match((await nextLine())?.message ?? '', /has faults and is refused/)
    await sleep(30)
    assert.deepEqual(lines, [], `logged once: ${i}`)
    writeFileSync(path, github('1'))
    assert.match((await nextLine())?.message ?? '', /has no faults any more/)
    rmSync(path)
    assert.match((await nextLine())?.message ?? '', /has faults and is refused/)
  }
})

test('a file that names another which is not there yet takes effect when that one comes', async (t) => {
  const dir = tempDir(t)
  const path = join(dir, 'trust.yaml')
  writeFileSync(path, github('1'))
  const { federation, lines, nextLine, rules } = watch(t, path)
  // The two are mounted one after the other.
  writeFileSync(path, trustOf('{ kind: github, jwks_file: jwks.json }', '2'))
  assert.match(String((await nextLine())?.fields['faults']), /jwks_file must be a file that can be read/)
  const refusedAt = federation.state().refused?.at
  await sleep(150)
  assert.deepEqual(lines, [], 'logged once')
  assert.equal(federation.state().refused?.at, refusedAt)
  writeFileSync(join(dir, 'jwks.json'), '{')
  assert.match(String((await nextLine())?.fields['faults']), /jwks_file must be a file with the keys/)
  writeFileSync(join(dir, 'jwks.json'), JSON.stringify({ keys: [createSigningKey('RS256').jwk] }))
  assert.match((await nextLine())?.message ?? '', /has no faults any more and is in force/)
  assert.deepEqual(rules(), ['r2'])
})

test('a reload that is asked for happens at once and is answered in the log, also without a change', async (t) => {
  const path = join(tempDir(t), 'trust.yaml')
  writeFileSync(path, github('1'))
  const { trustFileWatch, nextLine, rules } = watch(t, path)
  trustFileWatch.reload()
  assert.equal((await nextLine())?.message, 'the trust file was read again and has not changed')
  writeFileSync(path, github('2'))
  trustFileWatch.reload()
  assert.deepEqual((await nextLine())?.fields['rules_added'], ['r2'])
  assert.deepEqual(rules(), ['r2'])
})

test('the file with the keys of an issuer is read again when a token needs it', async (t) => {
  const dir = tempDir(t)
  const issuer = await startIssuer(t, { alg: 'RS256', audience: AUDIENCE })
  const publish = () =>
    writeFileSync(join(dir, 'jwks.json'), JSON.stringify({ keys: issuer.keys.map(({ jwk }) => jwk) }))
  publish()
  const path = join(dir, 'trust.yaml')
  writeFileSync(path, trustOf(`{ kind: github, issuer: "${issuer.url}", jwks_file: jwks.json }`, '1'))
  const { federation } = watch(t, path)
  await federation.verify(issuer.sign({ repository_id: '1' }))
  issuer.rotate()
  publish()
  const verified = await federation.verify(issuer.sign({ repository_id: '1' }))
  assert.equal(verified.claims['repository_id'], '1')
})

test('what is likely to be a mistake is logged at the start, and again when the file has changed', async (t) => {
  const path = join(tempDir(t), 'trust.yaml')
  writeFileSync(path, 'issuers: { it: { kind: github } }\nrules: []\n')
  const { nextLine } = watch(t, path)
  const warning = 'no rule is for the issuer it, so all its callers are refused'
  assert.deepEqual((await nextLine())?.message, warning)
  writeFileSync(path, 'issuers: { it: { kind: github, single_use: false } }\nrules: []\n')
  assert.deepEqual((await nextLine())?.fields['issuers_changed'], ['it'])
  assert.deepEqual((await nextLine())?.message, warning)
})
