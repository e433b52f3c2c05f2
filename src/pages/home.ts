import { html } from 'ghtml'
import type { linksOf } from '../discovery/links.ts'
import type { OfferedPlan } from '../registration/plan-limits.ts'
import { page } from './layout.ts'
import { describeLimits } from './limits.ts'

export interface HomeContent {
  readonly basePath: string
  readonly links: ReturnType<typeof linksOf>
  /** The API that the keys open. */
  readonly apiBaseUrl: string
  readonly plans: readonly Pick<OfferedPlan, 'name' | 'limits'>[]
}

/** The page for people: what this is, a form that registers (`assets/register.js`), and the way without it. */
export function homePage({ basePath, links, apiBaseUrl, plans }: HomeContent): string {
  return page({
    title: `Get an API key for ${new URL(apiBaseUrl).host}`,
    basePath,
    script: 'register.js',
    main: html`
<h1>Get an API key</h1>
<p class="lead" id="lead">One step gives you a key of your own for <code>${apiBaseUrl}</code>, working within seconds.
You need a <strong>bootstrap token</strong> (it starts with <code>fkb_</code>) from the operator of that API.</p>
<section id="problem" class="problem" aria-labelledby="problem-title" tabindex="-1" hidden></section>
!${registerForm(basePath, plans)}
!${keyPanel()}
<p id="copied" class="hidden" role="status"></p>
<section id="terminal" aria-labelledby="terminal-title">
<h2 id="terminal-title">From a terminal</h2>
<p>Put the token into the environment, <code>export FIRSTKEY_TOKEN=fkb_…</code>, then:</p>
!${copyable('curl-recipe', 'the curl commands', curlRecipe(links.register))}
<p>If an answer is lost, run the second command again: with the same <code>Idempotency-Key</code> you get the same key.</p>
<p>With Node.js 20 or newer, this script does that by itself, and writes the key to a file that only you can read:</p>
!${copyable('script-recipe', 'the commands with the script', scriptRecipe(links.script))}
</section>
<section aria-labelledby="programs-title">
<h2 id="programs-title">For programs and agents</h2>
<ul>
<li><a href="${basePath}/docs">API reference</a>, and the same as <a href="${links.openapi}">OpenAPI</a></li>
<li><a href="${links.llms}">llms.txt</a>: everything on one page, for a language model</li>
<li><a href="${links.onboarding}">Onboarding descriptor</a> (AOD 0.1), for a generic engine</li>
<li>OAuth clients register dynamically (RFC 7591) at <code>${links.connect}</code></li>
</ul>
</section>
`,
  })
}

function registerForm(basePath: string, plans: HomeContent['plans']): string {
  return html`<form id="register" method="post" data-register="${basePath}/register" novalidate autocomplete="off">
<div class="field">
<label for="token">Bootstrap token</label>
<p class="hint" id="token-hint">From the operator. It is sent to this service alone, and is not stored in the browser.</p>
<div class="row">
<input id="token" name="token" type="password" required spellcheck="false" autocapitalize="none" autocomplete="off" aria-describedby="token-hint token-fault">
<button type="button" id="show-token" class="quiet" aria-controls="token">Show<span class="hidden"> the token</span></button>
</div>
<p class="fault" id="token-fault"></p>
</div>
<div class="field">
<label for="name">Name</label>
<p class="hint" id="name-hint">Who or what will use the key, such as <code>acme-agent</code>. It need not be unique.</p>
<input id="name" name="name" required maxlength="128" autocomplete="off" aria-describedby="name-hint name-fault">
<p class="fault" id="name-fault"></p>
</div>
!${planField(plans)}
<button id="submit" type="submit" disabled>Get my key</button>
<p id="progress" class="progress" role="status"></p>
<p id="needs-script" class="note">The form needs JavaScript, which is off or did not load. <a href="#terminal">The command
below</a> does the same without it.</p>
</form>`
}

function planField(plans: HomeContent['plans']): string {
  const [only, ...others] = plans
  if (only !== undefined && others.length === 0)
    return html`<p class="only-plan"><strong>What the key allows:</strong> ${describeLimits(only.limits)}</p>`
  return html`<fieldset class="field" aria-describedby="plan-fault">
<legend>Plan</legend>
<label class="choice"><input type="radio" id="plan" name="plan" value="" checked> <span><strong>Let the token decide</strong>
<span class="hint">The first plan that it allows.</span></span></label>
!${plans.map(
    ({ name, limits }) =>
      html`<label class="choice"><input type="radio" name="plan" value="${name}"> <span><strong>${name}</strong>
<span class="hint">${describeLimits(limits)}</span></span></label>`,
  )}
<p class="fault" id="plan-fault"></p>
</fieldset>`
}

/** Where the key is shown, once. */
function keyPanel(): string {
  return html`<section id="key" class="key" aria-labelledby="key-title" hidden>
<h2 id="key-title" tabindex="-1">Your API key</h2>
<p class="warning"><strong>It is shown only now.</strong> Copy the key, and the management token if you want to rotate the key
or give it back yourself, before you leave this page.</p>
!${secret('api-key', 'API key', 'Send it in the header x-api-key.')}
<p id="ready" role="status"></p>
!${secret('management-token', 'management token', 'Looks the key up, rotates it or gives it back.')}
<h3>Try it</h3>
!${copyable('use', 'the command that tries it', '')}
<h3>Details</h3>
<dl id="details"></dl>
<button type="button" id="another" class="quiet">Get another key</button>
</section>`
}

/** @param label as it stands in a sentence */
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
node register.mjs --name acme-agent --out .env`
}
