import { z } from 'zod'
import { containsToken } from '../auth/token-format.ts'
import { TOKEN_RULE } from '../auth/visible-text.ts'
import { linksOf } from '../discovery/links.ts'
import type { Credential } from '../registration/deps.ts'
import type { RegistrationView } from '../registration/queries/registration-view.ts'
import { ready, registerBody } from './register-schema.ts'

const { name, plan } = registerBody.shape
const text = z
  .string('must be a string')
  .max(2_000, 'must have at most 2000 characters')
  .refine((value) => !containsToken(value), TOKEN_RULE)
const ECHOED = 'Returned unchanged and not used: there is no OAuth flow'
const texts = z.array(text, 'must be an array of strings').max(50, 'must have at most 50 items')

/**
 * Client metadata (RFC 7591, section 2). Fields about an OAuth flow are returned unchanged and have no effect, because
 * the client secret is an API key. Unknown fields are ignored, as the RFC requires.
 */
export const clientMetadata = z.object(
  {
    client_name: name,
    redirect_uris: texts
      .default([])
      .describe('Returned unchanged and not used: the service does not redirect'),
    grant_types: texts.optional().describe(ECHOED),
    response_types: texts.optional().describe(ECHOED),
    token_endpoint_auth_method: text.optional().describe(ECHOED),
    scope: text.optional().describe(ECHOED),
    client_uri: text.optional().describe('Returned unchanged: the home page of the client'),
    logo_uri: text.optional().describe('Returned unchanged: the logo of the client'),
    tos_uri: text.optional().describe('Returned unchanged: the terms of service of the client'),
    policy_uri: text.optional().describe('Returned unchanged: the privacy policy of the client'),
    contacts: texts
      .optional()
      .describe('Returned unchanged: ways to contact the people responsible for the client'),
    software_id: text
      .optional()
      .describe('Returned unchanged: the id of the software, the same for all its instances'),
    software_version: text.optional().describe('Returned unchanged: the version of the software'),
    plan: plan.describe('An extension to the RFC: the plan, as in POST /register'),
  },
  { error: 'a JSON object with "client_name" is required' },
)

export type ClientMetadata = z.infer<typeof clientMetadata>

export const metadataExample: z.input<typeof clientMetadata> = {
  client_name: 'acme-agent',
  grant_types: ['client_credentials'],
  plan: 'gold',
}

const registeredMetadata = clientMetadata.omit({ client_name: true, plan: true })

/** The response to a registration (RFC 7591, section 3.2.1), with the URL to manage it (RFC 7592, section 3). */
export const clientInformation = clientMetadata
  .extend({
    // The names of earlier versions may break today's rule.
    client_name: z.string().describe('The name of the client'),
    client_id: z.string().describe('The id of the API key in API Gateway'),
    client_secret: z.string().describe('The API key: send it in the header x-api-key'),
    client_id_issued_at: z.int().describe('The time of the registration, in seconds since the Unix epoch'),
    client_secret_expires_at: z
      .int()
      .describe('The time when the key expires, in seconds since the Unix epoch; 0 if it never expires'),
    registration_access_token: z.string().describe('The management token of this registration'),
    registration_client_uri: z.string().describe('The URL to manage this registration: GET and DELETE'),
    ready,
  })
  .meta({ id: 'ClientInformation' })

/**
 * The response to reading a registration (RFC 7592, section 2.1): its metadata as registered, without the secret, which only its
 * owner has.
 */
export const readClientInformation = clientInformation
  .omit({ client_secret: true, ready: true })
  .meta({ id: 'RegisteredClient' })

export const readClientExample: z.infer<typeof readClientInformation> = {
  client_name: 'acme-agent',
  redirect_uris: [],
  grant_types: ['client_credentials'],
  plan: 'gold',
  client_id: 'luhw7dzkmd',
  client_id_issued_at: 1_795_470_991,
  client_secret_expires_at: 0,
  registration_access_token: 'fkm_…',
  registration_client_uri: 'https://keys.example.com/connect/register/reg_4f1c09ab3e_pyJ4MCUwP1RpDiJX72D7',
}

export const clientExample: z.infer<typeof clientInformation> = {
  ...readClientExample,
  client_secret: '…40 letters and digits…',
}

const seconds = (ms: number | null): number => (ms === null ? 0 : Math.floor(ms / 1_000))

export function toClientInformation(
  { registration, apiKeyId, secrets, ready }: Credential,
  metadata: ClientMetadata,
): z.infer<typeof clientInformation> {
  return {
    ...metadata,
    plan: registration.plan,
    client_id: apiKeyId,
    client_secret: secrets.apiKeyValue,
    client_id_issued_at: seconds(registration.createdAt),
    client_secret_expires_at: seconds(registration.expiresAt),
    registration_access_token: secrets.managementToken,
    registration_client_uri: `${linksOf(secrets.publicUrl).connect}/${registration.rotation?.of ?? registration.id}`,
    ...(ready === null ? {} : { ready }),
  }
}

export function toReadClientInformation(
  { registration, current }: RegistrationView,
  apiKeyId: string,
  { secret, publicUrl }: { secret: string; publicUrl: string },
): z.infer<typeof readClientInformation> {
  return {
    ...registeredMetadata.parse(JSON.parse(current.clientMetadata ?? registration.clientMetadata ?? '{}')),
    client_name: registration.name,
    plan: current.plan,
    client_id: apiKeyId,
    client_id_issued_at: seconds(registration.createdAt),
    client_secret_expires_at: seconds(current.expiresAt),
    registration_access_token: secret,
    registration_client_uri: `${linksOf(publicUrl).connect}/${registration.id}`,
  }
}
