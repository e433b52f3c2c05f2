import { z } from 'zod'
import { federationJson, parseRecord } from '../parse-record.ts'
import { POOL_KEY_STATES, type PoolHolder, type PoolKey } from '../pool.ts'
import {
  type AccessToken,
  type BootstrapToken,
  END_REASONS,
  FAILURES,
  type Proof,
  REGISTRATION_STATUSES,
  type Registration,
} from '../records.ts'

const bytes = z.instanceof(Uint8Array)
const planNames = z.array(z.string())
const dailyUsage = z.record(z.string(), z.number())
const plans = z.string().transform((text) => planNames.parse(JSON.parse(text)))

const tokenRow = z
  .object({
    id: z.string(),
    secret_hash: bytes,
    label: z.string(),
    plans,
    max_uses: z.number().nullable(),
    uses: z.number(),
    expires_at: z.number().nullable(),
    key_ttl_ms: z.number().nullable(),
    name_prefix: z.string(),
    rate_per_minute: z.number().nullable(),
    created_at: z.number(),
    revoked_at: z.number().nullable(),
    federation: federationJson.nullable(),
  })
  .transform(
    (row): BootstrapToken => ({
      id: row.id,
      secretHash: row.secret_hash,
      label: row.label,
      plans: row.plans,
      maxUses: row.max_uses,
      uses: row.uses,
      expiresAt: row.expires_at,
      keyTtlMs: row.key_ttl_ms,
      namePrefix: row.name_prefix,
      ratePerMinute: row.rate_per_minute,
      createdAt: row.created_at,
      revokedAt: row.revoked_at,
      federation: row.federation,
    }),
  )

const registrationRow = z
  .object({
    id: z.string(),
    token_id: z.string(),
    status: z.enum(REGISTRATION_STATUSES),
    name: z.string(),
    description: z.string(),
    plan: z.string(),
    usage_plan_id: z.string(),
    management_hash: bytes,
    api_key_id: z.string().nullable(),
    created_at: z.number(),
    ended_at: z.number().nullable(),
    expires_at: z.number().nullable(),
    failure: z.enum(FAILURES).nullable(),
    idempotency_hash: bytes.nullable(),
    request_hash: bytes.nullable(),
    sealed: bytes.nullable(),
    answered_at: z.number().nullable(),
    delivered_at: z.number().nullable(),
    undelivered: z.number(),
    sweep_at: z.number().nullable(),
    undoing: z.number(),
    ends_at: z.number().nullable(),
    end_reason: z.enum(END_REASONS).nullable(),
    rotation_of: z.string().nullable(),
    overlap_ms: z.number().nullable(),
    renews_management: z.number().nullable(),
    replaced_id: z.string().nullable(),
    current_id: z.string().nullable(),
    suspended_at: z.number().nullable(),
    switch_at: z.number().nullable(),
    final_usage: z
      .string()
      .transform((text) => dailyUsage.parse(JSON.parse(text)))
      .nullable(),
    previous_management_hash: bytes.nullable(),
    client_metadata: z.string().nullable(),
    proof_hash: bytes.nullable(),
    proof_expires_at: z.number().nullable(),
    holds_name: z.number().nullable(),
    holds_place: z.number(),
    seen_working: z.number(),
  })
  .transform(
    (row): Registration => ({
      id: row.id,
      tokenId: row.token_id,
      status: row.status,
      name: row.name,
      description: row.description,
      plan: row.plan,
      usagePlanId: row.usage_plan_id,
      managementHash: row.management_hash,
      apiKeyId: row.api_key_id,
      createdAt: row.created_at,
      endedAt: row.ended_at,
      expiresAt: row.expires_at,
      failure: row.failure,
      idempotency: idempotencyOf(row),
      answeredAt: row.answered_at,
      deliveredAt: row.delivered_at ?? (row.undelivered === 1 ? null : row.answered_at),
      sweepAt: row.sweep_at,
      undoing: row.undoing === 1,
      endsAt: row.ends_at,
      endReason: row.end_reason,
      rotation: rotationOf(row),
      replacedId: row.replaced_id,
      currentId: row.current_id,
      suspendedAt: row.suspended_at,
      switchAt: row.switch_at,
      finalUsage: row.final_usage,
      previousManagementHash: row.previous_management_hash,
      clientMetadata: row.client_metadata,
      federated: federatedOf(row),
      holdsPlace: row.holds_place === 1,
      ...(row.seen_working === 1 ? { seenWorking: true } : {}),
    }),
  )

interface IdempotencyColumns {
  readonly id: string
  readonly idempotency_hash: Uint8Array | null
  readonly request_hash: Uint8Array | null
  readonly sealed: Uint8Array | null
}

/** Three columns that are all there or all absent. @throws Error for a row in which some are */
function idempotencyOf({ id, idempotency_hash, request_hash, sealed }: IdempotencyColumns) {
  if (idempotency_hash === null && request_hash === null && sealed === null) return null
  if (idempotency_hash === null || request_hash === null || sealed === null)
    throw new Error(`${id} has only a part of what an idempotency key needs`)
  return { keyHash: idempotency_hash, requestHash: request_hash, sealed }
}

interface RotationColumns {
  readonly id: string
  readonly rotation_of: string | null
  readonly overlap_ms: number | null
  readonly renews_management: number | null
}

/** Three columns that are all there or all absent. @throws Error for a row in which some are */
function rotationOf({ id, rotation_of: of, overlap_ms, renews_management }: RotationColumns) {
  if (of === null) return null
  if (overlap_ms === null || renews_management === null)
    throw new Error(`${id} has only a part of what a rotation needs`)
  return { of, overlapMs: overlap_ms, renewsManagement: renews_management === 1 }
}

interface ProofColumns {
  readonly proof_hash: Uint8Array | null
  readonly proof_expires_at: number | null
}

interface FederatedColumns extends ProofColumns {
  readonly id: string
  readonly holds_name: number | null
}

/** `holds_name` is there for a federated caller. */
function federatedOf(row: FederatedColumns) {
  if (row.holds_name === null) return null
  return { proof: proofOf(row.id, row), holdsName: row.holds_name === 1 }
}

/** Two columns that are both there or both absent. @throws Error for a row in which one is */
function proofOf(
  name: string,
  { proof_hash: hash, proof_expires_at: expiresAt }: ProofColumns,
): Proof | null {
  if ((hash === null) !== (expiresAt === null)) throw new Error(`${name} has only a part of a proof`)
  return hash === null || expiresAt === null ? null : { hash, expiresAt }
}

/** A row of `tokens`, validated. `undefined`: there is no such row. */
export function readToken(row: unknown): BootstrapToken | undefined {
  return row === undefined ? undefined : parseRecord(tokenRow, row, nameOf('token', row))
}

/** The values of a token's row. */
export function tokenColumns({ plans, federation, ...token }: BootstrapToken) {
  return { ...token, plans: JSON.stringify(plans), federation: federation && JSON.stringify(federation) }
}

/** A row of `registrations`, validated. `undefined`: there is no such row. */
export function readRegistration(row: unknown): Registration | undefined {
  return row === undefined ? undefined : parseRecord(registrationRow, row, nameOf('registration', row))
}

/** Rows of `registrations`, validated. */
export function readRegistrations(rows: readonly unknown[]): Registration[] {
  return rows.map((row) => parseRecord(registrationRow, row, nameOf('registration', row)))
}

function nameOf(kind: string, row: unknown): string {
  return `${kind} ${row !== null && typeof row === 'object' && 'id' in row ? row.id : 'without an id'}`
}

const originColumns = z.object({ token_id: z.string(), rotation_of: z.string().nullable() })
const toOrigin = ({ token_id, rotation_of }: z.infer<typeof originColumns>) => ({
  tokenId: token_id,
  rotation: rotation_of === null ? null : { of: rotation_of },
})

/** The token and the rotated registration of a row that returns `token_id` and `rotation_of`. */
export const originRow = originColumns.transform(toOrigin)

/** The same of a row that fails, with the hash of its proof. */
export const failedRow = originColumns
  .extend({ proof_hash: bytes.nullable() })
  .transform((row) => ({ ...toOrigin(row), proofHash: row.proof_hash }))

/** A row of `registrations` that ends, with the column that says whether its registration holds a place. */
export const endingRow = z.object({ root_holds_place: z.number() })

const accessTokenRow = z
  .object({
    secret_hash: bytes,
    token_id: z.string(),
    expires_at: z.number(),
    proof_hash: bytes.nullable(),
    proof_expires_at: z.number().nullable(),
  })
  .transform(
    (row): AccessToken => ({
      secretHash: row.secret_hash,
      tokenId: row.token_id,
      expiresAt: row.expires_at,
      proof: proofOf('an access token', row),
    }),
  )

/** A row of `access_tokens`, validated. `undefined`: there is no such row. */
export function readAccessToken(row: unknown): AccessToken | undefined {
  return row === undefined ? undefined : parseRecord(accessTokenRow, row, 'access token')
}

const poolKeyRow = z
  .object({
    id: z.string(),
    plan: z.string(),
    usage_plan_id: z.string(),
    state: z.enum(POOL_KEY_STATES),
    api_key_id: z.string().nullable(),
    holder: z.string().nullable(),
    seen_working: z.number(),
    created_at: z.number(),
    changed_at: z.number(),
  })
  .transform(
    (row): PoolKey => ({
      id: row.id,
      plan: row.plan,
      usagePlanId: row.usage_plan_id,
      state: row.state,
      apiKeyId: row.api_key_id,
      holder: row.holder,
      seenWorking: row.seen_working === 1,
      createdAt: row.created_at,
      changedAt: row.changed_at,
    }),
  )

/** Rows of `pool_keys`, validated. */
export function readPoolKeys(rows: readonly unknown[]): PoolKey[] {
  return rows.map((row) => parseRecord(poolKeyRow, row, nameOf('pool key', row)))
}

const poolSizes = z.record(z.string(), z.number())
const poolHolderRow = z.object({
  owner: z.string(),
  until: z.number(),
  sizes: z.string().transform((text) => poolSizes.parse(JSON.parse(text))),
  trouble: z.string().nullable(),
})

/** Rows of `pool_holders`, validated. */
export function readPoolHolders(rows: readonly unknown[]): PoolHolder[] {
  return rows.map((row) => parseRecord(poolHolderRow, row, 'a holder of the pool'))
}

export const holderRow = z.object({ holder: z.string().nullable() })

/** The end of the lease of a row of `registrations`. */
export const leaseRow = z.object({ lease_until: z.number().nullable() })

export const countRow = z.object({ count: z.number() })
