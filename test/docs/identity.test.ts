import assert from 'node:assert/strict'
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { parse } from 'yaml'
import { ISSUER_KINDS, type IssuerKind, issuerKinds } from '../../src/auth/federation/issuer-kinds.ts'
import { parseTrust } from '../../src/auth/federation/trust-file.ts'
import { trustJsonSchema } from '../../src/auth/federation/trust-schema.ts'
import { createSigningKey } from '../support/identity/issuer.ts'
import { tempDir } from '../support/service.ts'

const root = join(import.meta.dirname, '../..')
const page = readFileSync(join(root, 'docs/identity.md'), 'utf8')
const blocks = (text: string) =>
  [...text.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)]
    .map(([, block = '']) => block)
    .filter((block) => /^(issuers|rules|audience):/m.test(block))

test('every trust file of the documents is complete and has no faults, for the service and for editors', (t) => {
  const dir = tempDir(t)
  writeFileSync(join(dir, 'cluster-keys.json'), JSON.stringify({ keys: [createSigningKey('RS256').jwk] }))
  const context = {
    ...{ path: join(dir, 'trust.yaml'), publicUrl: 'https://keys.example.com', plans: ['gold', 'free'] },
    variable: (name: string) => (name === 'OIDC_SECRET' ? 'a secret' : undefined),
  }
  const validate = new Ajv2020().compile(trustJsonSchema())
  for (const file of globSync('*.md', { cwd: join(root, 'docs') }))
    for (const block of blocks(readFileSync(join(root, 'docs', file), 'utf8'))) {
      assert.ok(parseTrust(block, context).rules.length > 0, file)
      assert.ok(validate(parse(block)), JSON.stringify(validate.errors))
    }
  const [first = '', whole = ''] = blocks(page)
  assert.ok(!validate(parse(first.replace('key_ttl', 'key_tll'))))
  assert.ok(!validate(parse(first.replace('kind: github', 'kind: githup'))))
  assert.equal(first.trimEnd().split('\n').length, 5, 'the first step is five lines')
  const kinds = [...parseTrust(whole, context).issuers.values()].map(({ kind }) => kind)
  assert.deepEqual([...kinds].sort(), [...ISSUER_KINDS].sort())
})

test('the table of kinds has what each must pin', () => {
  for (const kind of ISSUER_KINDS) {
    const { pins, singleUse }: IssuerKind = issuerKinds[kind]
    const [, , , pinned = '', once = ''] =
      page.match(RegExp(`^\\| \`${kind}\`.*$`, 'm'))?.[0].split('|') ?? []
    for (const claim of (pins ?? []).flat()) assert.ok(pinned.includes(`\`${claim}\``), `${kind}: ${claim}`)
    assert.equal(once.trim(), singleUse ? 'yes' : 'no', kind)
  }
})
