import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import {
  CreateTableCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  DynamoDBClient,
  PutItemCommand,
  ScanCommand,
} from '@aws-sdk/client-dynamodb'
import { issueBootstrapToken } from '../../../src/auth/bootstrap-token.ts'
import { deleteDueKeys } from '../../../src/registration/jobs/delete-keys.ts'
import { createLeaderLease } from '../../../src/registration/jobs/leader-lease.ts'
import { recover } from '../../../src/registration/jobs/recover.ts'
import { SERVICE } from '../../../src/store/audit.ts'
import { initTable, openDynamoDbStore } from '../../../src/store/dynamodb.ts'
import { openSqliteStore } from '../../../src/store/sqlite.ts'
import { startFaultyProxy } from '../../support/dynamodb/faulty-proxy.ts'
import { newTable } from '../../support/dynamodb/new-table.ts'
import { dynamoDbEndpoint } from '../../support/dynamodb/test-env.ts'
import { fastTiming } from '../../support/invariants.ts'
import { runCli, startProgram } from '../../support/server-process.ts'
import {
  dataPlane,
  manage,
  registered,
  type Service,
  serverEnv,
  startService,
  tempDir,
  testGateway,
  unlimitedPolicy,
} from '../../support/service.ts'
import { ANN, BEN, fillPool, LEASE_MS, newHandOut, newPoolKeys, newTokenId, T } from '../pool-keys.ts'
import { newRegistration } from '../store-contract.ts'

const endpoint = dynamoDbEndpoint() ?? ''
const region = 'eu-west-1'

function dynamoEnv(table: string): Record<string, string> {
  return {
    STORE: `dynamodb:${table}`,
    AWS_REGION: region,
    AWS_ENDPOINT_URL_DYNAMODB: endpoint,
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
  }
}

const newName = () => `test-${randomUUID()}`

/** Starts the server with this environment, asserts that it ends with code 1, and returns its error output. */
async function failedStart(t: TestContext, env: Record<string, string>): Promise<string> {
  const server = startProgram(t, 'src/start.js', [], env)
  assert.equal(await server.ended(), 1)
  return server.output.stderr
}

test('store init creates the table with expiry and deletion protection, once; the server then starts', async (t) => {
  const table = newName()
  const made = await runCli(t, ['store', 'init'], dynamoEnv(table))
  assert.equal(made.code, 0, made.stderr)
  assert.match(made.stderr, /^Created table/)
  const again = await runCli(t, ['store', 'init'], dynamoEnv(table))
  assert.equal(again.code, 0)
  assert.match(again.stderr, RegExp(`^Table ${table} in eu-west-1 already exists`))

  const client = new DynamoDBClient({ region, endpoint })
  t.after(() => client.destroy())
  const { Table } = await client.send(new DescribeTableCommand({ TableName: table }))
  assert.equal(Table?.BillingModeSummary?.BillingMode, 'PAY_PER_REQUEST')
  assert.equal(Table?.DeletionProtectionEnabled, true)
  const { TimeToLiveDescription } = await client.send(new DescribeTimeToLiveCommand({ TableName: table }))
  assert.deepEqual(TimeToLiveDescription, { TimeToLiveStatus: 'ENABLED', AttributeName: 'ttl' })

  const gateway = await testGateway(t)
  const server = startProgram(t, 'src/start.js', [], {
    ...serverEnv(gateway, tempDir(t)),
    STORE: `dynamodb:${table}`,
    AWS_ENDPOINT_URL_DYNAMODB: endpoint,
  })
  await server.seen(/listening on/)
})

test('store init looks at the state first: a second time within the hour changes nothing, and every other state has its words', async (t) => {
  const table = newName()
  const proxy = await startFaultyProxy(t, endpoint)
  const env = { ...dynamoEnv(table), AWS_ENDPOINT_URL_DYNAMODB: proxy.endpoint }
  const calls: string[] = []
  proxy.onCall = async (operation) => void calls.push(operation)
  const init = () => runCli(t, ['store', 'init'], env)
  const made = await init()
  assert.equal(made.code, 0, made.stderr)
  assert.match(
    made.stderr,
    /^Expiry of items: turned on\.\n.*\nDeletion protection: on\.\nCapacity: on demand\.$/m,
  )
  // As DynamoDB does within an hour of a change, whatever the state is.
  proxy.order({ operation: 'UpdateTimeToLive', kind: 'changed-twice', times: 99 })
  calls.length = 0
  const again = await init()
  assert.equal(again.code, 0, again.stderr)
  assert.match(again.stderr, /^Expiry of items: on\.$/m)
  assert.ok(!calls.includes('UpdateTimeToLive') && !calls.includes('CreateTable'), calls.join())

  const describeTable = (edit: (table: Record<string, unknown>) => void): typeof proxy.editAnswer => {
    return (operation, answer) => {
      if (operation !== 'DescribeTable') return undefined
      const described = JSON.parse(answer)
      edit(described.Table)
      return described
    }
  }
  const expiry =
    (TimeToLiveStatus: string, AttributeName?: string): typeof proxy.editAnswer =>
    (operation) =>
      operation === 'DescribeTimeToLive'
        ? { TimeToLiveDescription: { TimeToLiveStatus, AttributeName } }
        : undefined
  const refused: [state: string, edit: typeof proxy.editAnswer, reason: RegExp][] = [
    ['expiry changed', expiry('DISABLED'), /was changed within the last hour.* in an hour/],
    ['expiry disabling', expiry('DISABLING', 'ttl'), /is being turned off.* again afterwards/],
    [
      'another attribute',
      expiry('ENABLED', 'expires'),
      /by the attribute expires and not by ttl.*\n.*Enabled=false,AttributeName=expires/,
    ],
    [
      'deleting',
      describeTable((one) => Object.assign(one, { TableStatus: 'DELETING' })),
      /is being deleted: wait/,
    ],
    [
      'archived',
      describeTable((one) => Object.assign(one, { TableStatus: 'ARCHIVED' })),
      /is archived, because its KMS key/,
    ],
    [
      'index creating',
      describeTable(({ GlobalSecondaryIndexes }) => {
        Object.assign((GlobalSecondaryIndexes as object[])[0] ?? {}, { IndexStatus: 'CREATING' })
      }),
      /the index "work" of the table .* is CREATING: try again/,
    ],
    [
      'index missing',
      describeTable((one) => Object.assign(one, { GlobalSecondaryIndexes: [] })),
      /the index "work" is missing/,
    ],
  ]
  for (const [state, edit, reason] of refused) {
    proxy.editAnswer = edit
    await assert.rejects(initTable({ table, region, endpoint: proxy.endpoint }), (error: Error) => {
      assert.match(error.message, reason, state)
      assert.doesNotMatch(error.message, /Error:|multiple times/)
      return true
    })
  }

  // What is not as it is created is said, and recovery is turned on if it is off.
  const settings = describeTable((one) => {
    Object.assign(one, {
      BillingModeSummary: { BillingMode: 'PROVISIONED' },
      DeletionProtectionEnabled: false,
    })
  })
  let recovery = 'DISABLED'
  proxy.editAnswer = (operation, answer) => {
    if (operation === 'UpdateContinuousBackups') recovery = 'ENABLED'
    return operation.endsWith('ContinuousBackups')
      ? {
          ContinuousBackupsDescription: {
            ContinuousBackupsStatus: 'ENABLED',
            PointInTimeRecoveryDescription: { PointInTimeRecoveryStatus: recovery },
          },
        }
      : settings(operation, answer)
  }
  const other = await init()
  assert.equal(other.code, 0, other.stderr)
  assert.match(other.stderr, /^Point-in-time recovery: turned on\.$/m)
  assert.match(other.stderr, /^Deletion protection: off\. .*--deletion-protection-enabled$/m)
  assert.match(other.stderr, /^Capacity: provisioned, .*--billing-mode PAY_PER_REQUEST$/m)
  assert.match((await init()).stderr, /^Point-in-time recovery: on\.$/m)

  // A table that is being created is waited for.
  let looks = 0
  proxy.editAnswer = describeTable((one) => {
    if (++looks <= 2) Object.assign(one, { TableStatus: 'CREATING' })
  })
  assert.equal((await init()).code, 0)
  assert.ok(looks > 2)
})

test('store init --cloudformation prints the same table, with point-in-time recovery, and creates nothing', async (t) => {
  const table = newName()
  const printed = await runCli(t, ['store', 'init', '--cloudformation'], dynamoEnv(table))
  const template = JSON.parse(printed.stdout)
  const properties = template.Resources.FirstkeyTable.Properties
  assert.equal(properties.PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled, true)
  assert.equal(properties.DeletionProtectionEnabled, true)
  assert.deepEqual(properties.TimeToLiveSpecification, { AttributeName: 'ttl', Enabled: true })
  // A table that is created from the template can be the store.
  const { TimeToLiveSpecification, PointInTimeRecoverySpecification, ...definition } = properties
  const client = new DynamoDBClient({ region, endpoint })
  t.after(() => client.destroy())
  await assert.rejects(client.send(new DescribeTableCommand({ TableName: table })), {
    name: 'ResourceNotFoundException',
  })
  await client.send(new CreateTableCommand(definition))
  const store = await openDynamoDbStore({ table, region, endpoint })
  await store.close()
})

test('if the table is missing, has another shape or denies access, the server does not start and names reason and remedy', async (t) => {
  const gateway = await testGateway(t)
  const env = (table: string) => ({
    ...serverEnv(gateway, tempDir(t)),
    STORE: `dynamodb:${table}`,
    AWS_ENDPOINT_URL_DYNAMODB: endpoint,
  })
  const missing = newName()
  assert.match(
    await failedStart(t, env(missing)),
    RegExp(`there is no table ${missing} in eu-west-1.*check AWS_REGION and STORE.*firstkey store init`),
  )

  const client = new DynamoDBClient({ region, endpoint })
  t.after(() => client.destroy())
  const other = newName()
  await client.send(
    new CreateTableCommand({
      TableName: other,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
      KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
    }),
  )
  const shape = await failedStart(t, env(other))
  assert.match(shape, /does not have the keys and indexes of a firstkey store/)
  assert.match(shape, /the table has the key \(id S\) and not \(pk S, sk S\)/)
  assert.match(shape, /the index "work" is missing/)

  const proxy = await startFaultyProxy(t, endpoint)
  // Once more, with credentials that were loaded again.
  proxy.order({ operation: 'DescribeTable', kind: 'unknown-credentials', times: 2 })
  const denied = await failedStart(t, { ...env(other), AWS_ENDPOINT_URL_DYNAMODB: proxy.endpoint })
  assert.match(denied, /denies access to the table.*UnrecognizedClientException/)
  assert.match(denied, /docs\/scaling\.md/)
  const unreachable = await failedStart(t, { ...env(other), AWS_ENDPOINT_URL_DYNAMODB: 'http://127.0.0.1:1' })
  assert.match(unreachable, /cannot be used: .*ECONNREFUSED/)
})

test('of two replicas that first open a table at once, the slower one reads the id of the faster', async (t) => {
  const options = await newTable()
  const proxy = await startFaultyProxy(t, endpoint)
  const open = async (at: string) => {
    const store = await openDynamoDbStore({ ...options, endpoint: at })
    t.after(() => store.close())
    return store
  }
  let faster: string | undefined
  proxy.onCall = async (operation) => {
    // The slower one has found no id, and is about to write its own.
    if (operation === 'TransactWriteItems') faster ??= (await open(endpoint)).id
  }
  const slower = await open(proxy.endpoint)
  assert.match(slower.id, /^[0-9a-f]{10}$/)
  assert.equal(slower.id, faster)
  assert.equal((await open(endpoint)).id, faster)

  const unwritable = await newTable()
  proxy.onCall = async () => undefined
  proxy.order({ operation: 'TransactWriteItems', kind: 'denied', times: 9 })
  await assert.rejects(
    openDynamoDbStore({ ...unwritable, endpoint: proxy.endpoint }),
    /DynamoDB denies access to the table .*AccessDeniedException/,
  )
})

/** Starts a service whose store file holds records of every kind. */
async function startFilledService(
  t: TestContext,
): Promise<{ service: Service; secret: string; key: Record<string, string> }> {
  const service = await startService(t, { timing: fastTiming })
  const { secret } = await service.token({ maxUses: 5, plans: ['gold', 'free'], keyTtlMs: 9_000_000 })
  const key = { 'idempotency-key': randomUUID() }
  await registered(service, {}, key, secret)
  const client = { client_name: 'acme-agent', grant_types: ['client_credentials'] }
  const headers = { authorization: `Bearer ${secret}`, 'content-type': 'application/json' }
  await fetch(`${service.url}/connect/register`, { method: 'POST', headers, body: JSON.stringify(client) })
  const [rotated, renewed, revoked] = [
    await registered(service),
    await registered(service),
    await registered(service),
  ]
  for (let i = 0; i < 2; i++) await manage(service, rotated, 'POST', '/rotate')
  const once = { 'idempotency-key': randomUUID() }
  await manage(service, renewed, 'POST', '/rotate', { management_token: true }, once)
  await manage(service, revoked, 'DELETE')
  const suspended = await registered(service)
  await dataPlane(service, suspended.api_key_value)
  await manage(service, suspended, 'POST', '/rotate', { overlap_seconds: 0 })
  await deleteDueKeys(service.deps, createLeaderLease(service.deps))
  await service.deps.store.setSuspended(suspended.registration_id, true, SERVICE, service.deps.clock())
  service.gateway.faults.order({ operation: 'CreateUsagePlanKey', when: 'before', kind: 'denied' })
  assert.equal((await service.register(secret)).status, 502)
  service.gateway.faults.clear()
  const [, free] = await fillPool(service.deps.store, 2)
  await service.deps.store.givePoolKeysUp([free?.id ?? ''], ANN)
  await service.deps.store.beginPoolKeys(newPoolKeys(1, { plan: 'gold' }), ANN, 1)
  return { service, secret, key }
}

test('store copy copies and compares all records and can be repeated; the copy replays a retry', async (t) => {
  const { service, secret, key } = await startFilledService(t)
  const table = newName()
  const env = { ...serverEnv(service.gateway, service.dataDir), ...dynamoEnv(table) }
  const from = `sqlite:${join(service.dataDir, 'firstkey.db')}`
  const copy = () => runCli(t, ['store', 'copy', '--from', from, '--to', `dynamodb:${table}`], env)
  assert.match((await copy()).stderr, /there is no table/)
  await runCli(t, ['store', 'init'], env)
  assert.equal(
    (await runCli(t, ['tokens', 'list'], env)).code,
    0,
    'reading a table does not count as using it',
  )
  for (let i = 0; i < 2; i++) {
    const done = await copy()
    assert.equal(done.code, 0, done.stderr)
    assert.match(
      done.stderr,
      /5 tokens, 11 registrations and rotations, \d+ audit entries .* the same on both sides/,
    )
  }

  const there = { STORE: `dynamodb:${table}`, AWS_ENDPOINT_URL_DYNAMODB: endpoint }
  const moved = await startService(t, { beside: service, env: there, timing: fastTiming })
  assert.equal(moved.deps.store.id, service.deps.store.id)
  const before = (await (await service.register(secret, undefined, key)).json()) as object
  const after = await moved.register(secret, undefined, key)
  assert.equal(after.headers.get('idempotency-replayed'), 'true')
  assert.deepEqual(await after.json(), before)
  const toSwitch = async ({ deps }: Service) => deps.store.listSwitches(deps.clock() + 1, 9)
  assert.equal((await toSwitch(moved)).length, 1)
  assert.deepEqual(await toSwitch(moved), await toSwitch(service))
  const pool = await moved.deps.store.listPoolKeys()
  assert.equal(pool.length, 3)
  assert.deepEqual(pool, await service.deps.store.listPoolKeys())
  const ids = pool.map(({ id }) => id)
  assert.deepEqual(
    await moved.deps.store.takePoolKeys(ids, BEN, T),
    new Set(ids),
    'its holders are not copied',
  )
  await service.deps.store.takePoolKeys(ids, BEN, T + LEASE_MS)
  assert.equal((await moved.deps.store.beginPoolKeys(newPoolKeys(3), BEN, 4)).size, 2)
  await recover(moved.deps)
  assert.equal((await moved.register(secret)).status, 201, 'the copied token has uses left')

  await moved.deps.readiness.check()
  const late = await copy()
  assert.equal(late.code, 1)
  assert.match(late.stderr, /the table test-\S+ has been used/)
})

test('store copy is rejected while a server works on the source', async (t) => {
  const dir = tempDir(t)
  const path = join(dir, 'firstkey.db')
  const table = newName()
  const env = dynamoEnv(table)
  await runCli(t, ['store', 'init'], env)
  const store = openSqliteStore(path)
  t.after(() => store.close())
  const now = Date.now()
  await store.takeLeaderLease('background', { owner: 'a server', until: now + 60_000 }, now)
  const refused = await runCli(
    t,
    ['store', 'copy', '--from', `sqlite:${path}`, '--to', `dynamodb:${table}`],
    env,
  )
  assert.equal(refused.code, 1)
  assert.match(refused.stderr, /a server uses the source/)
})

/** Copies all items to a new table, as point-in-time recovery does. */
async function copyItems(client: DynamoDBClient, table: string, to: string): Promise<void> {
  const { Items = [] } = await client.send(new ScanCommand({ TableName: table }))
  for (const Item of Items) await client.send(new PutItemCommand({ TableName: to, Item }))
}

test('a table that was restored from another remembers when, until that is accepted; the other does not', async (t) => {
  const [{ table }, { table: restoredTable }] = [await newTable(), await newTable()]
  const options = { region, endpoint }
  const store = await openDynamoDbStore({ table, ...options })
  t.after(() => store.close())
  await issueBootstrapToken(store, unlimitedPolicy, SERVICE, 1)
  assert.equal(await store.findRestore(), null)

  const client = new DynamoDBClient(options)
  t.after(() => client.destroy())
  await copyItems(client, table, restoredTable)
  const openRestored = async () => {
    const opened = await openDynamoDbStore({ table: restoredTable, ...options })
    t.after(() => opened.close())
    return opened
  }
  const [restored, replica] = await Promise.all([openRestored(), openRestored()])
  const { Table } = await client.send(new DescribeTableCommand({ TableName: restoredTable }))
  const asOf = Table?.CreationDateTime?.getTime()
  assert.equal(await restored.findRestore(), asOf)
  assert.equal(await replica.findRestore(), asOf)
  assert.equal(restored.id, store.id)
  await restored.acceptRestore(1)
  assert.equal(await replica.findRestore(), asOf)
  await restored.acceptRestore(Number(asOf))
  assert.equal(await replica.findRestore(), null)
  assert.equal(await (await openRestored()).findRestore(), null)
  assert.equal(await store.findRestore(), null)
})

test('of a table that was restored, no pool key of the backup is listed, taken or handed out, and accepting the restore removes them', async (t) => {
  const [{ table }, { table: restoredTable }] = [await newTable(), await newTable()]
  const client = new DynamoDBClient({ region, endpoint })
  t.after(() => client.destroy())
  const store = await openDynamoDbStore({ table, region, endpoint })
  const old = await fillPool(store, 3)
  const tokenId = await newTokenId(store)
  await store.close()
  await copyItems(client, table, restoredTable)
  const open = async () => {
    const opened = await openDynamoDbStore({ table: restoredTable, region, endpoint })
    t.after(() => opened.close())
    return opened
  }
  const [restored, replica] = [await open(), await open()]
  const asOf = await restored.findRestore()
  assert.ok(asOf !== null)
  const handOuts = old.map((key) => newHandOut(key, newRegistration(tokenId, T)))
  const ids = old.map(({ id }) => id)
  for (const one of [restored, replica]) {
    for (const { outcome } of await one.handOutPoolKeys(handOuts, T)) assert.equal(outcome, 'key_lost')
    assert.deepEqual([await one.listPoolKeys(), await one.listPoolHolders()], [[], []])
    assert.deepEqual(await one.takePoolKeys(ids, BEN, T + LEASE_MS), new Set())
    assert.deepEqual(await one.takePoolKeys(ids, ANN, T), new Set())
  }
  assert.equal((await restored.getToken(tokenId))?.uses, 0)

  const [key] = newPoolKeys(1, { createdAt: asOf + 1 })
  assert.ok(key)
  await replica.renewPoolHolder({ owner: BEN, until: asOf + LEASE_MS, sizes: {}, trouble: null })
  assert.deepEqual(await replica.beginPoolKeys([key], BEN, 1), new Set([key.id]), 'there is room for it')
  assert.deepEqual(
    (await restored.listPoolKeys()).map(({ id }) => id),
    [key.id],
  )
  const count = async () =>
    (await client.send(new ScanCommand({ TableName: restoredTable }))).Items?.filter(({ pk }) =>
      pk?.S?.startsWith('pool#'),
    ).length
  await restored.acceptRestore(asOf - 1)
  assert.equal(await count(), 4, 'of another restore')
  await restored.acceptRestore(asOf)
  assert.equal(await count(), 1)
  const later = await open()
  assert.equal((await later.listPoolKeys()).length, 1)
  assert.equal((await later.handOutPoolKeys(handOuts, T))[0]?.outcome, 'key_lost')
})
