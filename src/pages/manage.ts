import { html } from 'ghtml'
import { copyable, formFoot, keyPanel, tokenField } from './form.ts'
import { page } from './layout.ts'

export interface ManageContent {
  readonly basePath: string
  /** The id in the path, whether there is such a registration or not. */
  readonly registrationId: string
  /** The management URL. */
  readonly url: string
}

/**
 * Renders the page of a management URL: a form that shows the registration, replaces its key and deletes it
 * (`assets/manage.js`), and the commands that do the same. It says nothing about the registration itself.
 */
export function managePage({ basePath, registrationId, url }: ManageContent): string {
  const path = `${basePath}/register/${encodeURIComponent(registrationId)}`
  return page({
    title: 'Manage your API key',
    basePath,
    script: 'manage.js',
    main: html`
<h1>Manage your API key</h1>
<p class="lead">This is the management URL of the registration <code>${registrationId}</code>. With the
<strong>management token</strong> that came with the key you see its status and usage, replace it, or delete it.</p>
<section id="problem" class="problem" aria-labelledby="problem-title" tabindex="-1" hidden></section>
<form id="manage" method="post" data-url="${path}" novalidate autocomplete="off">
!${tokenField(
      'Management token',
      'It starts with <code>fkm_</code>. It is sent only to this service and is not stored in your browser.',
    )}
<button id="submit" type="submit" disabled>Show the registration</button>
!${formFoot()}
</form>
!${keyPanel({ withManagement: false })}
!${registrationPart()}
<section id="terminal" aria-labelledby="terminal-title">
<h2 id="terminal-title">From a terminal</h2>
<p>Set the token as an environment variable: <code>export FIRSTKEY_MANAGEMENT_TOKEN=fkm_…</code>. Then:</p>
<h3>Status, and usage by day</h3>
!${copyable('status-recipe', 'the commands for the status', statusRecipe(url))}
<h3>Replace the key (rotate)</h3>
<p>The present key keeps working for an hour. If the response is lost, run only the <code>curl</code> command again within
a day: the same <code>Idempotency-Key</code> returns the same key.</p>
!${copyable('rotate-recipe', 'the commands that replace the key', rotateRecipe(url))}
<h3>Delete the key</h3>
!${copyable(
      'delete-recipe',
      'the command that deletes the key',
      `curl -X DELETE ${url} \\
  ${AUTHORIZATION}`,
    )}
</section>
`,
  })
}

/** Renders the hidden part that shows the registration, with what its owner can do, and the question before that. */
function registrationPart(): string {
  return html`<section id="registration" aria-labelledby="registration-title" hidden>
<h2 id="registration-title" tabindex="-1">Your registration</h2>
<dl id="registration-details" class="details"></dl>
<h3>Requests in the last 7 days</h3>
<p id="usage-note"></p>
<table id="usage" hidden>
<thead><tr><th scope="col">Day (UTC)</th><th scope="col">Requests</th><th scope="col">Left in the quota</th></tr></thead>
<tbody></tbody>
</table>
<div id="actions">
<h3>Replace the key (rotate)</h3>
<div class="field">
<label for="overlap">The present key</label>
<select id="overlap">
<option value="3600">works for 1 hour more</option>
<option value="86400">works for 1 day more</option>
<option value="604800">works for 7 days more</option>
<option value="0">is deleted at once</option>
</select>
</div>
<button type="button" id="rotate">Get a new key…</button>
<h3>Delete the key</h3>
<p>From then on the API rejects the key. This cannot be undone.</p>
<button type="button" id="delete" class="quiet">Delete the key…</button>
</div>
</section>
<dialog id="confirm" aria-labelledby="confirm-title">
<h2 id="confirm-title"></h2>
<p id="confirm-text"></p>
<div class="row">
<button type="button" id="confirm-yes"></button>
<button type="button" id="confirm-no" class="quiet">Cancel</button>
</div>
</dialog>`
}

const AUTHORIZATION = '-H "Authorization: Bearer $FIRSTKEY_MANAGEMENT_TOKEN"'

function statusRecipe(url: string): string {
  return `curl ${url} \\
  ${AUTHORIZATION}
curl ${url}/usage \\
  ${AUTHORIZATION}`
}

function rotateRecipe(url: string): string {
  return `KEY=$(uuidgen 2>/dev/null || cat /proc/sys/kernel/random/uuid)
curl ${url}/rotate \\
  ${AUTHORIZATION} \\
  -H "Idempotency-Key: $KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"overlap_seconds":3600}'`
}
