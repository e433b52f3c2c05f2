import { tokenEntry } from '../audit.ts'
import { type FederationStore, isSameGrant } from '../federation.ts'
import type { SqliteAudit } from './audit.ts'
import type { SqliteConnection } from './connection.ts'
import { holderRow, readAccessToken, readToken, tokenColumns } from './rows.ts'
import type { Statements } from './statements.ts'

/** {@link FederationStore} on SQLite. Every writing method is one transaction. */
export function sqliteFederation(
  { use, transact }: SqliteConnection,
  sql: Statements,
  audit: SqliteAudit,
): FederationStore {
  const find = (id: string) => readToken(sql.tokenById.get(id))

  return {
    async putVirtualToken(token, actor) {
      const found = await use(() => find(token.id))
      if (found !== undefined && isSameGrant(found, token)) return found
      return transact(() => {
        if (sql.insertToken.run(tokenColumns(token)).changes === 1) {
          audit.add(tokenEntry('token.created', token.id, token.createdAt, actor))
        } else {
          const { secretHash: _s, uses: _u, createdAt: _c, revokedAt: _r, ...grant } = tokenColumns(token)
          sql.updateGrant.run(grant)
        }
        const stored = find(token.id)
        if (stored === undefined) throw new Error(`another token has the secret of ${token.id}`)
        return stored
      })
    },

    createAccessToken: ({ secretHash, tokenId, expiresAt }, proof, actor, now) =>
      transact(() => {
        if (proof !== null && sql.claimProof.run({ ...proof, holder: null }).changes === 0) return 'replayed'
        const proofColumns = { proofHash: proof?.hash ?? null, proofExpiresAt: proof?.expiresAt ?? null }
        const { changes } = sql.insertAccessToken.run({ secretHash, tokenId, expiresAt, ...proofColumns })
        if (changes === 0) throw new Error('there is already an access token with this secret')
        audit.add(tokenEntry('access_token.created', tokenId, now, actor))
        return 'created'
      }),
    findAccessToken: (secretHash) =>
      use(() => {
        const found = readAccessToken(sql.accessTokenByHash.get(secretHash))
        const token = found && find(found.tokenId)
        return found && token && { token, expiresAt: found.expiresAt }
      }),
    findProof: (hash) => use(() => holderRow.optional().parse(sql.proofHolder.get(hash))),
    listAccessTokens: () => use(() => sql.accessTokens.all().flatMap((row) => readAccessToken(row) ?? [])),
  }
}
