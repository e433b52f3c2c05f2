import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../clock.ts'
import { connect, type DynamoDbOptions } from './dynamodb/connection.ts'
import { type Records, restore } from './dynamodb/restore-records.ts'
import { openDynamoDbStore } from './dynamodb.ts'
import type { Store } from './store.ts'
import { JOBS_LEASE } from './upkeep.ts'

const ALL = Number.MAX_SAFE_INTEGER
const HOLDER = 'store copy'
/** No server starts its background work on the store that is copied for so long (ms), and longer if need be. */
const HOLD_MS = 60_000
/** How long what was read back may differ, and how often to look (ms). */
const COMPARE_MS = 60_000
const COMPARE_PAUSE_MS = 2_000
const NOTHING: Records = { tokens: [], registrations: [], audit: [] }

/** How many of each kind were copied, and the SHA-256 of them all, the same on both sides. */
export interface Copied {
  readonly tokens: number
  readonly registrations: number
  readonly audit: number
  readonly sha256: string
}

/**
 * Copies everything into a table of DynamoDB, then reads it back and compares. Can be repeated, until the table is
 * used.
 * @throws Error if a server works on the source, the table has been used, or what was read back differs
 */
export async function copyStore(
  from: Store,
  to: DynamoDbOptions,
  clock: Clock,
  progress: (done: number, all: number) => void,
): Promise<Copied> {
  const target = await openDynamoDbStore(to)
  const db = connect(to)
  const hold = () => from.takeLeaderLease(JOBS_LEASE, { owner: HOLDER, until: clock() + HOLD_MS }, clock())
  if (!(await hold()))
    throw new Error(
      'a server works on the store that is to be copied, or did until a moment ago: stop it first',
    )
  const holding = setInterval(() => void hold().catch(() => undefined), HOLD_MS / 3)
  try {
    const records = await readAll(from)
    const known = new Set(linesOf(records))
    // Whatever a server or an operator changes leaves its entry in the audit trail.
    const { audit } = await readTarget(target, known)
    if (linesOf({ ...NOTHING, audit }).some((line) => !known.has(line)))
      throw new Error(
        `the table ${to.table} has been used: to copy into it would undo what was done there. Make another table`,
      )
    await restore(db, records, progress)
    return await compare(records, target, known)
  } finally {
    clearInterval(holding)
    await from.releaseLeaderLease(JOBS_LEASE, HOLDER)
    db.client.destroy()
    await target.close()
  }
}

async function readAll(store: Store): Promise<Records> {
  return {
    tokens: await store.listTokens(),
    registrations: await store.listRegistrations({ limit: ALL }),
    audit: await store.listAudit({ limit: ALL }),
  }
}

/** Reads back what was written. The indexes by which it is listed may be some seconds behind the table. */
async function compare(records: Records, target: Store, known: ReadonlySet<string>): Promise<Copied> {
  const expected = digest(records)
  for (const giveUpAt = performance.now() + COMPARE_MS; ; ) {
    const actual = digest(await readTarget(target, known))
    if (actual.sha256 === expected.sha256) return actual
    if (performance.now() > giveUpAt) {
      const [have, want] = [actual, expected].map((one) => JSON.stringify(one))
      throw new Error(`what was read back differs: ${have} instead of ${want}`)
    }
    await sleep(COMPARE_PAUSE_MS)
  }
}

/** All of the target but for its own commands, which may have looked at it. What they change has entries of its own. */
async function readTarget(target: Store, known: ReadonlySet<string>): Promise<Records> {
  const records = await readAll(target)
  const audit = records.audit.filter((entry) => {
    const [line = ''] = linesOf({ ...NOTHING, audit: [entry] })
    return entry.action !== 'command.run' || known.has(line)
  })
  return { ...records, audit }
}

function digest(records: Records): Copied {
  const { tokens, registrations, audit } = records
  const sha256 = createHash('sha256').update(linesOf(records).sort().join('\n')).digest('hex')
  return { tokens: tokens.length, registrations: registrations.length, audit: audit.length, sha256 }
}

/** A text for each record. The ids of audit entries are the store's own. */
function linesOf({ tokens, registrations, audit }: Records): string[] {
  const entries = audit.map(({ id: _id, ...entry }) => entry)
  return [...tokens, ...registrations, ...entries].map((record) => JSON.stringify(canonical(record)))
}

/** Bytes as hexadecimal, fields in the order of their names. */
function canonical(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return fields.map(([name, field]) => [name, canonical(field)])
}
