import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mayHaveKey } from '../../src/registration/lifecycle.ts'
import { openDynamoDbStore } from '../../src/store/dynamodb.ts'
import { newTable, storeEnv } from '../support/dynamodb/new-table.ts'
import { runCli, startProgram } from '../support/server-process.ts'
import { serverEnv, tempDir, testGateway } from '../support/service.ts'

test('firstkey smoke on DynamoDB removes what it made, and what a killed one left', async (t) => {
  const gateway = await testGateway(t)
  const table = await newTable()
  const store = await openDynamoDbStore(table)
  t.after(() => store.close())
  const env = { ...serverEnv(gateway, tempDir(t)), ...storeEnv(table), API_PROBE_PATH: '/status' }
  const killed = startProgram(t, 'src/cli/main.ts', ['smoke', '--keys', '3', '--yes'], env)
  gateway.onCall = (operation, moment) => {
    if (operation === 'ImportApiKeys' && moment === 'effective') killed.child.kill('SIGKILL')
  }
  assert.equal(await killed.ended(), 'SIGKILL')
  gateway.onCall = () => undefined
  assert.ok(gateway.account.keys.size > 0)

  const { code, stderr } = await runCli(t, ['smoke', '--keys', '3', '--yes'], env)
  assert.equal(code, 0, stderr)
  assert.match(stderr, /^Earlier runs left: 4 registrations with their keys, 1 token that can be used\.$/m)
  assert.equal(gateway.account.keys.size, 0)
  assert.deepEqual((await store.listRegistrations({ limit: 1_000 })).filter(mayHaveKey), [])
})
