import { type ErrorCode, errorCatalogue } from '../error-catalogue.ts'
import { linksOf } from './links.ts'

/** Returns the introduction of the API reference in Markdown: the `description` of the OpenAPI document. */
export function referenceText(publicUrl: string, statusOf: Readonly<Record<ErrorCode, number>>): string {
  const links = linksOf(publicUrl)
  const codes = Object.keys(errorCatalogue) as ErrorCode[]
  const byStatus = [...Map.groupBy(codes, (code) => statusOf[code])].sort(([a], [b]) => a - b)
  const rows = byStatus.map(([status, group]) => {
    const cells = group.map(
      (code) => `[\`${code}\`](${links.problem(code)})${errorCatalogue[code].retryable ? ' ↻' : ''}`,
    )
    return `| ${status} | ${cells.join(', ')} |`
  })
  return `\`POST /register\` turns a bootstrap token, or the identity of a workload, into an API key. The key is attached to a
usage plan and works seconds later. With the management token from the response you view, rotate and revoke the key.

## Authentication

Send \`Authorization: Bearer …\`: with the bootstrap token (\`fkb_…\`) from the operator to register, or with the management
token (\`fkm_…\`) of a registration to manage it. Where the operator trusts their issuers, identity tokens (JWTs) register too,
and people log in: [the guide](${links.llms}) names the kinds of issuers and the audience. The operations under Discovery and
Health need no credentials. The key and the management token are shown only once: store them at once.

## Idempotency

Send an \`Idempotency-Key\` (a new UUID) with every \`POST\`. For a day, a retry of the request with the same key returns the
same credential with \`Idempotency-Replayed: true\`. This recovers a lost response, for example after a time-out or a
crash of the service. A rejected or failed registration costs no use of the token. With an identity token the header is
required, and its value is a UUID of version 4.

## Errors

Every error is a problem document (RFC 9457), or an OAuth error for OAuth clients, with a stable \`code\`. Base decisions on
the code; \`type\` (\`error_uri\` in OAuth errors) is the URL of a page that explains it. Codes marked ↻ are \`retryable\`:
wait the number of seconds in \`Retry-After\`, then send the same request again, unchanged.

| status | codes |
| --- | --- |
${rows.join('\n')}

Two errors belong to no operation: 404 \`not_found\` for a path that does not exist, and 405 \`method_not_allowed\` for a
method that the path does not support. \`Allow\` lists the supported methods.

## Rate limits

Requests are counted per address, per bootstrap token and per registration. \`RateLimit-Policy\` and \`RateLimit\` report your
limits and what is left of them. Over a limit, the response is 429 with \`Retry-After\`.

More: [the guide](${links.llms}), [the onboarding descriptor](${links.onboarding}), [the API catalog](${links.catalog}).
`
}
