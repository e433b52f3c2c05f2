import { html } from 'ghtml'
import type { linksOf } from '../discovery/links.ts'
import type { OfferedPlan } from '../registration/queries/plan-limits.ts'
import { page } from './layout.ts'
import { describeLimits } from './limits.ts'

export interface HomeContent {
  readonly basePath: string
  readonly links: ReturnType<typeof linksOf>
  /** The URL of the API that the keys give access to. */
  readonly apiBaseUrl: string
  readonly plans: readonly Pick<OfferedPlan, 'name' | 'limits'>[]
}

/** Renders the home page: the registration form (`assets/register.js`) and the commands that do the same. */
export function homePage({ basePath, links, apiBaseUrl, plans }: HomeContent): string {
  return page({
    title: `Get an API key for ${new URL(apiBaseUrl).host}`,
    basePath,
    script: 'register.js',
    main: html`
<h1>Get an API key</h1>
<p class="lead" id="lead">Enter the <strong>bootstrap token</strong> that you received from the operator of the API.
You get your own key for <code>${apiBaseUrl}</code>. The key usually works within seconds.</p>
<section id="problem" class="problem" aria-labelledby="problem-title" tabindex="-1" hidden></section>
!${registerForm(basePath, plans)}
!${keyPanel()}
<p id="copied" class="hidden" role="status"></p>
<section id="terminal" aria-labelledby="terminal-title">
<h2 id="terminal-title">From a terminal</h2>
<p>Set the token as an environment variable: <code>export FIRSTKEY_TOKEN=fkb_…</code>. Then run:</p>
!${copyable('curl-recipe', 'the curl commands', curlRecipe(links.register))}
<p>If the response is lost, run only the <code>curl</code> command again within a day. The same
<code>Idempotency-Key</code> returns the same key, not a second one.</p>
<p>With Node.js 20 or newer, use this script instead. It retries for you and writes the key to a file that only you can
read:</p>
!${copyable('script-recipe', 'the commands that run the script', scriptRecipe(links.script))}
</section>
<section aria-labelledby="programs-title">
<h2 id="programs-title">For programs and agents</h2>
<ul>
<li><a href="${basePath}/docs">API reference</a>, also available as <a href="${links.openapi}">OpenAPI</a></li>
<li><a href="${links.llms}">llms.txt</a>: everything on one page, for language models</li>
<li><a href="${links.onboarding}">Onboarding descriptor</a> (AOD 0.1), for automated onboarding</li>
<li>OAuth dynamic client registration (RFC 7591): <code>${links.connect}</code></li>
</ul>
</section>
`,
  })
}

function registerForm(basePath: string, plans: HomeContent['plans']): string {
  return html`<form id="register" method="post" data-register="${basePath}/register" novalidate autocomplete="off">
<div class="field">
<label for="token">Bootstrap token</label>
<p class="hint" id="token-hint">It starts with <code>fkb_</code>. It is sent only to this service and is not stored in your
browser.</p>
<div class="row">
<input id="token" name="token" type="password" required spellcheck="false" autocapitalize="none" autocomplete="off" aria-describedby="token-hint token-fault">
<button type="button" id="show-token" class="quiet" aria-controls="token">Show<span class="hidden"> the token</span></button>
</div>
<p class="fault" id="token-fault"></p>
</div>
<div class="field">
<label for="name">Name</label>
<p class="hint" id="name-hint">The person or program that uses the key, for example <code>acme-agent</code>. Names do not have
to be unique.</p>
<input id="name" name="name" required autocomplete="off" aria-describedby="name-hint name-fault">
<p class="fault" id="name-fault"></p>
</div>
!${planField(plans)}
<button id="submit" type="submit" disabled>Get my key</button>
<p id="progress" class="progress" role="status"></p>
<p id="needs-script" class="note">The form needs JavaScript, which is turned off or did not load. Use the
<a href="#terminal">commands below</a> instead.</p>
</form>`
}

function planField(plans: HomeContent['plans']): string {
  const [only, ...others] = plans
  if (only !== undefined && others.length === 0)
    return html`<p class="only-plan"><strong>Your plan:</strong> ${describeLimits(only.limits)}</p>`
  return html`<fieldset class="field" aria-describedby="plan-hint plan-fault">
<legend>Plan</legend>
<p class="hint" id="plan-hint">The plan limits how many requests you can send with the key. Your token might not allow every
plan.</p>
<label class="choice"><input type="radio" id="plan" name="plan" value="" checked> <span><strong>Your token's default plan</strong>
<span class="hint">Choose this if you are not sure.</span></span></label>
!${plans.map(
    ({ name, limits }) =>
      html`<label class="choice"><input type="radio" name="plan" value="${name}"> <span><strong>${name}</strong>
<span class="hint">${describeLimits(limits)}</span></span></label>`,
  )}
<p class="fault" id="plan-fault"></p>
</fieldset>`
}

/** Renders the hidden panel for the key. The script fills it in and shows it after a registration. */
function keyPanel(): string {
  return html`<section id="key" class="key" aria-labelledby="key-title" hidden>
<h2 id="key-title" tabindex="-1">Your API key</h2>
<p class="warning"><strong>Your API key and management token are shown only once.</strong> Copy both before you leave this
page.</p>
!${secret('api-key', 'API key', 'Send it in the x-api-key header of every request to the API.')}
<p id="ready" role="status"></p>
!${secret('management-token', 'management token', 'Lets you check, replace (rotate) or revoke the key: see the API reference.')}
<h3>Try the key</h3>
!${copyable('use', 'the command that tries the key', '')}
<h3>Details</h3>
<dl id="details"></dl>
<button type="button" id="another" class="quiet">Get another key</button>
</section>`
}

/** @param label in lower case, as in the middle of a sentence */
function secret(id: string, label: string, hint: string): string {
  return html`<div class="field">
<label for="${id}">${label.charAt(0).toUpperCase()}${label.slice(1)}</label>
<p class="hint" id="${id}-hint">${hint}</p>
<div class="row">
<textarea id="${id}" class="secret" rows="2" readonly spellcheck="false" autocomplete="off" aria-describedby="${id}-hint"></textarea>
<button type="button" data-copy="${id}">Copy<span class="hidden"> the ${label}</span></button>
</div>
</div>`
}

function copyable(id: string, what: string, text: string): string {
  return html`<div class="recipe">
<pre id="${id}"><code>${text}</code></pre>
<button type="button" class="quiet" data-copy="${id}">Copy<span class="hidden"> ${what}</span></button>
</div>`
}

function curlRecipe(register: string): string {
  return `KEY=$(uuidgen 2>/dev/null || cat /proc/sys/kernel/random/uuid)
curl ${register} \\
  -H "Authorization: Bearer $FIRSTKEY_TOKEN" \\
  -H "Idempotency-Key: $KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"name":"acme-agent"}'`
}

function scriptRecipe(script: string): string {
  return `curl -O ${script}
node register.mjs --name acme-agent --out firstkey.env`
}
