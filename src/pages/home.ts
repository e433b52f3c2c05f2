import { html } from 'ghtml'
import type { linksOf } from '../discovery/links.ts'
import type { OfferedPlan } from '../registration/queries/plan-limits.ts'
import { copyable, formFoot, keyPanel, tokenField } from './form.ts'
import { page } from './layout.ts'
import { describeLimits } from './limits.ts'

export interface HomeContent {
  readonly basePath: string
  readonly links: ReturnType<typeof linksOf>
  /** The URL of the API that the keys give access to. */
  readonly apiBaseUrl: string
  readonly plans: readonly Pick<OfferedPlan, 'name' | 'limits'>[]
  /** The providers at which people log in: their names in the trust file, and those that people know. */
  readonly logins: readonly { readonly name: string; readonly label: string }[]
}

/** Renders the home page: the registration form (`assets/register.js`) and the commands that do the same. */
export function homePage({ basePath, links, apiBaseUrl, plans, logins }: HomeContent): string {
  return page({
    title: `Get an API key for ${new URL(apiBaseUrl).host}`,
    basePath,
    script: 'register.js',
    main: html`
<h1>Get an API key</h1>
<p class="lead" id="lead">!${
      logins.length === 0 ? 'Enter' : 'Sign in, or enter'
    } the <strong>bootstrap token</strong> that you received from the operator of the API.
You get your own key for <code>${apiBaseUrl}</code>. The key usually works within seconds.</p>
<section id="problem" class="problem" aria-labelledby="problem-title" tabindex="-1" hidden></section>
!${registerForm(basePath, plans, signInPart(basePath, links, logins))}
!${keyPanel({ withManagement: true })}
<section id="terminal" aria-labelledby="terminal-title">
<h2 id="terminal-title">From a terminal</h2>
<p>Set the token as an environment variable: <code>export FIRSTKEY_TOKEN=fkb_…</code>. Then run:</p>
!${copyable('curl-recipe', 'the curl commands', curlRecipe(links.register))}
<p>If the response is lost, run only the <code>curl</code> command again within a day. The same
<code>Idempotency-Key</code> returns the same key, not a second one.</p>
<p>With Node.js 20 or newer, use this script instead. It retries for you and writes the key to a file that only you can
read:</p>
!${copyable('script-recipe', 'the commands that run the script', scriptRecipe(links.script))}
!${
      logins.length === 0
        ? ''
        : html`<p>To log in instead of setting a token, add <code>--login</code> to the second command.</p>`
    }
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

/** Renders the login (`assets/sign-in.js`), which is hidden until the script runs. */
function signInPart(
  basePath: string,
  { home, authorize }: HomeContent['links'],
  logins: HomeContent['logins'],
): string {
  if (logins.length === 0) return ''
  return html`<div id="sign-in" class="field" data-authorize="${authorize}" data-token="${basePath}/connect/token" data-redirect="${home}" data-home="${home.replace(/\/$/, '')}" hidden>
<div class="row">
!${logins.map(
    ({ name, label }) =>
      html`<button type="button" data-issuer="${name}" data-label="${label}">Sign in with ${label}</button>`,
  )}
</div>
<p class="hint" id="sign-in-needs-https" hidden>To sign in, open this page with https.</p>
<p id="sign-in-progress" class="progress" role="status"></p>
<p class="or">or</p>
</div>
<div id="signed-in" class="signed-in" role="status" tabindex="-1" hidden>
<p id="signed-in-text"></p>
<button type="button" id="use-token" class="quiet">Use a bootstrap token instead</button>
</div>`
}

function registerForm(basePath: string, plans: HomeContent['plans'], signIn: string): string {
  return html`<form id="register" method="post" data-register="${basePath}/register" novalidate autocomplete="off">
!${signIn}
!${tokenField(
    'Bootstrap token',
    'It starts with <code>fkb_</code>. It is sent only to this service and is not stored in your browser.',
  )}
<div class="field">
<label for="name">Name</label>
<p class="hint" id="name-hint">The person or program that uses the key, for example <code>acme-agent</code>. Names do not have
to be unique.${signIn === '' ? '' : ' After a login, a name that you use already usually gets a new key, and its old key ends.'}</p>
<input id="name" name="name" required autocomplete="off" aria-describedby="name-hint name-fault">
<p class="fault" id="name-fault"></p>
</div>
!${planField(plans, signIn !== '')}
<button id="submit" type="submit" disabled>Get my key</button>
!${formFoot()}
</form>`
}

function planField(plans: HomeContent['plans'], hasLogin: boolean): string {
  const [only, ...others] = plans
  if (only !== undefined && others.length === 0)
    return html`<p class="only-plan"><strong>Your plan:</strong> ${describeLimits(only.limits)}</p>`
  return html`<fieldset class="field" aria-describedby="plan-hint plan-fault">
<legend>Plan</legend>
<p class="hint" id="plan-hint">The plan limits how many requests you can send with the key. Your token${hasLogin ? ' or login' : ''} might not allow every
plan.</p>
<label class="choice"><input type="radio" id="plan" name="plan" value="" checked> <span><strong>Your ${hasLogin ? '' : "token's "}default plan</strong>
<span class="hint">Choose this if you are not sure.</span></span></label>
!${plans.map(
    ({ name, limits }) =>
      html`<label class="choice"><input type="radio" name="plan" value="${name}"> <span><strong>${name}</strong>
<span class="hint">${describeLimits(limits)}</span></span></label>`,
  )}
<p class="fault" id="plan-fault"></p>
</fieldset>`
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
