// Tests on dynoxide, a stand-in for DynamoDB: npm run test:dynamodb -- [files…]. Builds dynoxide if there is none, starts
// it, runs the tests, stops it, and ends with the tests' exit code.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { findOrBuildDynoxide } from './binary.ts'
import { startDynoxide } from './server.ts'
import { useDynamoDbAt } from './test-env.ts'

const DEFAULT_FILES = ['test/**/*.dynamodb.ts', 'test/store/dynamodb/contract.test.ts']

try {
  const server = await startDynoxide(await findOrBuildDynoxide())
  try {
    useDynamoDbAt(server.endpoint)
    process.exitCode = await runTests(process.argv.slice(2))
  } finally {
    await server.stop()
  }
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 1
}

async function runTests(files: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, ['--test', ...(files.length > 0 ? files : DEFAULT_FILES)], {
    stdio: 'inherit',
  })
  // At SIGTERM node's test runner ends the test processes too, which it would leave behind at SIGHUP.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => child.kill('SIGTERM'))
  const [code] = await once(child, 'exit')
  return code ?? 1
}
