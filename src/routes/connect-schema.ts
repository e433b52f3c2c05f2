import { z } from 'zod'
import { linksOf } from '../discovery/links.ts'
import type { Credential } from '../registration/context.ts'
import type { RegistrationView } from '../registration/describe.ts'
import { ready, registerBody } from './register-schema.ts'

const { name, plan } = registerBody.shape
const text = z.string('must be a string').max(2_000, 'must have at most 2000 characters')
const texts = z.array(text, 'must be an array of strings').max(50, 'must have at most 50 items')

/**
 * Client metadata (RFC 7591, section 2). What says something of an OAuth flow is echoed, and means nothing here: the client
 * secret is an API key. Fields that nobody knows are ignored, as the RFC wants it.
 */
export const clientMetadata = z.object(
  {
    client_name: name,
    redirect_uris: texts.default([]),
    grant_types: texts.optional(),
    response_types: texts.optional(),
    token_endpoint_auth_method: text.optional(),
    scope: text.optional(),
    client_uri: text.optional(),
    logo_uri: text.optional(),
    tos_uri: text.optional(),
    policy_uri: text.optional(),
    contacts: texts.optional(),
    software_id: text.optional(),
    software_version: text.optional(),
    plan: plan.describe('Not of the RFC: the plan to be on, as in POST /register'),
  },
  { error: 'must be a JSON object with "client_name"' },
)

export type ClientMetadata = z.infer<typeof clientMetadata>

/** The answer of a registration (RFC 7591, section 3.2.1), and where it is managed (RFC 7592, section 3). */
export const clientInformation = clientMetadata
  .extend({
    client_id: z.string().describe('The id of the key in API Gateway'),
    client_secret: z.string().describe('The key: send it in the header x-api-key'),
    client_id_issued_at: z.int().describe('Seconds since the epoch'),
    client_secret_expires_at: z.int().describe('Seconds since the epoch; 0: never'),
    registration_access_token: z.string().describe('The secret that manages this registration'),
    registration_client_uri: z.string(),
    ready,
  })
  .meta({ id: 'ClientInformation' })

/** The answer of a look at a registration (RFC 7592, section 2.1): without the secret, which nobody has but its owner. */
export const readClientInformation = clientInformation
  .omit({ client_secret: true, ready: true })
  .meta({ id: 'RegisteredClient' })

const seconds = (ms: number | null): number => (ms === null ? 0 : Math.floor(ms / 1_000))

export function toClientInformation(
  { registration, apiKeyId, answer, ready }: Credential,
  metadata: ClientMetadata,
): z.infer<typeof clientInformation> {
  return {
    ...metadata,
    plan: registration.plan,
    client_id: apiKeyId,
    client_secret: answer.apiKeyValue,
    client_id_issued_at: seconds(registration.createdAt),
    client_secret_expires_at: seconds(registration.expiresAt),
    registration_access_token: answer.managementToken,
    registration_client_uri: `${linksOf(answer.publicUrl).connect}/${registration.id}`,
    ...(ready === null ? {} : { ready }),
  }
}

export function toReadClientInformation(
  { registration, current }: RegistrationView,
  apiKeyId: string,
  { secret, publicUrl }: { secret: string; publicUrl: string },
): z.infer<typeof readClientInformation> {
  return {
    client_name: registration.name,
    redirect_uris: [],
    plan: registration.plan,
    client_id: apiKeyId,
    client_id_issued_at: seconds(registration.createdAt),
    client_secret_expires_at: seconds(current.expiresAt),
    registration_access_token: secret,
    registration_client_uri: `${linksOf(publicUrl).connect}/${registration.id}`,
  }
}
