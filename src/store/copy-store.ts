import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../clock.ts'
import { connect, type DynamoDbOptions } from './dynamodb/connection.ts'
import { type Records, restore } from './dynamodb/restore-records.ts'
import { openDynamoDbStore } from './dynamodb.ts'
import { KEPT_MS } from './federation.ts'
import type { Store } from './store.ts'
import { JOBS_LEASE } from './upkeep.ts'

const ALL = Number.MAX_SAFE_INTEGER
const LEASE_OWNER = 'store copy'
/** The duration of the leader lease that keeps servers from running jobs on the source (ms). The copy renews it. */
const LEASE_MS = 60_000
/** The time after which the copy must be equal to the source, and the pause between comparisons (ms). */
const COMPARE_MS = 60_000
const COMPARE_PAUSE_MS = 2_000
const NOTHING = { tokens: [], registrations: [], accessTokens: [], poolKeys: [] } as const

/** The number of copied records of each kind, and the SHA-256 of the store's id and all records: the same on both sides. */
export interface Copied {
  readonly tokens: number
  readonly registrations: number
  readonly audit: number
  readonly sha256: string
}

/**
 * Copies all records of a store into a DynamoDB table, reads them back and compares them. Can be repeated until a server
 * or an operator changes the table.
 * @param progress receives the number of writes that are done, and of all writes
 * @throws Error if a server uses the source, if the table has been used, or if the copy differs from the source
 * @throws ServiceError of either store
 */
export async function copyStore(
  from: Store,
  to: DynamoDbOptions,
  clock: Clock,
  progress: (done: number, all: number) => void,
): Promise<Copied> {
  if ((await from.findRestore()) !== null)
    throw new Error(
      'the source was restored from a backup, which the copy would not know: first run "firstkey registrations recover"',
    )
  const target = await openDynamoDbStore(to)
  const db = connect(to)
  const takeLease = () =>
    from.takeLeaderLease(JOBS_LEASE, { owner: LEASE_OWNER, until: clock() + LEASE_MS }, clock())
  if (!(await takeLease()))
    throw new Error('a server uses the source, or did until a moment ago: stop it and try again')
  const renewing = setInterval(() => void takeLease().catch(() => undefined), LEASE_MS / 3)
  try {
    const records = await readAll(from, clock())
    const known = new Set(linesOf(records))
    // Every change by a server or an operator has an entry in the audit trail.
    const { audit } = await readTarget(target, known, records.now)
    if (linesOf({ ...NOTHING, audit }).some((line) => !known.has(line)))
      throw new Error(
        `the table ${to.table} has been used: a copy would overwrite its changes. Create another table`,
      )
    await restore(db, records, progress)
    // Opened again, as every process will open it: with the id that was copied.
    const copy = await openDynamoDbStore(to)
    return await compare(records, copy, known).finally(() => copy.close())
  } finally {
    clearInterval(renewing)
    await from.releaseLeaderLease(JOBS_LEASE, LEASE_OWNER)
    db.client.destroy()
    await target.close()
  }
}

async function readAll(store: Store, now: number): Promise<Records> {
  const accessTokens = await store.listAccessTokens()
  return {
    storeId: store.id,
    tokens: await store.listTokens(),
    registrations: await store.listRegistrations({ limit: ALL }),
    // Those that are over may be removed on one side meanwhile.
    accessTokens: accessTokens.filter(({ expiresAt }) => expiresAt > now - KEPT_MS),
    poolKeys: await store.listPoolKeys(),
    audit: await store.listAudit({ limit: ALL }),
    now,
  }
}

/**
 * Compares the copy with the source, again and again until they are equal: the indexes by which the records are listed
 * may lag some seconds behind the table.
 * @throws Error if they still differ after a minute
 */
async function compare(records: Records, target: Store, known: ReadonlySet<string>): Promise<Copied> {
  const expected = digest(records)
  for (const giveUpAt = performance.now() + COMPARE_MS; ; ) {
    const actual = digest(await readTarget(target, known, records.now))
    if (actual.sha256 === expected.sha256) return actual
    if (performance.now() > giveUpAt) {
      const [have, want] = [actual, expected].map((one) => JSON.stringify(one))
      throw new Error(`the copy differs from the source: ${have} instead of ${want}`)
    }
    await sleep(COMPARE_PAUSE_MS)
  }
}

/**
 * Reads all records of the target, except the audit entries of commands that were run on it: a command may only have
 * read. If it changed something, that change has an entry of its own.
 */
async function readTarget(target: Store, known: ReadonlySet<string>, now: number): Promise<Records> {
  const records = await readAll(target, now)
  const audit = records.audit.filter((entry) => {
    const [line = ''] = linesOf({ ...NOTHING, audit: [entry] })
    return entry.action !== 'command.run' || known.has(line)
  })
  return { ...records, audit }
}

function digest(records: Records): Copied {
  const { storeId, tokens, registrations, audit } = records
  const lines = [storeId, ...linesOf(records).sort()]
  const sha256 = createHash('sha256').update(lines.join('\n')).digest('hex')
  return { tokens: tokens.length, registrations: registrations.length, audit: audit.length, sha256 }
}

/** Returns one line of text for each record, without the ids of audit entries, which differ between stores. */
function linesOf({ audit, ...records }: Omit<Records, 'storeId' | 'now'>): string[] {
  const { tokens, registrations, accessTokens, poolKeys } = records
  const entries = audit.map(({ id: _id, ...entry }) => entry)
  return [...tokens, ...registrations, ...accessTokens, ...poolKeys, ...entries].map((record) =>
    JSON.stringify(canonical(record)),
  )
}

/** Converts a value for JSON: bytes to hexadecimal, and objects to lists of fields in the order of their names. */
function canonical(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return fields.map(([name, field]) => [name, canonical(field)])
}
