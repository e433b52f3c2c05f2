import { type ErrorCode, errorCatalogue } from '../errors.ts'
import { linksOf } from './links.ts'

/** What a reader of the API reference wants to see first, in Markdown: the `description` of the OpenAPI document. */
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
  return `\`POST /register\` turns a bootstrap token into an API key of your own, attached to a usage plan and working
seconds later. With the management token of the answer you look at the key, rotate it and give it back.

## Authentication

\`Authorization: Bearer …\`: to register with the bootstrap token (\`fkb_…\`) that the operator gave you, to manage a
registration with its management token (\`fkm_…\`). Everything under Discovery and Health is open. The key and the
management token are shown once: keep them at once.

## Idempotency

Send an \`Idempotency-Key\` (a new UUID) with every \`POST\`. For a day the same request with the same key gets the same
credential, to the byte, with \`Idempotency-Replayed: true\`: after a time-out, a lost answer, a crash of the service.
A refused or failed registration costs no use of the token.

## Errors

Every error is a problem document (RFC 9457; below \`/connect\` an error as OAuth has it) with a stable \`code\`. Decide
on it; \`type\` (\`error_uri\`) is a page that says what to do. Codes marked ↻ are \`retryable\`: wait the seconds in
\`Retry-After\`, then send the same request again, unchanged.

| status | codes |
| --- | --- |
${rows.join('\n')}

Two belong to no operation: 404 \`not_found\` on a path that does not exist, and 405 \`method_not_allowed\` on one that
does, for other methods, which \`Allow\` names.

## Rate limits

Requests are counted by address, by bootstrap token and by registration. \`RateLimit-Policy\` and \`RateLimit\` say where
you stand; over the limit the answer is 429 with \`Retry-After\`.

More: [the guide](${links.llms}), [the onboarding descriptor](${links.onboarding}), [the API catalog](${links.catalog}).
`
}
