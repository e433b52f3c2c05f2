// Tests against DynamoDB Local: npm run test:dynamodb -- [files…]. Starts it, runs the tests with its address in
// DYNAMODB_LOCAL_ENDPOINT, stops it, and ends with the tests' exit code.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { startDynamoDbLocal } from './dynamodb-local.ts'

const DEFAULT_FILES = ['test/dynamodb/*.ts']

try {
  const local = await startDynamoDbLocal()
  try {
    process.exitCode = await runTests(local.endpoint, process.argv.slice(2))
  } finally {
    await local.stop()
  }
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 1
}

async function runTests(endpoint: string, files: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, ['--test', ...(files.length > 0 ? files : DEFAULT_FILES)], {
    env: testEnv(endpoint),
    stdio: 'inherit',
  })
  // At SIGTERM node's test runner ends the test processes too, which it would leave behind at SIGHUP.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => child.kill('SIGTERM'))
  const [code] = await once(child, 'exit')
  return code ?? 1
}

function testEnv(endpoint: string): NodeJS.ProcessEnv {
  // A developer's own profile or session must not reach a test, and the SDK refuses to start without credentials.
  const { AWS_PROFILE: _profile, AWS_SESSION_TOKEN: _session, ...env } = process.env
  return {
    ...env,
    DYNAMODB_LOCAL_ENDPOINT: endpoint,
    AWS_REGION: 'eu-west-1',
    // DynamoDB Local takes any key, if it is made of letters and digits.
    AWS_ACCESS_KEY_ID: 'dynamodblocal',
    AWS_SECRET_ACCESS_KEY: 'dynamodblocal',
  }
}
