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

export interface ErrorPageContent {
  /** The problem document of the error. */
  readonly problem: {
    readonly title: string
    readonly status: number
    readonly detail: string
    readonly instance: string
    readonly code: string
    readonly retryable: boolean
    readonly retry_after?: number | undefined
    readonly next_step: string
  }
  readonly basePath: string
}

/** Renders an error as a page, for people who opened a URL of the service in a browser. */
export function errorPage({ problem, basePath }: ErrorPageContent): string {
  const { title, status, detail, instance, code, retryable, retry_after = 0, next_step } = problem
  const wait = retry_after <= 1 ? 'a second' : `${retry_after} seconds`
  return page({
    title: `${title} (${status})`,
    basePath,
    main: html`
<h1>${title}</h1>
<p class="lead">${detail}</p>
<h2>What to do</h2>
!${
      retryable
        ? html`<p>Wait ${wait}, then load this page again. If it keeps failing, give the operator the request id below.</p>`
        : html`<p>${asOnPage(next_step)}</p>`
    }
<ul>
<li><a href="${basePath}/">Get an API key</a> in your browser</li>
<li><a href="${basePath}/docs">API reference</a>: every path, method and error</li>
</ul>
<h2>Details</h2>
<dl class="details">
<dt>HTTP status</dt><dd>${status}</dd>
<dt>Code</dt><dd><a href="${basePath}/problems/${code}"><code>${code}</code></a></dd>
<dt>Request id</dt><dd><code>${instance}</code></dd>
</dl>
`,
  })
}

/** Returns a next step that names members of the problem document with the words that fit the page. */
export function asOnPage(nextStep: string): string {
  return nextStep
    .replaceAll('"detail"', 'the text above')
    .replaceAll('in "instance"', 'below')
    .replace(' "errors", if present, lists the invalid fields.', '')
}
