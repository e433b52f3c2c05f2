import { tokenEntry } from '../audit.ts'
import { type FederationStore, grantOf, isSameGrant } from '../federation.ts'
import { type AccessToken, type BootstrapToken, mostUses } from '../records.ts'
import type { DynamoDbAudit } from './audit.ts'
import { claimedProof, claimTtl } from './claims.ts'
import type { DynamoDbConnection } from './connection.ts'
import { type Condition, type Item, put, update, type Write } from './expressions.ts'
import {
  ANY_NUMBER,
  accessTokenKey,
  accessUntil,
  keyOf,
  proofKey,
  readAccessToken,
  readHolder,
  readKey,
  readToken,
  toTokenItem,
} from './item-codec.ts'

/** {@link FederationStore} on DynamoDB. A virtual token has no item of its secret: it has none. */
export function dynamoDbFederation(db: DynamoDbConnection, audit: DynamoDbAudit): FederationStore {
  return {
    async putVirtualToken(token, actor) {
      for (;;) {
        const item = await db.get(keyOf(token.id))
        const found = readToken(item)
        if (item !== undefined && found !== undefined) {
          if (isSameGrant(found, token)) return found
          if (await db.write(changeGrant(item, found, token))) return { ...found, ...grantOf(token) }
        } else {
          const entry = tokenEntry('token.created', token.id, token.createdAt, actor)
          // Of two that create it, the second finds the item of the first.
          if ((await db.transact([put(toTokenItem(token)), audit.write(entry)])).length === 0) return token
        }
      }
    },

    async createAccessToken(token, proof, actor, now) {
      const claim = proof === null ? [] : [put(claimedProof(proof, null))]
      const unmet = await db.transact([
        put(toAccessTokenItem({ ...token, proof })),
        audit.write(tokenEntry('access_token.created', token.tokenId, now, actor)),
        ...claim,
      ])
      if (unmet.includes(0)) throw new Error('there is already an access token with this secret')
      return unmet.length === 0 ? 'created' : 'replayed'
    },
    async findAccessToken(secretHash) {
      const item = await db.get(accessTokenKey(secretHash))
      if (item === undefined) return undefined
      const { tokenId, expiresAt } = readAccessToken(item)
      const token = readToken(await db.get(keyOf(tokenId)))
      return token && { token, expiresAt }
    },
    async findProof(hash) {
      const item = await db.get(proofKey(hash))
      return item && { holder: readHolder(item) }
    },
    async listAccessTokens() {
      const found: AccessToken[] = []
      const all = { index: 'work', where: '#work = :access', values: { ':access': 'access' } } as const
      for await (const page of db.query(all)) {
        const items = await db.getAll(page.map(readKey))
        found.push(...items.map(readAccessToken))
      }
      return found.sort(byExpiry)
    },
  }
}

/** An access token as an item. */
export function toAccessTokenItem({ secretHash, tokenId, expiresAt, proof }: AccessToken) {
  return {
    ...accessTokenKey(secretHash),
    ...{ secretHash, tokenId, expiresAt, ...(proof === null ? {} : { proof }) },
    ...accessUntil(expiresAt),
    ttl: claimTtl(expiresAt),
  }
}

/** Of two changes of a grant at once, the second finds another one than it read: the uses that are left would be wrong. */
function changeGrant(item: Item, from: BootstrapToken, to: BootstrapToken): Write {
  const { federation, ...grant } = grantOf(to)
  const sameFederation: Condition = {
    when: '#federation = :before',
    values: { before: item['federation'] },
  }
  const more = (mostUses(to) ?? ANY_NUMBER) - (mostUses(from) ?? ANY_NUMBER)
  return update(
    keyOf(to.id),
    { set: { ...grant, federation: federation && JSON.stringify(federation) }, add: { usesLeft: more } },
    sameFederation,
  )
}

function byExpiry(a: AccessToken, b: AccessToken): number {
  return a.expiresAt - b.expiresAt || Buffer.compare(a.secretHash, b.secretHash)
}
