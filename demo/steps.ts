import { z } from 'zod'

/** What the demo needs of the answer of `POST /register`. */
const credentialAnswer = z.object({
  registration_id: z.string(),
  api_key_value: z.string(),
  use: z.object({ curl: z.string() }),
})

export interface Steps {
  /** Where the service and the protected demo API are reached from here. */
  readonly serviceUrl: string
  readonly apiUrl: string
  readonly token: string
  /** The service as the person at the terminal reaches it. */
  readonly publicUrl: string
}

let step = 0

/** Prints a numbered step. */
export function say(text: string): void {
  console.log(`${++step}. ${text}`)
}

/**
 * Registers once over HTTP, calls the protected API with the new key and without, and prints each step.
 * @returns what to try next, with curl lines to paste
 * @throws Error that names the step that did not go as it should
 */
export async function runSteps({ serviceUrl, apiUrl, token, publicUrl }: Steps): Promise<string> {
  const body = await expect('POST /register', 201, `${serviceUrl}/register`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', prefer: 'wait=20' },
    body: JSON.stringify({ name: 'acme-agent' }),
  })
  const { registration_id, api_key_value, use } = credentialAnswer.parse(body)
  say(`POST /register {"name":"acme-agent"} → 201\n${indent(JSON.stringify(body, null, 2))}`)

  const hello = await expect('the demo API with the new key', 200, apiUrl, {
    headers: { 'x-api-key': api_key_value },
  })
  say(`The demo API with the new key → 200 ${JSON.stringify(hello)}`)
  const refused = await expect('the demo API without a key', 403, apiUrl)
  say(`The demo API without a key → 403 ${JSON.stringify(refused)}`)

  return `
Done: ${registration_id} holds a working key. Register another agent:

  curl ${publicUrl}/register -H 'Authorization: Bearer ${token}' -H 'Content-Type: application/json' -d '{"name":"my-agent"}'

Use the key from above:

  ${use.curl}

Or open ${publicUrl}/ in a browser, and get one there with the same token.
`
}

async function expect(what: string, status: number, url: string, init?: RequestInit): Promise<unknown> {
  const answer = await fetch(url, init)
  const body: unknown = await answer.json()
  if (answer.status === status) return body
  throw new Error(`${what} answered ${answer.status}, not ${status}: ${JSON.stringify(body)}`)
}

function indent(text: string): string {
  return text.replace(/^/gm, '   ')
}
