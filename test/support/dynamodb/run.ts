// Tests on dynoxide, a stand-in for DynamoDB: npm run test:dynamodb -- [files…]. Builds dynoxide if there is none, starts
// it, runs the tests, stops it, and ends with the tests' exit code.
import { runTests } from '../run-tests.ts'
import { findOrBuildDynoxide } from './binary.ts'
import { startDynoxide } from './server.ts'
import { useDynamoDbAt } from './test-env.ts'

const DEFAULT_FILES = ['test/**/*.dynamodb.ts']

try {
  const server = await startDynoxide(await findOrBuildDynoxide())
  try {
    useDynamoDbAt(server.endpoint)
    const args = process.argv.slice(2)
    process.exitCode = await runTests(args.length > 0 ? args : DEFAULT_FILES, {
      TEST_AGAIN: 'npm run test:dynamodb --',
    })
  } finally {
    await server.stop()
  }
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 1
}
