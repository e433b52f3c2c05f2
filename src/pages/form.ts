import { html } from 'ghtml'

/** Renders the field for a token, in a form of `assets/form.js`. @param hint HTML */
export function tokenField(label: string, hint: string): string {
  return html`<div class="field" id="token-field">
<label for="token">${label}</label>
<p class="hint" id="token-hint">!${hint}</p>
<div class="row">
<input id="token" name="token" type="password" required spellcheck="false" autocapitalize="none" autocomplete="off" aria-describedby="token-hint token-fault">
<button type="button" id="show-token" class="quiet" aria-controls="token">Show<span class="hidden"> the token</span></button>
</div>
<p class="fault" id="token-fault"></p>
</div>`
}

/** Renders the end of a form: its progress, and the note that is shown without JavaScript. */
export function formFoot(): string {
  return html`<p id="progress" class="progress" role="status"></p>
<p id="needs-script" class="note">The form needs JavaScript, which is turned off or did not load. Use the
<a href="#terminal">commands below</a> instead.</p>
`
}

/**
 * Renders the hidden panel for a new key, which `assets/key.js` fills in and shows, and the place for what was copied.
 * @param options.withManagement whether the key comes with a management token
 */
export function keyPanel({ withManagement }: { withManagement: boolean }): string {
  const warning = withManagement
    ? html`<strong>Your API key and management token are shown only once.</strong> Copy both before you leave this
page.`
    : html`<strong>Your API key is shown only once.</strong> Copy it before you leave this page.`
  return html`<section id="key" class="key" aria-labelledby="key-title" hidden>
<h2 id="key-title" tabindex="-1">Your API key</h2>
<p class="warning">!${warning}</p>
!${secret('api-key', 'API key', 'Send it in the x-api-key header of every request to the API.')}
<p id="ready" role="status"></p>
!${
    withManagement
      ? secret(
          'management-token',
          'management token',
          'Open the management URL below and enter it to check, replace (rotate) or delete the key.',
        )
      : ''
  }
<h3>Try the key</h3>
!${copyable('use', 'the command that tries the key', '')}
<h3>Details</h3>
<dl id="details" class="details"></dl>
!${withManagement ? html`<button type="button" id="another" class="quiet">Get another key</button>` : ''}
</section>
<p id="copied" class="hidden" role="status"></p>`
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

/** Renders a text with a button that copies it. @param what what the button copies, as in "the curl commands" */
export function copyable(id: string, what: string, text: string): string {
  return html`<div class="recipe">
<pre id="${id}"><code>${text}</code></pre>
<button type="button" class="quiet" data-copy="${id}">Copy<span class="hidden"> ${what}</span></button>
</div>`
}
