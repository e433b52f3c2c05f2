import type { RecordedEntry } from '../audit.ts'
import type { BootstrapToken, Registration } from '../records.ts'
import { dynamoDbAudit } from './audit.ts'
import type { DynamoDbConnection } from './connection.ts'
import { idempotencyKey, listedAt, openAt, secretKey, shardOf, toRestoredItem, toTokenItem } from './items.ts'
import { inPortions } from './portions.ts'
import { put, type Write } from './writes.ts'

/** Writes of one transaction: fewer than DynamoDB allows, since nothing here hangs together. */
const AT_ONCE = 50

/** Everything that a store remembers, but for leases, duties and counts of requests, which pass. */
export interface Records {
  readonly tokens: readonly BootstrapToken[]
  readonly registrations: readonly Registration[]
  readonly audit: readonly RecordedEntry[]
}

/**
 * Writes all records over what is there. The same records are the same items each time.
 * @param progress hears how many of all writes are done
 */
export async function restore(
  db: DynamoDbConnection,
  { tokens, registrations, audit }: Records,
  progress: (done: number, all: number) => void,
): Promise<void> {
  const trail = dynamoDbAudit(db, '')
  const rotations = Map.groupBy(registrations, ({ rotation }) => rotation?.of)
  const writes = [
    ...tokens.flatMap(tokenWrites),
    ...registrations.flatMap((one) => registrationWrites(one, marksOf(rotations.get(one.id) ?? []))),
    ...audit.map(trail.restore),
  ]
  let done = 0
  await db.each(inPortions(writes, AT_ONCE), async (portion) => {
    await db.transact(portion)
    done += portion.length
    progress(done, writes.length)
  })
}

function tokenWrites(token: BootstrapToken): Write[] {
  return [put(toTokenItem(token), 'any'), put({ ...secretKey(token.secretHash), tokenId: token.id }, 'any')]
}

type Marks = { readonly pendingRotation?: string; readonly unansweredRotation?: string }

/** What a registration itself has to know of its rotations. */
function marksOf(rotations: readonly Registration[]): Marks {
  const pending = rotations.find(({ status }) => status === 'pending')
  const unanswered = rotations.find(({ status, answeredAt }) => status === 'active' && answeredAt === null)
  return {
    ...(pending === undefined ? {} : { pendingRotation: pending.id }),
    ...(unanswered === undefined ? {} : { unansweredRotation: unanswered.id }),
  }
}

function registrationWrites(one: Registration, marks: Marks): Write[] {
  const { id, tokenId, createdAt, idempotency, rotation } = one
  const writes = [put(toRestoredItem(one, marks), 'any')]
  if (idempotency !== null) {
    const remembered = { ...openAt(id, createdAt), work: `remembered#${shardOf(id)}` }
    const pointer = { ...idempotencyKey(tokenId, idempotency.keyHash), registrationId: id }
    writes.push(put({ ...pointer, ...remembered }, 'any'))
  }
  if (rotation !== null) {
    const link = { pk: rotation.of, sk: `rotation#${listedAt(id, createdAt)}`, rotationId: id }
    writes.push(put(link, 'any'))
  }
  return writes
}
