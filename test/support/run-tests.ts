// Runs tests with the reporter of the npm test scripts: node test/support/run-tests.ts [options and files of node --test]
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

const here = import.meta.dirname
const settings = [
  `--import=${join(here, 'end-leaking-file.ts')}`,
  '--test',
  '--test-concurrency=2',
  `--test-reporter=${join(here, 'reporter.ts')}`,
]

/** Runs tests to their end. @returns the exit code: 0 if all passed */
export async function runTests(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<number> {
  const child = spawn(process.execPath, [...settings, ...args], {
    env: { NODE_COMPILE_CACHE: join(here, '../../.cache/compile'), ...process.env, ...env },
    stdio: 'inherit',
  })
  // At SIGTERM node's test runner ends the test processes too, which it would leave behind at SIGHUP.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => child.kill('SIGTERM'))
  const [code] = await once(child, 'exit')
  return code ?? 1
}

if (import.meta.main) process.exitCode = await runTests(process.argv.slice(2))
