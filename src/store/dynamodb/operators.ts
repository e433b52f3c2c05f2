import { isInDoubt, mayHaveKey, publicStatusOf } from '../../registration/lifecycle.ts'
import { entryOf, tokenEntry } from '../audit.ts'
import type { OperatorStore, RegistrationWithKey, StatusCount } from '../operators.ts'
import type { BootstrapToken, Registration } from '../records.ts'
import type { DynamoDbAudit } from './audit.ts'
import { IS_ACTIVE } from './conditions.ts'
import type { DynamoDbConnection } from './connection.ts'
import { put, update } from './expressions.ts'
import { forgetOfToken } from './forget-idempotency.ts'
import {
  keyOf,
  listedAt,
  readId,
  readListed,
  readToken,
  type StoredRegistration,
  secretKey,
  shards,
  toRegistration,
  toRestoredItem,
  toTokenItem,
} from './item-codec.ts'
import { revokedNow } from './owners.ts'
import { endWrites } from './places.ts'
import { readAll, readOne, readReferenced, readRotations } from './reads.ts'
import { stopRotations } from './rotations.ts'

/** The longest time by which an index lags behind the table: usually far less than a second. */
const LAG_MS = 5_000
/** Registrations of a shard that are read at once. */
const PAGE = 100

/** {@link OperatorStore} on DynamoDB. Lists walk through the index of all registrations, newest first. */
export function dynamoDbOperators(db: DynamoDbConnection, audit: DynamoDbAudit): OperatorStore {
  return {
    listingLagMs: LAG_MS,
    async createToken(token, actor) {
      const secret = { ...secretKey(token.secretHash), tokenId: token.id }
      const entry = tokenEntry('token.created', token.id, token.createdAt, actor)
      const unmet = await db.transact([put(toTokenItem(token)), put(secret), audit.write(entry)])
      if (unmet.length > 0) throw new Error(`there is already a token ${token.id}, or one with its secret`)
    },
    async listTokens() {
      const tokens: BootstrapToken[] = []
      const all = {
        index: 'listed',
        where: '#listed = :tokens',
        values: { ':tokens': 'tokens' },
        descending: true,
      } as const
      for await (const page of db.query(all)) {
        const ids = page.map(readId)
        const items = await db.getAll(ids.map(keyOf))
        const read = new Map(items.flatMap((item) => readToken(item) ?? []).map((token) => [token.id, token]))
        tokens.push(...ids.flatMap((id) => read.get(id) ?? []))
      }
      return tokens
    },
    async revokeToken(id, actor, now) {
      const isUsable = { when: 'attribute_exists(#pk) AND attribute_not_exists(#revokedAt)' }
      await db.transact([
        update(keyOf(id), { set: { revokedAt: now } }, isUsable),
        audit.write(tokenEntry('token.revoked', id, now, actor)),
      ])
      await forgetOfToken(db, id)
      return readToken(await db.get(keyOf(id)))
    },
    async endKeys(ids, actor, now) {
      const ended: Registration[] = []
      for (const id of ids) {
        for (;;) {
          const one = await readOne(db, id)
          if (one?.status !== 'active') break
          const revoked = { status: 'ending', endReason: 'revoked', endsAt: now } as const
          const ending: Registration = { ...toRegistration(one), ...revoked }
          const entry = entryOf('registration.revoked', ending, { at: now, actor, detail: 'key_missing' })
          const root = one.rotation === null ? one : await readReferenced(db, one.rotation.of)
          const writes = endWrites(one, root, revokedNow(id, now), IS_ACTIVE)
          if ((await db.transact([...writes, audit.write(entry)])).length > 0) continue
          await stopRotations(db, one.rotation?.of ?? id)
          ended.push(ending)
          break
        }
      }
      return ended
    },

    async adoptKey(key, actor, now) {
      const record: Registration = {
        ...key,
        ...{ status: 'active', endedAt: now, answeredAt: now, deliveredAt: now },
        ...{
          expiresAt: null,
          idempotency: null,
          rotation: null,
          failure: null,
          sweepAt: null,
          undoing: false,
        },
        ...{ endsAt: null, endReason: null, replacedId: null, currentId: null, suspendedAt: null },
        ...{ switchAt: null, finalUsage: null, previousManagementHash: null, clientMetadata: null },
        ...{ federated: null, holdsPlace: false },
      }
      // Of two that adopt the same key, one puts it.
      const unmet = await db.transact([
        put(toRestoredItem(record, {})),
        update(keyOf(key.tokenId), { add: { uses: 1, usesLeft: -1 } }),
        audit.write(entryOf('registration.adopted', record, { at: now, actor })),
      ])
      return unmet.length === 0
    },

    async listWithKeys(filter, now) {
      const { status, tokenId, plan, expiringBy, inDoubtBy, withKey, after, limit } = filter
      const found: RegistrationWithKey[] = []
      const bound = after && listedAt(after.id, after.createdAt)
      for await (const page of walk(db, ['reg'], bound)) {
        const chosen = page.filter((one) => (tokenId ?? one.tokenId) === one.tokenId)
        for (const one of await withCurrent(db, chosen)) {
          const { registration, current } = one
          const expires = current.status === 'active' ? (current.expiresAt ?? Number.NaN) : Number.NaN
          if ((plan ?? current.plan) !== current.plan) continue
          if (status !== undefined && publicStatusOf(current, now) !== status) continue
          if (expiringBy !== undefined && !(expires > now && expires <= expiringBy)) continue
          if (inDoubtBy !== undefined && !isInDoubt(current, inDoubtBy)) continue
          if (withKey && !(await hasKey(db, one))) continue
          found.push({ registration: toRegistration(registration), current: toRegistration(current) })
          if (found.length === limit) return found
        }
      }
      return found
    },
    async countByStatus(now) {
      const counts = new Map<string, StatusCount>()
      for await (const page of walk(db, ['reg'])) {
        for (const { current } of await withCurrent(db, page)) {
          const { plan } = current
          const status = publicStatusOf(current, now)
          const name = `${plan} ${status}`
          counts.set(name, { plan, status, count: (counts.get(name)?.count ?? 0) + 1 })
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
          found.push(toRegistration(one))
          if (found.length === limit) return found
        }
      }
      return found
    },
  }
}

/** Reads all registrations or rotations, newest first, in pages. @param after the place in the list to start after */
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
    waiting: [] as Listed[],
    isOver: false,
  }))
  for (;;) {
    await Promise.all(
      heads.map(async (head) => {
        while (head.waiting.length === 0 && !head.isOver) {
          const page = await head.pages.next()
          head.isOver = page.done === true
          const keys = page.done ? [] : page.value
          head.waiting = keys.map(readListed)
        }
      }),
    )
    // An entry is next once every unfinished shard has shown an older one: no newer entry can follow.
    const floors = heads.flatMap(({ waiting, isOver }) => (isOver ? [] : (waiting.at(-1)?.listedAt ?? [])))
    const floor = floors.reduce((a, b) => (a > b ? a : b), '')
    const ready: Listed[] = []
    for (const head of heads) {
      ready.push(...head.waiting.filter((one) => one.listedAt >= floor))
      head.waiting = head.waiting.filter((one) => one.listedAt < floor)
    }
    if (ready.length === 0) return
    ready.sort((a, b) => (a.listedAt < b.listedAt ? 1 : -1))
    const read = await readAll(
      db,
      ready.map(({ pk }) => pk),
    )
    yield ready.flatMap(({ pk }) => read.get(pk) ?? [])
  }
}

type Listed = ReturnType<typeof readListed>

interface Pair {
  readonly registration: StoredRegistration
  readonly current: StoredRegistration
}

async function withCurrent(
  db: DynamoDbConnection,
  registrations: readonly StoredRegistration[],
): Promise<Pair[]> {
  const rotated = registrations.flatMap(({ currentId }) => currentId ?? [])
  const read = await readAll(db, rotated)
  return registrations.map((registration) => {
    const { id, currentId } = registration
    const current = currentId === null ? registration : read.get(currentId)
    if (current === undefined) throw new Error(`the present key ${currentId} of ${id} is missing`)
    return { registration, current }
  })
}

/** Reports whether API Gateway may hold a key of a registration. */
async function hasKey(db: DynamoDbConnection, { registration, current }: Pair): Promise<boolean> {
  if (mayHaveKey(registration) || mayHaveKey(current)) return true
  return (await readRotations(db, registration.id)).some(mayHaveKey)
}
