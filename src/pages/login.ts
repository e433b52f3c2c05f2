import { html } from 'ghtml'
import { copyable } from './form.ts'
import { page } from './layout.ts'
import { asOnPage } from './problem.ts'

/** A person who logged in, as the provider describes them. */
export interface Person {
  /** A name or a login name; the subject if there is neither. */
  readonly name: string
  readonly email: string | undefined
  /** The provider's name. */
  readonly provider: string
}

/** Who asks for the key: in the middle of a sentence, and where to. */
export type Asking =
  | { readonly kind: 'program'; readonly host: string; readonly port: number }
  | { readonly kind: 'form' }
  | { readonly kind: 'code' }

export interface ConfirmationContent {
  readonly basePath: string
  readonly person: Person
  readonly asking: Asking
  /** The URL of the API that the key gives access to. */
  readonly apiBaseUrl: string
  /** The plans that the key can have, the default first. */
  readonly plans: readonly string[]
  /** The lifetime of the key (ms); `null`: unlimited. */
  readonly keyTtlMs: number | null
  /** What the form sends back. */
  readonly field: string
}

/** Renders the question after a login, whether the program that asked for it gets a key. */
export function confirmationPage({
  basePath,
  person,
  asking,
  apiBaseUrl,
  plans,
  keyTtlMs,
  field,
}: ConfirmationContent): string {
  const [plan = '', ...others] = plans
  return page({
    title: 'Confirm the login',
    basePath,
    main: html`
<h1>Get an API key with this login?</h1>
<p class="lead">You are logged in at ${person.provider} as <strong>${person.name}</strong>${
      person.email === undefined || person.email === person.name ? '' : html` (${person.email})`
    }.</p>
<dl class="details">
<dt>Asked by</dt><dd>!${describeAsking(asking)}</dd>
<dt>Gets</dt><dd>one API key for <code>${apiBaseUrl}</code>, in your name</dd>
<dt>Plan</dt><dd>${plan}${others.length === 0 ? '' : ` (or ${others.join(', ')}, if that is asked for)`}</dd>
<dt>The key works for</dt><dd>${keyTtlMs === null ? 'as long as it is not deleted' : inWords(keyTtlMs)}</dd>
</dl>
<p class="warning"><strong>Allow this only if you started it yourself, a moment ago.</strong> If somebody sent you a link to
this page, press Cancel.</p>
<form method="post" action="${basePath}/connect/confirm">
<input type="hidden" name="login" value="${field}">
<div class="row">
<button name="decision" value="allow">Allow</button>
<button name="decision" value="cancel" class="quiet">Cancel</button>
</div>
</form>
`,
  })
}

function describeAsking(asking: Asking): string {
  if (asking.kind === 'program')
    return html`a program on this computer (<code>${asking.host}</code>, port ${asking.port})`
  return asking.kind === 'form'
    ? 'the form of this service, in this browser'
    : 'a program that waits for the code that the next page shows'
}

/** Returns a duration in the largest unit that fits. */
function inWords(ms: number): string {
  const units = [
    ['day', 86_400_000],
    ['hour', 3_600_000],
    ['minute', 60_000],
    ['second', 1_000],
  ] as const
  // 24 hours say more than 1 day does.
  const [unit, length] = units.find(([, length]) => ms % length === 0 && ms >= 2 * length) ?? [
    'second',
    1_000,
  ]
  const count = Math.round(ms / length)
  return `${count} ${unit}${count === 1 ? '' : 's'}`
}

export interface RefusedContent {
  readonly basePath: string
  readonly title: string
  readonly detail: string
  readonly nextStep: string
  readonly code: string
  readonly requestId: string
  /** Takes the refusal back to the program that asked. */
  readonly returnUrl: string
  /** Starts again with another account of the provider. */
  readonly againUrl: string
}

/** Renders the end of a login that gives no key: why, and the ways from here. */
export function refusedLoginPage(content: RefusedContent): string {
  const { basePath, title, detail, nextStep, code, requestId, returnUrl, againUrl } = content
  return page({
    title,
    basePath,
    main: html`
<h1>${title}</h1>
<p class="lead">${detail}</p>
<h2>What to do</h2>
<p>${asOnPage(nextStep)}</p>
<ul>
<li><a href="${againUrl}">Log in with another account</a></li>
<li><a href="${returnUrl}">Go back without a key</a></li>
</ul>
<h2>Details</h2>
<dl class="details">
<dt>Code</dt><dd><a href="${basePath}/problems/${code}"><code>${code}</code></a></dd>
<dt>Request id</dt><dd><code>${requestId}</code></dd>
</dl>
`,
  })
}

/** Renders the choice among several providers. @param choices the label of each, and the URL at which the login goes on */
export function chooseProviderPage({
  basePath,
  choices,
}: {
  basePath: string
  choices: readonly { label: string; url: string }[]
}): string {
  return page({
    title: 'Choose where to log in',
    basePath,
    main: html`
<h1>Where do you log in?</h1>
<p class="lead">A program asks for an API key in your name. Choose the account that you want to use for it.</p>
<ul>
!${choices.map(({ label, url }) => html`<li><a href="${url}">Sign in with ${label}</a></li>`)}
</ul>
`,
  })
}

/** Renders the code of a login, for a program that cannot be redirected to. @param seconds its lifetime */
export function codePage({
  basePath,
  code,
  seconds,
}: {
  basePath: string
  code: string
  seconds: number
}): string {
  return page({
    title: 'Your code',
    basePath,
    script: 'code.js',
    main: html`
<h1>Your code</h1>
<p class="lead">Paste this code into the program that asked for it, within ${seconds} seconds. It works once.</p>
!${copyable('code', 'the code', code)}
<p id="copied" class="hidden" role="status"></p>
<p class="warning"><strong>Give it only to a program that you started yourself.</strong> The code stands for your login: do not
send it to anyone or enter it on a web page.</p>
`,
  })
}

/** Renders the page on which a login without a code ends. */
export function noCodePage({ basePath, reason }: { basePath: string; reason: string }): string {
  return page({
    title: 'There is no code',
    basePath,
    main: html`
<h1>There is no code</h1>
<p class="lead">${reason}</p>
<p>Go back to the program that sent you here. You can close this page.</p>
`,
  })
}
