import { z } from 'zod'

/** The fields of a `POST /register` response that the demo uses. */
const credentialResponse = z.object({
  registration_id: z.string(),
  api_key_value: z.string(),
  use: z.object({ curl: z.string() }),
})

export interface Steps {
  /** The URLs of the service and of the protected demo API, as this process reaches them. */
  readonly serviceUrl: string
  readonly apiUrl: string
  readonly token: string
  /** The URL of the service, as the user reaches it. */
  readonly publicUrl: string
}

let step = 0

/** Prints a numbered step. */
export function say(text: string): void {
  console.log(`${++step}. ${text}`)
}

/**
 * Registers once over HTTP, calls the protected API with the new key and without one, and prints each step.
 * @returns a text that suggests next steps, with curl commands to paste
 * @throws Error that names the request with an unexpected status
 */
export async function runSteps({ serviceUrl, apiUrl, token, publicUrl }: Steps): Promise<string> {
  const startedAt = performance.now()
  const body = await expect('POST /register', 201, `${serviceUrl}/register`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', prefer: 'wait=20' },
    body: JSON.stringify({ name: 'acme-agent' }),
  })
  const ms = Math.ceil(performance.now() - startedAt)
  const { registration_id, api_key_value, use } = credentialResponse.parse(body)
  say(`POST /register {"name":"acme-agent"} → 201 after ${ms} ms\n${indent(JSON.stringify(body, null, 2))}`)
  await useKey(apiUrl, api_key_value)
  return `
Done: ${registration_id} has a working key. To register another agent:

  curl ${publicUrl}/register -H 'Authorization: Bearer ${token}' -H 'Content-Type: application/json' -d '{"name":"my-agent"}'

To use the key from above:

  ${use.curl}

To register in a browser, open ${publicUrl}/ and enter the same token.
`
}

/** Calls the protected API with a key and without one, and prints both steps. @throws Error on an unexpected status */
export async function useKey(apiUrl: string, apiKey: string): Promise<void> {
  const hello = await expect('the demo API with the new key', 200, apiUrl, {
    headers: { 'x-api-key': apiKey },
  })
  say(`The demo API with the new key → 200 ${JSON.stringify(hello)}`)
  const refused = await expect('the demo API without a key', 403, apiUrl)
  say(`The demo API without a key → 403 ${JSON.stringify(refused)}`)
}

async function expect(what: string, status: number, url: string, init?: RequestInit): Promise<unknown> {
  const response = await fetch(url, init)
  const body: unknown = await response.json()
  if (response.status === status) return body
  throw new Error(`${what} returned ${response.status}, not ${status}: ${JSON.stringify(body)}`)
}

/** Indents a text below a step. */
export function indent(text: string): string {
  return text.replace(/^/gm, '   ')
}
