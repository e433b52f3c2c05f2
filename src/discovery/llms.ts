import type { Config } from '../config.ts'
import { type ErrorCode, errorCatalogue } from '../error-catalogue.ts'
import type { Identities } from './identities.ts'
import { linksOf } from './links.ts'

/** Where a program gets an identity token, by the kind of its issuer. `AUDIENCE` stands for the audience. */
const SOURCES: Readonly<Record<string, string>> = {
  github:
    'GitHub Actions: in a job with `permissions: id-token: write`, from `$ACTIONS_ID_TOKEN_REQUEST_URL`',
  gitlab: 'GitLab CI/CD: `id_tokens:` with `aud: AUDIENCE`',
  kubernetes: 'Kubernetes: a projected `serviceAccountToken` volume with `audience: AUDIENCE`',
  aws: 'AWS: `sts:GetWebIdentityToken` with `"Audience": ["AUDIENCE"]`',
  gcp: "Google Cloud: the metadata server's `identity?audience=AUDIENCE&format=full`",
  entra: 'Microsoft Entra ID: a token of an application or managed identity for AUDIENCE',
  oidc: 'OpenID Connect: an issuer that the operator named to you',
}

/**
 * Returns `/llms.txt` (llmstxt.org): an introduction, the request, the response, and the next step for every error.
 * @param identities `null`: only bootstrap tokens are accepted
 */
export function llmsText(
  {
    publicUrl,
    apiBaseUrl,
    apiProbeUrl,
    plans,
  }: Pick<Config, 'publicUrl' | 'apiBaseUrl' | 'apiProbeUrl' | 'plans'>,
  statusOf: Readonly<Record<ErrorCode, number>>,
  identities: Identities | null,
): string {
  const links = linksOf(publicUrl)
  const errors = Object.entries(errorCatalogue).map(
    ([code, { retryable, nextStep }]) =>
      `| ${code} | ${statusOf[code as ErrorCode]} | ${retryable ? 'yes' : 'no'} | ${nextStep} |`,
  )
  const untilItWorks =
    apiProbeUrl === null
      ? 'retry the call'
      : 'register with `Prefer: wait=20`, which waits up to 20 seconds until the API accepts the key (`ready` says whether it did, if the service can tell), or retry the call'
  return `# firstkey

> One request turns a bootstrap token into an API key for ${apiBaseUrl}. The key is attached to a usage plan and works
> seconds later.

## Register

    POST ${links.register}
    Authorization: Bearer fkb_…          the bootstrap token, from the operator
    Content-Type: application/json
    Idempotency-Key: <a new UUID>        recommended: for a day, a retry with the same key gets the same credential

    {"name": "acme-agent", "description": "optional", "plan": "optional: ${plans.map(({ name }) => name).join(' or ')}"}

The response is 201 with \`registration_id\`, \`api_key_id\`, \`api_key_value\`, \`usage_plan_id\`, \`plan\`, \`created_at\`, \`expires_at\`,
\`use\` (the header to send, the base URL, a curl command) and \`management\` (a token and a URL). The key and the
management token are shown only there: store them at once. With \`Accept: text/plain\` the response is variables for a
shell: \`FIRSTKEY_API_KEY=…\`.

To use the key, send \`x-api-key: <api_key_value>\` with every request to ${apiBaseUrl}. API Gateway rejects a new key with
403 for some seconds, sometimes minutes, unless the response says \`"ready": true\`: ${untilItWorks}.

With Node.js 20 or newer, a script does all of this, including retries:

    curl -O ${links.script}
    FIRSTKEY_TOKEN=fkb_… node register.mjs --name acme-agent

${identities === null ? '' : withoutToken(publicUrl, identities)}## Manage

Send \`Authorization: Bearer fkm_…\` with the management token: \`GET ${links.register}/<registration_id>\` returns the
status of the registration, \`GET …/usage\` its usage, \`POST …/rotate\` mints a new key, and \`DELETE\` revokes the key.

An OAuth client can register at ${links.connect} instead (RFC 7591): it sends \`client_name\` and gets
\`client_id\` and \`client_secret\` (the key). Errors there have the format of RFC 7591, with the same \`code\`.

## Errors

Every other error is application/problem+json (RFC 9457). Base decisions on \`code\`. If \`retryable\` is true, wait
\`Retry-After\` seconds and send the same request again.

| code | status | retryable | next step |
| --- | --- | --- | --- |
${errors.join('\n')}

## More

- [OpenAPI](${links.openapi}): every path, field and error
- [API Onboarding Descriptor](${links.onboarding}): the registration for a generic engine
- [API catalog](${links.catalog})
`
}

/** Returns the section about identity tokens and the login. */
function withoutToken(publicUrl: string, { audience, kinds, hasLogin }: Identities): string {
  const links = linksOf(publicUrl)
  const program =
    kinds.length === 0
      ? ''
      : `A program that has an identity of its own sends an identity token (a JWT) in place of the bootstrap token, if the operator
allows the identity. Request it for exactly the audience \`${audience}\`, and send an Idempotency-Key that is a UUID of version
4: a retry with the same key may have a fresh token. It comes from one of these issuers:

${kinds.map((kind) => `- ${(SOURCES[kind] ?? kind).replaceAll('AUDIENCE', () => audience)}`).join('\n')}

`
  const person = hasLogin
    ? `A person logs in with the browser; the key belongs to their account:

    curl -O ${links.script}
    node register.mjs --name acme-agent --login

`
    : ''
  return `## Register without a bootstrap token

${program}${person}Without FIRSTKEY_TOKEN, \`register.mjs\` finds the identity of a GitHub Actions job, or of a pod with a projected token, by itself.
OAuth clients exchange an identity token${hasLogin ? ' or a login' : ''} at ${links.token} for a bootstrap token that is good for one
registration: see the [metadata](${links.authorizationServer}), RFC 8414.${hasLogin ? ' The client id is `firstkey`.' : ''}

`
}
