import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'

const bin = join(import.meta.dirname, '../../../.cache/cfn-lint/bin')

/** Options for a test that needs the Python packages. */
export const cfnLint = existsSync(bin) ? {} : { skip: 'cfn-lint is not installed (.ci/cfn-lint does this)' }

/** The SDK of Python, which SAM's translator asks for a Region. */
const env = { PATH: process.env['PATH'], AWS_DEFAULT_REGION: 'eu-west-1' }

/** Runs cfn-lint on files. Returns its output, which is empty if there is nothing to complain about. */
export function lint(files: readonly string[]): string {
  const { stdout, stderr } = spawnSync(join(bin, 'cfn-lint'), ['--regions', 'eu-west-1', '--', ...files], {
    env,
    encoding: 'utf8',
  })
  return `${stdout}${stderr}`
}

/** A document for {@link parseWithPython}; see `parse.py` for its kinds. */
export interface DocumentToParse {
  readonly kind: 'template' | 'sam' | 'hcl'
  readonly text: string
}

/** Returns what the parsers of the tools make of documents. */
export function parseWithPython(documents: readonly DocumentToParse[]): unknown[] {
  const { stdout, stderr } = spawnSync(join(bin, 'python'), [join(import.meta.dirname, 'parse.py')], {
    ...{ env, encoding: 'utf8', maxBuffer: 2 ** 28 },
    input: JSON.stringify(documents),
  })
  if (stdout === '') throw new Error(stderr)
  return z.array(z.unknown()).parse(JSON.parse(stdout))
}
