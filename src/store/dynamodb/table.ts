import type { CreateTableCommandInput, TableDescription } from '@aws-sdk/client-dynamodb'

/**
 * The one table. Every item has `pk` and `sk`:
 *
 * | pk | sk | item | read by |
 * | --- | --- | --- | --- |
 * | `tok_…` | `-` | a bootstrap token, its uses | id |
 * | `secret#<hash>` | `-` | which token a secret is of | hash of the secret |
 * | `reg_…`, `rot_…` | `-` | a registration, a rotation | id |
 * | `reg_…` | `rotation#<created>#rot_…` | that it has this rotation | all rotations of a registration |
 * | `idem#<token>#<hash>` | `-` | which registration an idempotency key is of | token and hash of the key |
 * | `lease#<owner>` | `-` | until when an owner works | owner |
 * | `duty#<name>` | `-` | who does what is done for all | name |
 * | `requests#<token>#<window>` | `-` | requests of a token in a minute | token and minute |
 * | `spend#<owner>#<token>#<n>` | `-` | uses that were spent, for registrations that are about to be written | recovery |
 * | `audit#<month>#<shard>` | `<time>#<n>` | an audit entry | month, newest first |
 *
 * The indexes hold keys only; what a decision hangs on is read again from the table, consistently. Partitions that many
 * would write at once are spread over shards.
 *
 * | index | partition | sorted by | serves |
 * | --- | --- | --- | --- |
 * | `work` | `open#<shard>` | when to look | recovery: what is pending, abandoned or to be swept, and what was spent |
 * | | `remembered#<shard>` | created | idempotency keys to forget |
 * | `ends` | `ends#<shard>` | when the key goes | expiry, and what is to be deleted |
 * | | `revoked#<shard>` | when it was revoked | what is to be deleted after that |
 * | `listed` | `reg#<shard>`, `rot#<shard>`, `tokens` | created | the operator's lists |
 * | `manager` | hash of the management token | | whether a management token is another registration's |
 */
export const KEY = { pk: 'S', sk: 'S' } as const

/** The attributes that are the key of each index. */
export const INDEXES = {
  work: { work: 'S', workAt: 'N' },
  ends: { ends: 'S', endsAt: 'N' },
  listed: { listed: 'S', listedAt: 'S' },
  manager: { manager: 'S' },
} as const

export type IndexName = keyof typeof INDEXES

/** The attribute by which DynamoDB removes what nobody needs any more: leases, minutes, duties. Seconds. */
export const TTL_ATTRIBUTE = 'ttl'

type KeySchema = Readonly<Record<string, 'S' | 'N'>>

const keySchema = (attributes: KeySchema) =>
  Object.keys(attributes).map((AttributeName, i) => ({
    AttributeName,
    KeyType: i === 0 ? ('HASH' as const) : ('RANGE' as const),
  }))

/** The table as CreateTable makes it: on demand, and not deleted by accident. */
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

/** The same as a CloudFormation template, with point-in-time recovery and expiry, which CreateTable does not take. */
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

/** What of a table's keys and indexes is not as it has to be; empty: it will do. */
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
