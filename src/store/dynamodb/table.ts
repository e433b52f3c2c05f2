import type { CreateTableCommandInput, TableDescription } from '@aws-sdk/client-dynamodb'

/**
 * The one table. Every item has `pk` and `sk`:
 *
 * | pk | sk | item | read by |
 * | --- | --- | --- | --- |
 * | `tok_…` | `-` | a bootstrap token, its uses | id |
 * | `secret#<hash>` | `-` | the token of a secret | hash of the secret |
 * | `reg_…`, `rot_…` | `-` | a registration, a rotation | id |
 * | `reg_…` | `rotation#<created>#rot_…` | a link to a rotation of it | all rotations of a registration |
 * | `idem#<token>#<hash>` | `-` | the registration of an idempotency key | token and hash of the key |
 * | `proof#<hash>` | `-` | a proof that was used, and the registration, rotation or access token (none) that it was used for | hash of the proof |
 * | `name#<token>#<name>` | `-` | the registration of a virtual token that holds a name | token and name |
 * | `access#<hash>` | `-` | an access token | hash of the secret |
 * | `lease#<owner>` | `-` | the end of an owner's lease | owner |
 * | `duty#<name>` | `-` | a leader lease: its owner and its end | name |
 * | `requests#<token>#<window>` | `-` | the number of requests of a token in a minute | token and minute |
 * | `switch#<reg_… or rot_…>` | `-` | a key that is to be switched off or on | due time |
 * | `tok_…` | `spend#<created>#reg_…` | uses that are spent together, and their registrations | what holds the uses of a token; recovery |
 * | `pool#<shard>` | `pool_…` | a key of the pool | id; all keys of the pool, consistently |
 * | `poolholders` | `<owner>` | a process that holds keys of the pool, until when, and its sizes | owner; all holders |
 * | `poolfill#<plan>` | `-` | the number of times that keys were added to the pool of a plan | plan |
 * | `meta` | `-` | the id of the store | every process that opens it |
 * | `audit#<month>#<shard>` | `<time>#<n>` | an audit entry | month, newest first |
 *
 * The indexes hold keys only; a record on which a decision depends is read again from the table, consistently. Partitions
 * with many simultaneous writes are spread over shards.
 *
 * | index | partition | sorted by | serves |
 * | --- | --- | --- | --- |
 * | `work` | `open#<shard>` | due time | recovery: pending and abandoned registrations, sweeps |
 * | | `spent` | time of the spend | recovery: uses that are spent for registrations about to be written |
 * | | `access` | end of the access token | the copy of a store |
 * | | `switch` | due time | keys to switch off or on in API Gateway |
 * | | `remembered#<shard>` | created | idempotency keys to forget |
 * | | `undelivered#<shard>` | answered | responses that are not recorded as delivered |
 * | `ends` | `ends#<shard>` | end of the key | expiry and deletion |
 * | | `revoked#<shard>` | time of the revocation | deletion of revoked keys, after the others |
 * | `listed` | `reg#<shard>`, `rot#<shard>`, `tokens` | created | the operator's lists |
 * | `manager` | hash of the management token | | the registration of a management token |
 */
export const KEY = { pk: 'S', sk: 'S' } as const

/** The key attributes of each index. */
export const INDEXES = {
  work: { work: 'S', workAt: 'N' },
  ends: { ends: 'S', endsAt: 'N' },
  listed: { listed: 'S', listedAt: 'S' },
  manager: { manager: 'S' },
} as const

export type IndexName = keyof typeof INDEXES

/**
 * The attribute by which DynamoDB removes expired items: leases, leader leases, counts, spends, proofs, access tokens,
 * holders of the pool. Seconds since the epoch.
 */
export const TTL_ATTRIBUTE = 'ttl'

type KeySchema = Readonly<Record<string, 'S' | 'N'>>

const keySchema = (attributes: KeySchema) =>
  Object.keys(attributes).map((AttributeName, i) => ({
    AttributeName,
    KeyType: i === 0 ? ('HASH' as const) : ('RANGE' as const),
  }))

/** The table as input of CreateTable: billed on demand, protected against deletion. */
export function tableDefinition(name: string): CreateTableCommandInput {
  const attributes = { ...KEY, ...Object.assign({}, ...Object.values(INDEXES)) } as KeySchema
  return {
    TableName: name,
    BillingMode: 'PAY_PER_REQUEST',
    DeletionProtectionEnabled: true,
    AttributeDefinitions: Object.entries(attributes).map(([AttributeName, AttributeType]) => ({
      AttributeName,
      AttributeType,
    })),
    KeySchema: keySchema(KEY),
    GlobalSecondaryIndexes: Object.entries(INDEXES).map(([IndexName, key]) => ({
      IndexName,
      KeySchema: keySchema(key),
      Projection: { ProjectionType: 'KEYS_ONLY' as const },
    })),
  }
}

/** The table as a CloudFormation template, with point-in-time recovery and expiry, which CreateTable cannot set. */
export function cloudFormation(name: string): object {
  return {
    AWSTemplateFormatVersion: '2010-09-09',
    Description: 'The store of firstkey',
    Resources: {
      FirstkeyTable: {
        Type: 'AWS::DynamoDB::Table',
        DeletionPolicy: 'Retain',
        UpdateReplacePolicy: 'Retain',
        Properties: {
          ...tableDefinition(name),
          TimeToLiveSpecification: { AttributeName: TTL_ATTRIBUTE, Enabled: true },
          PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
        },
      },
    },
  }
}

/** The faults of a table's keys and indexes; empty: it can be the store. */
export function shapeFaults(table: TableDescription): string[] {
  const faults: string[] = []
  const types = new Map(table.AttributeDefinitions?.map((one) => [one.AttributeName, one.AttributeType]))
  const check = (what: string, actual: TableDescription['KeySchema'], expected: KeySchema) => {
    const have = (actual ?? []).map(
      ({ AttributeName = '' }) => `${AttributeName} ${types.get(AttributeName)}`,
    )
    const want = Object.entries(expected).map(([name, type]) => `${name} ${type}`)
    if (have.join() !== want.join())
      faults.push(`${what} has the key (${have.join(', ')}) and not (${want.join(', ')})`)
  }
  check('the table', table.KeySchema, KEY)
  for (const [name, key] of Object.entries(INDEXES)) {
    const index = table.GlobalSecondaryIndexes?.find(({ IndexName }) => IndexName === name)
    if (index === undefined) faults.push(`the index "${name}" is missing`)
    else check(`the index "${name}"`, index.KeySchema, key)
  }
  return faults
}
