import { z } from 'zod'
import type { Credential } from '../registration/context.ts'
import type { RegistrationView } from '../registration/describe.ts'
import type { KeyStanding } from '../registration/liveness.ts'
import type { Registration } from '../store/records.ts'
import { credentialExample, credentialSchema, timestamp, toAnswer, toTimestamp } from './register-schema.ts'

export const registrationParams = z.object({
  id: z
    .string()
    .describe('The registration_id: reg_…')
    .meta({ examples: ['reg_pyJ4MCUwP1RpDiJX72D7'] }),
})

const HOUR_S = 3_600
const LONGEST_OVERLAP_S = 7 * 24 * HOUR_S
const OVERLAP_RULE = `must be a whole number from 0 to ${LONGEST_OVERLAP_S}`

const endingKey = z.object({
  api_key_id: z.string().describe('The id of that key in API Gateway'),
  ends_at: timestamp.describe('When it goes, at the latest'),
})

/** The answer of `GET /register/{id}`: no secret in it. */
export const registrationSchema = z
  .object({
    registration_id: z.string().describe('The id of the registration'),
    name: z.string().describe('As asked for'),
    description: z.string().describe('As asked for; empty: none'),
    plan: z.string().describe('The name of the plan, as a registration asks for it'),
    usage_plan_id: z.string().describe('The id of the usage plan in API Gateway'),
    status: z
      .enum(['active', 'expired', 'revoked', 'pending', 'failed'])
      .describe('How the present key stands; pending: it is being made; failed: there never was one'),
    created_at: timestamp.describe('When it was registered: RFC 3339, UTC'),
    expires_at: timestamp.nullable().describe('When the key ends; null: never'),
    expires_soon: z
      .boolean()
      .describe('The key ends within a week, or within the last tenth of a shorter life'),
    api_key_id: z
      .string()
      .nullable()
      .describe('The id of the present key in API Gateway; null: there is none'),
    live: z
      .boolean()
      .nullable()
      .describe(
        'Whether API Gateway has the key, enabled and on its plan, some seconds ago; null: it did not say',
      ),
    ready: z
      .boolean()
      .nullable()
      .describe('Whether the API takes the key yet; null: it cannot be asked, or did not say'),
    rotation: z
      .object({
        rotated_at: timestamp.nullable().describe('When the key was made, if it is not the first'),
        overlapping: endingKey.nullable().describe('The key before, while it still works'),
      })
      .describe('What became of the first key'),
  })
  .meta({ id: 'Registration' })

export type RegistrationAnswer = z.infer<typeof registrationSchema>

export const registrationExample: RegistrationAnswer = {
  registration_id: credentialExample.registration_id,
  name: credentialExample.name,
  description: credentialExample.description,
  plan: credentialExample.plan,
  usage_plan_id: credentialExample.usage_plan_id,
  status: 'active',
  created_at: credentialExample.created_at,
  expires_at: null,
  expires_soon: false,
  api_key_id: 'h5ml2yq81a',
  live: true,
  ready: true,
  rotation: {
    rotated_at: '2026-12-01T09:30:00.000Z',
    overlapping: { api_key_id: credentialExample.api_key_id, ends_at: '2026-12-01T10:30:00.000Z' },
  },
}

export function toRegistrationAnswer(
  view: RegistrationView,
  { live, ready }: KeyStanding,
): RegistrationAnswer {
  const { registration, current, overlapping, status, expiresSoon } = view
  return {
    registration_id: registration.id,
    name: registration.name,
    description: registration.description,
    plan: registration.plan,
    usage_plan_id: registration.usagePlanId,
    status,
    created_at: toTimestamp(registration.createdAt),
    expires_at: current.expiresAt === null ? null : toTimestamp(current.expiresAt),
    expires_soon: expiresSoon,
    api_key_id: current.apiKeyId,
    live,
    ready,
    rotation: {
      rotated_at: current === registration ? null : toTimestamp(current.createdAt),
      overlapping: toEndingKey(overlapping),
    },
  }
}

/** The body of `POST /register/{id}/rotate`; it may be left out. */
export const rotateBody = z
  .strictObject({
    overlap_seconds: z
      .int(OVERLAP_RULE)
      .min(0, OVERLAP_RULE)
      .max(LONGEST_OVERLAP_S, OVERLAP_RULE)
      .default(HOUR_S)
      .describe('How long the present key still works beside the new one, unless it expires before'),
    management_token: z
      .boolean('must be true or false')
      .default(false)
      .describe('Renew the management token too; the present one ends. Requires an Idempotency-Key'),
  })
  .nullish()
  .meta({ examples: [{ overlap_seconds: HOUR_S }] })
  .transform((body) => body ?? { overlap_seconds: HOUR_S, management_token: false })

/** The answer of a rotation: a credential, and what it replaces. */
export const rotatedSchema = credentialSchema
  .extend({
    management: z
      .object({
        token: z.string().optional().describe('Only where it was renewed; the one before ends'),
        url: z.string().describe('Where: GET, DELETE, and what is below it'),
      })
      .describe('How to look at the key, rotate it and give it back'),
    replaced: endingKey.nullable().describe('The key before; null: it is gone'),
  })
  .meta({ id: 'RotatedCredential' })

export type RotatedAnswer = z.infer<typeof rotatedSchema>

export const rotatedExample: RotatedAnswer = {
  ...credentialExample,
  api_key_id: 'h5ml2yq81a',
  created_at: '2026-12-01T09:30:00.000Z',
  management: { url: credentialExample.management.url },
  replaced: { api_key_id: credentialExample.api_key_id, ends_at: '2026-12-01T10:30:00.000Z' },
}

export function toRotatedAnswer(credential: Credential): RotatedAnswer {
  const { management, ...answer } = toAnswer(credential)
  const { renewsManagement } = credential.registration.rotation ?? {}
  return {
    ...answer,
    management: renewsManagement ? management : { url: management.url },
    replaced: toEndingKey(credential.replaced),
  }
}

function toEndingKey(one: Registration | null): z.infer<typeof endingKey> | null {
  if (one === null || one.status === 'ended' || one.apiKeyId === null || one.endsAt === null) return null
  return { api_key_id: one.apiKeyId, ends_at: toTimestamp(one.endsAt) }
}
