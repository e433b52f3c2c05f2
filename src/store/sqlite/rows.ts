import { z } from 'zod'
import type { BootstrapToken, Registration } from '../records.ts'

const bytes = z.instanceof(Uint8Array)
const planNames = z.array(z.string())
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
    }),
  )

const registrationRow = z
  .object({
    id: z.string(),
    token_id: z.string(),
    status: z.enum(['pending', 'active', 'failed', 'ending', 'ended']),
    name: z.string(),
    description: z.string(),
    plan: z.string(),
    usage_plan_id: z.string(),
    management_hash: bytes,
    api_key_id: z.string().nullable(),
    created_at: z.number(),
    ended_at: z.number().nullable(),
    expires_at: z.number().nullable(),
    failure: z.string().nullable(),
    idempotency_hash: bytes.nullable(),
    request_hash: bytes.nullable(),
    sealed: bytes.nullable(),
    answered_at: z.number().nullable(),
    sweep_at: z.number().nullable(),
    undoing: z.number(),
    ends_at: z.number().nullable(),
    end_reason: z.enum(['expired', 'revoked', 'rotated']).nullable(),
    rotation_of: z.string().nullable(),
    overlap_ms: z.number().nullable(),
    renews_management: z.number().nullable(),
    replaced_id: z.string().nullable(),
    current_id: z.string().nullable(),
    previous_management_hash: bytes.nullable(),
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
      idempotency:
        row.idempotency_hash === null || row.request_hash === null || row.sealed === null
          ? null
          : { keyHash: row.idempotency_hash, requestHash: row.request_hash, sealed: row.sealed },
      answeredAt: row.answered_at,
      sweepAt: row.sweep_at,
      undoing: row.undoing === 1,
      endsAt: row.ends_at,
      endReason: row.end_reason,
      rotation:
        row.rotation_of === null
          ? null
          : {
              of: row.rotation_of,
              overlapMs: row.overlap_ms ?? 0,
              renewsManagement: row.renews_management === 1,
            },
      replacedId: row.replaced_id,
      currentId: row.current_id,
      previousManagementHash: row.previous_management_hash,
    }),
  )

/** A row of `tokens`, checked. `undefined` stays `undefined`: no such row. */
export function readToken(row: unknown): BootstrapToken | undefined {
  return row === undefined ? undefined : tokenRow.parse(row)
}

/** A row of `registrations`, checked. `undefined` stays `undefined`: no such row. */
export function readRegistration(row: unknown): Registration | undefined {
  return row === undefined ? undefined : registrationRow.parse(row)
}
