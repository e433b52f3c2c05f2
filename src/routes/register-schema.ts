import { z } from 'zod'
import { readVisibleText, TEXT_RULE } from '../auth/visible-text.ts'
import { linksOf } from '../discovery/links.ts'
import { idempotencyKeyShape } from '../http/idempotency-key.ts'
import type { Credential } from '../registration/deps.ts'
import { shellAssignments, shellQuote } from '../shell-quoting.ts'

/**
 * The request headers of `POST /register`. They are only for the documentation: `readIdempotencyKey` validates the key,
 * because an invalid key has an error code of its own.
 */
export const registerHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .optional()
    .describe(
      '16 to 255 visible ASCII characters, for example a UUID, bare or in double quotes. For a day, a retry with the ' +
        'same key returns the same credential, whatever failed in between. With an identity token it is required and must ' +
        'be a random UUID (version 4).',
    )
    .meta({ ...idempotencyKeyShape, examples: ['9c5b94b1-35ad-49bb-b118-8e8fc24abf80'] }),
  prefer: z
    .string()
    .optional()
    .describe(
      '`Prefer: wait=20` waits up to 20 seconds until the API accepts the key; `ready` says whether it did (RFC 7240). ' +
        'It needs `API_PROBE_PATH`; the check counts as one request. Without `API_PROBE_PATH` the preference is ignored.',
    )
    .meta({ examples: ['wait=20'] }),
})

/** The check of a text by {@link readVisibleText}, which also replaces the text by its normalized form. */
function visibleText(longest: number) {
  return (payload: z.core.ParsePayload<string>) => {
    const result = readVisibleText(payload.value, longest)
    if ('fault' in result)
      payload.issues.push({ code: 'custom', input: payload.value, message: result.fault })
    else payload.value = result.text
  }
}

/** The body of `POST /register`. */
export const registerBody = z.strictObject(
  {
    name: z
      .string({ error: ({ input }) => (input === undefined ? 'is required' : 'must be a string') })
      .min(1, 'must not be empty')
      .check(visibleText(128))
      .describe(`The name of the agent or partner that gets the key; it need not be unique. It ${TEXT_RULE}`)
      .meta({ maxLength: 128, examples: ['acme-agent'] }),
    description: z
      .string('must be a string')
      .check(visibleText(256))
      .optional()
      .describe(`The purpose of the key. It ${TEXT_RULE}`)
      .meta({ maxLength: 256 }),
    plan: z
      .string('must be a string')
      .max(50, 'must have at most 50 characters')
      .optional()
      .describe('A plan that the token allows. If omitted or empty, the default plan of the token'),
  },
  { error: 'a JSON object with "name" is required' },
)

export const registerExample: z.infer<typeof registerBody> = {
  name: 'acme-agent',
  description: 'nightly import',
  plan: 'gold',
}

export const timestamp = z.iso.datetime().describe('RFC 3339, UTC')

/** The field of every response with a new key that reports whether the API accepts it. */
export const ready = z
  .boolean()
  .optional()
  .describe(
    '`true` if the API accepts the key; `false`, only with `Prefer: wait`, if it does not accept it yet: try the key again ' +
      'later. Absent if the service did not wait for that, and the key was not made beforehand',
  )

/** The response to `POST /register`. Its two secrets are shown only there. */
export const credentialSchema = z
  .object({
    registration_id: z.string().describe('The id of the registration. A rotation does not change it'),
    api_key_id: z.string().describe('The id of the key in API Gateway'),
    api_key_value: z.string().describe('The API key, a secret. Send it in the header that `use` names'),
    name: z.string().describe('The name from the request'),
    description: z.string().describe('The description from the request; empty if there was none'),
    usage_plan_id: z.string().describe('The id of the usage plan in API Gateway'),
    plan: z
      .string()
      .describe('The name of the plan in this service; the id of the usage plan if it is none of its plans'),
    created_at: timestamp.describe('The time when the key was created: RFC 3339, UTC'),
    expires_at: timestamp.nullable().describe('The time when the key expires; `null` if it never expires'),
    ready,
    use: z
      .object({
        header: z.literal('x-api-key').describe('The header to send the key in'),
        base_url: z.string().describe('The base URL of the API'),
        curl: z
          .string()
          .describe(
            'A command that calls a method of the API with the key, or its base URL if the service knows no method',
          ),
      })
      .describe('Instructions to use the key'),
    management: z
      .object({
        token: z.string().describe('The management token of the registration, a secret'),
        url: z
          .string()
          .describe('The URL to manage the registration: GET and DELETE, and the paths below it'),
      })
      .describe('Instructions to view, rotate and revoke the key'),
  })
  .meta({ id: 'Credential' })

export type CredentialAnswer = z.infer<typeof credentialSchema>

export const credentialExample: CredentialAnswer = {
  registration_id: 'reg_4f1c09ab3e_pyJ4MCUwP1RpDiJX72D7',
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
  management: {
    token: 'fkm_…',
    url: 'https://keys.example.com/register/reg_4f1c09ab3e_pyJ4MCUwP1RpDiJX72D7',
  },
}

/** The same response as text. */
export const shellLinesSchema = z
  .string()
  .describe('Variables for a shell, one a line: `FIRSTKEY_API_KEY=…`, quoted for a POSIX shell')

export const shellLinesExample = toShellLines(credentialExample)

/** Returns the response to `POST /register`. */
export function toAnswer({ registration, apiKeyId, secrets, ready }: Credential): CredentialAnswer {
  const { apiKeyValue, managementToken, publicUrl, apiBaseUrl, apiProbeUrl } = secrets
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
      curl: `curl -H ${shellQuote(`x-api-key: ${apiKeyValue}`)} ${shellQuote(apiProbeUrl ?? apiBaseUrl)}`,
    },
    management: { token: managementToken, url: `${linksOf(publicUrl).register}/${id}` },
  }
}

/**
 * Returns the response for `Accept: text/plain`: safe to `eval` or to source, whatever the name contains. The prefix keeps
 * the variables apart from those of the shell and of other programs. `client/register.mjs` writes the same names.
 */
export function toShellLines({ use, management, ...answer }: CredentialAnswer): string {
  return shellAssignments({
    FIRSTKEY_REGISTRATION_ID: answer.registration_id,
    FIRSTKEY_API_KEY_ID: answer.api_key_id,
    FIRSTKEY_API_KEY: answer.api_key_value,
    FIRSTKEY_NAME: answer.name,
    FIRSTKEY_DESCRIPTION: answer.description,
    FIRSTKEY_USAGE_PLAN_ID: answer.usage_plan_id,
    FIRSTKEY_PLAN: answer.plan,
    FIRSTKEY_CREATED_AT: answer.created_at,
    ...(answer.expires_at === null ? {} : { FIRSTKEY_EXPIRES_AT: answer.expires_at }),
    ...(answer.ready === undefined ? {} : { FIRSTKEY_READY: String(answer.ready) }),
    FIRSTKEY_API_HEADER: use.header,
    FIRSTKEY_API_BASE_URL: use.base_url,
    FIRSTKEY_API_CURL: use.curl,
    FIRSTKEY_MANAGEMENT_TOKEN: management.token,
    FIRSTKEY_MANAGEMENT_URL: management.url,
  })
}

/** Formats milliseconds since the Unix epoch (RFC 3339, UTC). */
export function toTimestamp(ms: number): string {
  return new Date(ms).toISOString()
}
