import { z } from 'zod'
import type { Plan } from '../config.ts'
import type { Credential } from '../registration/deps.ts'
import { planById } from '../registration/present-key.ts'
import type { KeyHealth } from '../registration/queries/key-liveness.ts'
import type { RegistrationView } from '../registration/queries/registration-view.ts'
import { PUBLIC_STATUSES } from '../store/operators.ts'
import type { Registration } from '../store/records.ts'
import { credentialExample, credentialSchema, timestamp, toAnswer, toTimestamp } from './register-schema.ts'

export const registrationParams = z.object({
  id: z
    .string()
    .describe('The `registration_id` (reg_…)')
    .meta({ examples: ['reg_4f1c09ab3e_pyJ4MCUwP1RpDiJX72D7'] }),
})

const HOUR_S = 3_600
const LONGEST_OVERLAP_S = 7 * 24 * HOUR_S
const OVERLAP_RULE = `must be a whole number from 0 to ${LONGEST_OVERLAP_S}`

const endingKey = z
  .object({
    api_key_id: z.string().describe('The id of that key in API Gateway'),
    ends_at: timestamp.describe('The latest time when that key expires'),
  })
  .meta({ id: 'EndingKey' })

/** The response to `GET /register/{id}`. It contains no secret. */
export const registrationSchema = z
  .object({
    registration_id: z.string().describe('The id of the registration'),
    name: z.string().describe('The name from the registration'),
    description: z.string().describe('The description from the registration; empty if there was none'),
    plan: z
      .string()
      .describe('The name of the plan in this service; the id of the usage plan if it is none of its plans'),
    usage_plan_id: z.string().describe('The id of the usage plan in API Gateway that the key is on'),
    status: z
      .enum(PUBLIC_STATUSES)
      .describe(
        'The status of the current key. `suspended`: the operator disabled it; `pending`: it is being minted; `failed`: it was never minted',
      ),
    created_at: timestamp.describe('The time of the registration: RFC 3339, UTC'),
    expires_at: timestamp.nullable().describe('The time when the key expires; `null` if it never expires'),
    expires_soon: z
      .boolean()
      .describe(
        '`true` if the key expires within a week or, if that is shorter, within the last tenth of its lifetime',
      ),
    api_key_id: z
      .string()
      .nullable()
      .describe('The id of the current key in API Gateway; `null` if there is none'),
    live: z
      .boolean()
      .nullable()
      .describe(
        '`true` if the key exists in API Gateway, enabled and on a usage plan that opens the API, as of a few seconds ago; ' +
          '`null` if that is unknown',
      ),
    ready: z
      .boolean()
      .nullable()
      .describe('`true` if the API accepts the key, `false` if it rejects it; `null` if that is unknown'),
    rotation: z
      .object({
        rotated_at: timestamp
          .nullable()
          .describe('The time when the current key was created; `null` if it is the first key'),
        overlapping: endingKey
          .nullable()
          .describe('The previous key, while it still works; otherwise `null`'),
      })
      .describe('The latest rotation of the key'),
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
  { live, ready, usagePlanId }: KeyHealth,
  plans: readonly Plan[],
): RegistrationAnswer {
  const { registration, current, overlapping, status, expiresSoon } = view
  return {
    registration_id: registration.id,
    name: registration.name,
    description: current.description,
    ...planOf(current, usagePlanId, plans),
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

/** The plan of the present key: where API Gateway shows the key, or else where it was minted. */
function planOf(
  { plan, usagePlanId: recordedId }: Registration,
  usagePlanId: string | null,
  plans: readonly Plan[],
): Pick<RegistrationAnswer, 'plan' | 'usage_plan_id'> {
  if (usagePlanId === null || usagePlanId === recordedId) return { plan, usage_plan_id: recordedId }
  return { plan: planById(plans, usagePlanId).name, usage_plan_id: usagePlanId }
}

/** The optional body of `POST /register/{id}/rotate`. */
export const rotateBody = z
  .strictObject(
    {
      overlap_seconds: z
        .int(OVERLAP_RULE)
        .min(0, OVERLAP_RULE)
        .max(LONGEST_OVERLAP_S, OVERLAP_RULE)
        .default(HOUR_S)
        .describe(
          'The seconds for which the current key keeps working beside the new one, unless it expires first',
        ),
      management_token: z
        .boolean('must be true or false')
        .default(false)
        .describe(
          '`true` to also replace the management token; the current one stops working. It requires an Idempotency-Key',
        ),
    },
    { error: 'a JSON object is required' },
  )
  .prefault({})
  .meta({ examples: [{ overlap_seconds: HOUR_S }] })

/** The response to a rotation: a credential, and the key that it replaces. */
export const rotatedSchema = credentialSchema
  .extend({
    management: z
      .object({
        token: z
          .string()
          .optional()
          .describe(
            'The new management token, a secret. Present only if it was replaced; the previous one no longer works',
          ),
        url: z
          .string()
          .describe('The URL to manage the registration: GET and DELETE, and the paths below it'),
      })
      .describe('Instructions to view, rotate and revoke the key'),
    replaced: endingKey.nullable().describe('The previous key; `null` if it no longer exists'),
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
