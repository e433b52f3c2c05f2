import assert from 'node:assert/strict'
import { cpSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { cachedFolder } from '../support/cached-folder.ts'
import { startDemo } from '../support/clients/demo.ts'
import { runCommand } from '../support/run-command.ts'

const document = join(import.meta.dirname, '../../docs/openapi.json')
const source = join(import.meta.dirname, 'typescript')

test('a client that @hey-api/openapi-ts generates compiles, registers, rotates and revokes', async (t) => {
  const { url, token } = await startDemo(t)
  const lock = readFileSync(join(source, 'package-lock.json'), 'utf8')
  const folder = await cachedFolder('clients-typescript', lock, async (target) => {
    for (const file of ['package.json', 'package-lock.json']) cpSync(join(source, file), join(target, file))
    await runCommand('npm', ['ci', '--no-audit', '--no-fund'], target)
  })
  for (const file of ['life.ts', 'tsconfig.json', 'openapi-ts.config.js'])
    cpSync(join(source, file), join(folder, file))
  const bin = join(folder, 'node_modules/.bin')
  await runCommand(join(bin, 'openapi-ts'), ['--input', document], folder)
  await runCommand(join(bin, 'tsc'), ['--project', 'tsconfig.json'], folder)
  assert.match(await runCommand(process.execPath, ['life.ts', url, token], folder), /^revoked reg_/)
})
