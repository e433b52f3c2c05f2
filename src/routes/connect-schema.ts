import { z } from 'zod'
import { linksOf } from '../discovery/links.ts'
import type { Credential } from '../registration/context.ts'
import type { RegistrationView } from '../registration/describe.ts'
import { ready, registerBody } from './register-schema.ts'

const { name, plan } = registerBody.shape
const text = z.string('must be a string').max(2_000, 'must have at most 2000 characters')
const ECHOED = 'Echoed: there is no OAuth flow here'
const texts = z.array(text, 'must be an array of strings').max(50, 'must have at most 50 items')

/**
 * Client metadata (RFC 7591, section 2). What says something of an OAuth flow is echoed, and means nothing here: the client
 * secret is an API key. Fields that nobody knows are ignored, as the RFC wants it.
 */
export const clientMetadata = z.object(
  {
    client_name: name,
    redirect_uris: texts.default([]).describe('Echoed: nobody is redirected'),
    grant_types: texts.optional().describe(ECHOED),
    response_types: texts.optional().describe(ECHOED),
    token_endpoint_auth_method: text.optional().describe(ECHOED),
    scope: text.optional().describe(ECHOED),
    client_uri: text.optional().describe('Echoed: the home page of the client'),
    logo_uri: text.optional().describe('Echoed: a picture of the client'),
    tos_uri: text.optional().describe('Echoed: its terms of service'),
    policy_uri: text.optional().describe('Echoed: its privacy policy'),
    contacts: texts.optional().describe('Echoed: who is responsible for the client'),
    software_id: text.optional().describe('Echoed: the same for all copies of the client'),
    software_version: text.optional().describe('Echoed: the version of the client'),
    plan: plan.describe('Not of the RFC: the plan to be on, as in POST /register'),
  },
  { error: 'must be a JSON object with "client_name"' },
)

export type ClientMetadata = z.infer<typeof clientMetadata>

export const metadataExample: z.input<typeof clientMetadata> = {
  client_name: 'acme-agent',
  grant_types: ['client_credentials'],
  plan: 'gold',
}

/** The answer of a registration (RFC 7591, section 3.2.1), and where it is managed (RFC 7592, section 3). */
export const clientInformation = clientMetadata
  .extend({
    client_id: z.string().describe('The id of the key in API Gateway'),
    client_secret: z.string().describe('The key: send it in the header x-api-key'),
    client_id_issued_at: z.int().describe('Seconds since the epoch'),
    client_secret_expires_at: z.int().describe('Seconds since the epoch; 0: never'),
    registration_access_token: z.string().describe('The secret that manages this registration'),
    registration_client_uri: z.string().describe('Where it is managed: GET, DELETE'),
    ready,
  })
  .meta({ id: 'ClientInformation' })

/** The answer of a look at a registration (RFC 7592, section 2.1): without the secret, which nobody has but its owner. */
export const readClientInformation = clientInformation
  .omit({ client_secret: true, ready: true })
  .meta({ id: 'RegisteredClient' })

export const readClientExample: z.infer<typeof readClientInformation> = {
  client_name: 'acme-agent',
  redirect_uris: [],
  plan: 'gold',
  client_id: 'luhw7dzkmd',
  client_id_issued_at: 1_795_470_991,
  client_secret_expires_at: 0,
  registration_access_token: 'fkm_…',
  registration_client_uri: 'https://keys.example.com/connect/register/reg_pyJ4MCUwP1RpDiJX72D7',
}

export const clientExample: z.infer<typeof clientInformation> = {
  ...readClientExample,
  grant_types: ['client_credentials'],
  client_secret: '…40 letters and digits…',
}

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
