import type { Listing, RegistrationWithKey, StandingCount } from '../listing.ts'
import { standingOf } from '../listing.ts'
import type { Registration } from '../records.ts'
import type { DynamoDbConnection } from './connection.ts'
import { listedAt, type StoredRegistration, shards, withoutMarks } from './items.ts'
import { readAll, readRotations } from './reads.ts'

/** How far an index may be behind the table: usually far less than a second. */
const LAG_MS = 5_000
/** Registrations of a shard that are read at once. */
const PAGE = 100

/** The part of the store that tells the operator what there is: it walks through the index of all, newest first. */
export function dynamoDbListing(db: DynamoDbConnection): Listing {
  return {
    listingLagMs: LAG_MS,
    async listWithKeys(filter, now) {
      const { standing, tokenId, plan, expiringBy, withKey, after, limit } = filter
      const found: RegistrationWithKey[] = []
      const bound = after && listedAt(after.id, after.createdAt)
      for await (const page of walk(db, ['reg'], bound)) {
        const chosen = page.filter(
          (one) => (tokenId ?? one.tokenId) === one.tokenId && (plan ?? one.plan) === one.plan,
        )
        for (const one of await withCurrent(db, chosen)) {
          const { current } = one
          const expires = current.status === 'active' ? (current.expiresAt ?? Number.NaN) : Number.NaN
          if (standing !== undefined && standingOf(current, now) !== standing) continue
          if (expiringBy !== undefined && !(expires > now && expires <= expiringBy)) continue
          if (withKey && !(await mayHaveKey(db, one))) continue
          found.push(one)
          if (found.length === limit) return found
        }
      }
      return found
    },

    async countByStanding(now) {
      const counts = new Map<string, StandingCount>()
      for await (const page of walk(db, ['reg'])) {
        for (const { registration, current } of await withCurrent(db, page)) {
          const { plan } = registration
          const standing = standingOf(current, now)
          const name = `${plan} ${standing}`
          counts.set(name, { plan, standing, count: (counts.get(name)?.count ?? 0) + 1 })
        }
      }
      return [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, count]) => count)
    },

    async countKeys() {
      let count = 0
      for await (const page of walk(db, ['reg', 'rot']))
        count += page.filter(({ status }) => status === 'active' || status === 'ending').length
      return count
    },

    async listRegistrations({ status, tokenId, limit }) {
      const found: Registration[] = []
      for await (const page of walk(db, ['reg', 'rot'])) {
        for (const one of page) {
          if ((status ?? one.status) !== one.status || (tokenId ?? one.tokenId) !== one.tokenId) continue
          found.push(withoutMarks(one))
          if (found.length === limit) return found
        }
      }
      return found
    },
  }
}

/** All of these kinds, newest first, in pages. @param after only what is listed after it */
async function* walk(
  db: DynamoDbConnection,
  kinds: readonly ('reg' | 'rot')[],
  after = '~',
): AsyncGenerator<StoredRegistration[]> {
  const partitions = kinds.flatMap((kind) => shards.map((shard) => `${kind}#${shard}`))
  const heads = partitions.map((partition) => ({
    pages: db.query({
      index: 'listed',
      where: '#listed = :listed AND #listedAt < :after',
      values: { ':listed': partition, ':after': after },
      descending: true,
      pageSize: PAGE,
    }),
    waiting: [] as { id: string; at: string }[],
    isOver: false,
  }))
  for (;;) {
    await Promise.all(
      heads.map(async (head) => {
        while (head.waiting.length === 0 && !head.isOver) {
          const page = await head.pages.next()
          head.isOver = page.done === true
          const keys = page.done ? [] : page.value
          head.waiting = keys.map(({ pk, listedAt: at }) => ({ id: String(pk), at: String(at) }))
        }
      }),
    )
    // What is newer than the oldest that every unfinished shard has shown can be told: nothing newer can follow.
    const floors = heads.flatMap(({ waiting, isOver }) => (isOver ? [] : (waiting.at(-1)?.at ?? [])))
    const floor = floors.reduce((a, b) => (a > b ? a : b), '')
    const ready: { id: string; at: string }[] = []
    for (const head of heads) {
      ready.push(...head.waiting.filter(({ at }) => at >= floor))
      head.waiting = head.waiting.filter(({ at }) => at < floor)
    }
    if (ready.length === 0) return
    ready.sort((a, b) => (a.at < b.at ? 1 : -1))
    const read = await readAll(
      db,
      ready.map(({ id }) => id),
    )
    yield ready.flatMap(({ id }) => read.get(id) ?? [])
  }
}

async function withCurrent(
  db: DynamoDbConnection,
  registrations: readonly Registration[],
): Promise<RegistrationWithKey[]> {
  const rotated = registrations.flatMap(({ currentId }) => currentId ?? [])
  const read = await readAll(db, rotated)
  return registrations.map((registration) => ({
    registration,
    current: read.get(registration.currentId ?? '') ?? registration,
  }))
}

/** Whether a key of a registration is being made, or may still be in API Gateway. */
async function mayHaveKey(
  db: DynamoDbConnection,
  { registration, current }: RegistrationWithKey,
): Promise<boolean> {
  const may = ({ status }: Registration) => ['pending', 'active', 'ending'].includes(status)
  if (may(registration) || may(current)) return true
  return (await readRotations(db, registration.id)).some(may)
}
