import type { Config } from '../config.ts'
import { type ErrorCode, errorCatalogue } from '../errors.ts'
import { linksOf } from './links.ts'

/** `/llms.txt` (llmstxt.org): what this is, the request, the answer, and what to do about each error. */
export function llmsText(
  {
    publicUrl,
    apiBaseUrl,
    apiProbeUrl,
    plans,
  }: Pick<Config, 'publicUrl' | 'apiBaseUrl' | 'apiProbeUrl' | 'plans'>,
  statusOf: Readonly<Record<ErrorCode, number>>,
): string {
  const links = linksOf(publicUrl)
  const errors = Object.entries(errorCatalogue).map(
    ([code, { retryable, nextStep }]) =>
      `| ${code} | ${statusOf[code as ErrorCode]} | ${retryable ? 'yes' : 'no'} | ${nextStep} |`,
  )
  const untilItWorks =
    apiProbeUrl === null
      ? 'try again'
      : 'register with `Prefer: wait=20` to be answered when it does (`ready` says so, where the service can tell), or try again'
  return `# firstkey

> One request turns a bootstrap token into an API key of your own for ${apiBaseUrl}, attached to a usage plan and working
> seconds later.

## Register

    POST ${links.register}
    Authorization: Bearer fkb_…          the bootstrap token, from the operator
    Content-Type: application/json
    Idempotency-Key: <a new UUID>        recommended: the same request with the same key gets the same answer for a day

    {"name": "acme-agent", "description": "optional", "plan": "optional: ${plans.map(({ name }) => name).join(' or ')}"}

The answer is 201 with \`registration_id\`, \`api_key_id\`, \`api_key_value\`, \`usage_plan_id\`, \`plan\`, \`created_at\`, \`expires_at\`,
\`use\` (the header to send, the base URL, a curl command) and \`management\` (a token and a URL). The key and the
management token are shown only there: keep them at once. \`Accept: text/plain\` answers the same as name=value lines.

Use the key: \`x-api-key: <api_key_value>\` with every request to ${apiBaseUrl}. A new key takes seconds, sometimes minutes,
until API Gateway takes it (403 until then): ${untilItWorks}.

With Node.js 20 or newer a script does all of it, retries included:

    curl -O ${links.script}
    FIRSTKEY_TOKEN=fkb_… node register.mjs --name acme-agent

## Manage

With \`Authorization: Bearer fkm_…\`, the management token: \`GET ${links.register}/<registration_id>\` tells how the
registration stands, \`GET …/usage\` what was used, \`POST …/rotate\` makes a new key, \`DELETE\` gives the key back.

An OAuth client may register at ${links.connect} instead (RFC 7591): \`client_name\` in, \`client_id\` and
\`client_secret\` (the key) out; errors there are as RFC 7591 has them, with the same \`code\`.

## Errors

Every other error is application/problem+json (RFC 9457). Decide on \`code\`; where \`retryable\` is true, wait for \`Retry-After\`
seconds and send the same request again.

| code | status | retryable | what to do |
| --- | --- | --- | --- |
${errors.join('\n')}

## More

- [OpenAPI](${links.openapi}): every path, field and error
- [API Onboarding Descriptor](${links.onboarding}): the same for a generic engine
- [API catalog](${links.catalog})
`
}
