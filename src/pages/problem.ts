import { html } from 'ghtml'
import { page } from './layout.ts'

export interface ProblemPageContent {
  readonly code: string
  readonly status: number
  readonly title: string
  readonly retryable: boolean
  readonly next_step: string
  readonly basePath: string
}

/** Renders the page that the `type` of a problem document (RFC 9457) links to. */
export function problemPage({
  code,
  status,
  title,
  retryable,
  next_step,
  basePath,
}: ProblemPageContent): string {
  const again = retryable
    ? 'Yes. Wait for the number of seconds in the Retry-After header, then send the same request again, unchanged.'
    : 'No. The same request is rejected again until the cause is removed.'
  return page({
    title: `${title} (${code})`,
    basePath,
    main: html`
<h1>${title}</h1>
<p>Code <code>${code}</code>, HTTP status ${status}.</p>
<h2>Can I retry?</h2>
<p>${again}</p>
<h2>What to do</h2>
<p>${next_step}</p>
`,
  })
}
