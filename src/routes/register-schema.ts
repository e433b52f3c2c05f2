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
    )
    .meta({ examples: ['9c5b94b1-35ad-49bb-b118-8e8fc24abf80'] }),
  prefer: z
    .string()
    .optional()
    .describe(
      '`wait=20` holds the answer for up to so many seconds until the API takes the new key, and says in `ready` whether ' +
        'it does (RFC 7240). Ignored where the service cannot ask the API.',
    )
    .meta({ examples: ['wait=20'] }),
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
      .optional()
      .describe('What the key is for'),
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

export const registerExample: z.infer<typeof registerBody> = {
  name: 'acme-agent',
  description: 'nightly import',
  plan: 'gold',
}

export const timestamp = z.iso.datetime().describe('RFC 3339, UTC')

/** In every answer with a new key. */
export const ready = z
  .boolean()
  .optional()
  .describe(
    'Whether the API was seen to take the key; only with `Prefer: wait`. If not, try the key again in a while',
  )

/** The answer of `POST /register`. The two secrets in it are shown once. */
export const credentialSchema = z
  .object({
    registration_id: z.string().describe('The id of the registration; it stays when the key is rotated'),
    api_key_id: z.string().describe('The id of the key in API Gateway'),
    api_key_value: z.string().describe('The secret: send it in the header named in "use"'),
    name: z.string().describe('As asked for'),
    description: z.string().describe('As asked for; empty: none'),
    usage_plan_id: z.string().describe('The id of the usage plan in API Gateway'),
    plan: z.string().describe('The name of the plan, as a registration asks for it'),
    created_at: timestamp.describe('When the key was made: RFC 3339, UTC'),
    expires_at: timestamp.nullable().describe('When the key ends; null: never'),
    ready,
    use: z
      .object({
        header: z.literal('x-api-key').describe('The header to send the key in'),
        base_url: z.string().describe('The API that the key opens'),
        curl: z.string().describe('A command to paste'),
      })
      .describe('How to use the key'),
    management: z
      .object({
        token: z.string().describe('The secret that manages this registration'),
        url: z.string().describe('Where: GET, DELETE, and what is below it'),
      })
      .describe('How to look at the key, rotate it and give it back'),
  })
  .meta({ id: 'Credential' })

export type CredentialAnswer = z.infer<typeof credentialSchema>

export const credentialExample: CredentialAnswer = {
  registration_id: 'reg_pyJ4MCUwP1RpDiJX72D7',
  api_key_id: 'luhw7dzkmd',
  api_key_value: '…40 letters and digits…',
  name: 'acme-agent',
  description: 'nightly import',
  usage_plan_id: 'abc123',
  plan: 'gold',
  created_at: '2026-11-23T21:56:31.727Z',
  expires_at: null,
  ready: true,
  use: {
    header: 'x-api-key',
    base_url: 'https://api.example.com/v1',
    curl: "curl -H 'x-api-key: …' https://api.example.com/v1",
  },
  management: { token: 'fkm_…', url: 'https://keys.example.com/register/reg_pyJ4MCUwP1RpDiJX72D7' },
}

/** The same answer as text. */
export const shellLinesSchema = z.string().describe('name=value lines, quoted for a POSIX shell')

export const shellLinesExample = toShellLines(credentialExample)

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
