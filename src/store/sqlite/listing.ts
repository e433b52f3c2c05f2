import { z } from 'zod'
import type { Listing } from '../listing.ts'
import { readRegistration } from './rows.ts'
import type { Statements } from './statements.ts'

const countRow = z.object({
  plan: z.string(),
  standing: z.enum(['pending', 'active', 'failed', 'expired', 'revoked']),
  count: z.number(),
})

const countOf = z.object({ count: z.number() })

/** The part of the store that tells the operator what there is. */
export function sqliteListing(sql: Statements, use: <T>(work: () => T) => Promise<T>): Listing {
  return {
    listingLagMs: 0,
    listWithKeys: (filter, now) =>
      use(() => {
        const { standing = null, tokenId = null, plan = null, expiringBy = null, limit } = filter
        const { id: afterId = null, createdAt: afterCreatedAt = null } = filter.after ?? {}
        const withKey = filter.withKey ? 1 : 0
        const bound = { standing, tokenId, plan, expiringBy, withKey, afterId, afterCreatedAt, limit, now }
        return sql.withKeys.all(bound).flatMap(({ id, current_id }) => {
          const registration = readRegistration(sql.registrationById.get(String(id)))
          const current = readRegistration(sql.registrationById.get(String(current_id)))
          return registration && current ? [{ registration, current }] : []
        })
      }),
    countByStanding: (now) => use(() => sql.countByStanding.all({ now }).map((row) => countRow.parse(row))),
    countKeys: () => use(() => countOf.parse(sql.countKeys.get()).count),
    listRegistrations: ({ status = null, tokenId = null, limit }) =>
      use(() =>
        sql.registrations.all({ status, tokenId, limit }).flatMap((row) => readRegistration(row) ?? []),
      ),
  }
}
