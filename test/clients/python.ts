import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { cachedFolder } from '../support/cached-folder.ts'
import { startDemo } from '../support/clients/demo.ts'
import { runCommand } from '../support/run-command.ts'
import { tempDir } from '../support/service.ts'

const root = join(import.meta.dirname, '../..')
const document = join(root, 'docs/openapi.json')
const scripts = join(import.meta.dirname, 'python')

/** Returns the programs of `requirements.txt`, installed in a virtual environment. */
async function installedPrograms(): Promise<string> {
  const python = process.env['PYTHON'] || 'python3'
  const requirements = join(scripts, 'requirements.txt')
  const version = await runCommand(python, ['-VV'], root).catch((cause) => {
    throw new Error('There is no python3. Install python3 and python3-venv (.ci/python does this).', {
      cause,
    })
  })
  const folder = await cachedFolder(
    'clients-python',
    version + readFileSync(requirements, 'utf8'),
    async (target) => {
      await runCommand(python, ['-m', 'venv', target], root)
      const args = ['-m', 'pip', 'install', '--quiet', '--require-hashes', '--requirement', requirements]
      await runCommand(join(target, 'bin/python'), args, root)
    },
  )
  return join(folder, 'bin')
}

const programs = await installedPrograms()
const run = (program: string, args: readonly string[], cwd = root) =>
  runCommand(join(programs, program), args, cwd)

test('openapi-spec-validator accepts docs/openapi.json, and Python compiles its patterns', async () => {
  assert.match(await run('openapi-spec-validator', [document]), /OK/)
  assert.match(await run('python', [join(scripts, 'compile_patterns.py'), document]), /^[1-9]\d* patterns/)
})

test('a client that openapi-python-client generates registers, rotates and revokes', async (t) => {
  const { url, token } = await startDemo(t)
  const folder = tempDir(t)
  const options = ['--meta', 'none', '--config', join(scripts, 'generator.yaml'), '--fail-on-warning']
  await run(
    'openapi-python-client',
    ['generate', '--path', document, '--output-path', join(folder, 'client'), ...options],
    folder,
  )
  const life = readFileSync(join(scripts, 'life.py'), 'utf8')
  assert.match(await run('python', ['-c', life, url, token], folder), /^revoked reg_/)
})
