import { z } from 'zod'
import { linksOf } from '../discovery/links.ts'
import type { Credential } from '../registration/context.ts'
import { NAME, NAME_OR_EMPTY, NAME_RULE } from '../registration/name.ts'
import { shellAssignments, shellQuote } from './shell.ts'

/** The headers of `POST /register` that are its own. Only for the documentation: the key has an error code of its own. */
export const registerHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .optional()
    .describe(
      '16 to 255 visible characters, as a UUID, bare or quoted. For a day the same request with the same key gets ' +
        'the same credential, whatever broke in between.',
    ),
  prefer: z
    .string()
    .optional()
    .describe(
      '`wait=20` holds the answer for up to so many seconds until the API takes the new key, and says in `ready` whether ' +
        'it does (RFC 7240). Ignored where the service cannot ask the API.',
    ),
})

/** The body of `POST /register`. */
export const registerBody = z.strictObject(
  {
    name: z
      .string({ error: ({ input }) => (input === undefined ? 'is required' : 'must be a string') })
      .min(1, { error: 'must not be empty', abort: true })
      .max(128, 'must have at most 128 characters')
      .regex(NAME, NAME_RULE)
      .describe('Who the key is for; need not be unique')
      .meta({ examples: ['acme-agent'] }),
    description: z
      .string('must be a string')
      .max(256, 'must have at most 256 characters')
      .regex(NAME_OR_EMPTY, NAME_RULE)
      .optional(),
    plan: z
      .string('must be a string')
      .min(1, 'must not be empty')
      .max(50, 'must have at most 50 characters')
      .optional()
      .describe('One of the plans the token may ask for; left out: the first of them'),
  },
  {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? `has unknown fields: ${issue.keys.map((key) => JSON.stringify(key)).join(', ')}`
        : 'must be a JSON object with "name"',
  },
)

export const timestamp = z.iso.datetime().describe('RFC 3339, UTC')

/** In every answer with a new key. */
export const ready = z
  .boolean()
  .optional()
  .describe('Whether the API takes the key yet; only with `Prefer: wait`. If not, try again in a while')

/** The answer of `POST /register`. The two secrets in it are shown once. */
export const credentialSchema = z
  .object({
    registration_id: z.string(),
    api_key_id: z.string().describe('The id of the key in API Gateway'),
    api_key_value: z.string().describe('The secret: send it in the header named in "use"'),
    name: z.string(),
    description: z.string(),
    usage_plan_id: z.string(),
    plan: z.string(),
    created_at: timestamp,
    expires_at: timestamp.nullable().describe('When the key ends; null: never'),
    ready,
    use: z.object({
      header: z.literal('x-api-key'),
      base_url: z.string(),
      curl: z.string().describe('A command to paste'),
    }),
    management: z.object({
      token: z.string().describe('The secret that manages this registration'),
      url: z.string(),
    }),
  })
  .meta({ id: 'Credential' })

export type CredentialAnswer = z.infer<typeof credentialSchema>

/** The same answer as text. */
export const shellLinesSchema = z
  .string()
  .describe('name=value lines, quoted for a POSIX shell')
  .meta({ examples: ['registration_id=reg_…\napi_key_id=…\napi_key_value=…\n'] })

export function toAnswer({ registration, apiKeyId, answer, ready }: Credential): CredentialAnswer {
  const { apiKeyValue, managementToken, publicUrl, apiBaseUrl } = answer
  const id = registration.rotation?.of ?? registration.id
  return {
    registration_id: id,
    api_key_id: apiKeyId,
    api_key_value: apiKeyValue,
    name: registration.name,
    description: registration.description,
    usage_plan_id: registration.usagePlanId,
    plan: registration.plan,
    created_at: toTimestamp(registration.createdAt),
    expires_at: registration.expiresAt === null ? null : toTimestamp(registration.expiresAt),
    ...(ready === null ? {} : { ready }),
    use: {
      header: 'x-api-key',
      base_url: apiBaseUrl,
      curl: `curl -H ${shellQuote(`x-api-key: ${apiKeyValue}`)} ${shellQuote(apiBaseUrl)}`,
    },
    management: { token: managementToken, url: `${linksOf(publicUrl).register}/${id}` },
  }
}

/** The answer for `Accept: text/plain`: safe to `eval` or to source, whatever is in the name. */
export function toShellLines({ use, management, expires_at, ready, ...answer }: CredentialAnswer): string {
  return shellAssignments({
    ...answer,
    ...(expires_at === null ? {} : { expires_at }),
    ...(ready === undefined ? {} : { ready: String(ready) }),
    header: use.header,
    base_url: use.base_url,
    curl: use.curl,
    management_token: management.token,
    management_url: management.url,
  })
}

export function toTimestamp(ms: number): string {
  return new Date(ms).toISOString()
}
