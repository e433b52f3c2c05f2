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

/** The page behind the `type` of a problem document. */
export function problemPage({
  code,
  status,
  title,
  retryable,
  next_step,
  basePath,
}: ProblemPageContent): string {
  const again = retryable
    ? 'Yes: the same request, unchanged, after the seconds in Retry-After.'
    : 'No: the same request would be refused again.'
  return page({
    title: `${title} (${code})`,
    basePath,
    main: html`
<h1>${title}</h1>
<p>Code <code>${code}</code>, HTTP status ${status}.</p>
<h2>Try again?</h2>
<p>${again}</p>
<h2>What to do</h2>
<p>${next_step}</p>
`,
  })
}
