// Registers, rotates and revokes with the client that @hey-api/openapi-ts generated. Usage: life.ts URL TOKEN
import { createClient } from './client/client/index.ts'
import { getRegistration, getUsage, register, revokeRegistration, rotateKey } from './client/index.ts'

declare const process: { argv: string[]; stdout: { write(text: string): void } }
const [, , baseUrl = '', token = ''] = process.argv

function check(truth: unknown, answer: { error?: unknown; data?: unknown }): asserts truth {
  if (!truth) throw new Error(`unexpected answer: ${JSON.stringify(answer.error ?? answer.data)}`)
}

const newKey = () => ({ 'idempotency-key': crypto.randomUUID() })

const client = createClient({ baseUrl, auth: token })
const body = { name: 'acme-agent ශ්‍රී 👩‍🚀', description: 'nightly import' }
const headers = newKey()
const first = await register({ client, body, headers })
check(
  typeof first.data === 'object' && first.data.name === body.name && first.data.expires_at === null,
  first,
)
const { registration_id: id, api_key_value, management } = first.data
const retry = await register({ client, body, headers })
check(typeof retry.data === 'object' && retry.data.api_key_value === api_key_value, retry)

const manager = createClient({ baseUrl, auth: management.token })
const path = { id }
const withoutBody = await rotateKey({ client: manager, path, headers: newKey() })
check(withoutBody.data?.replaced, withoutBody)
const rotated = await rotateKey({ client: manager, path, headers: newKey(), body: { overlap_seconds: 0 } })
check(rotated.data?.registration_id === id, rotated)

const registration = await getRegistration({ client: manager, path })
check(registration.data?.api_key_id === rotated.data.api_key_id, registration)
const usage = await getUsage({ client: manager, path })
check(usage.data?.days.length === 7, usage)

const answers = {
  invalid_token: await register({ client: manager, body }),
  plan_not_allowed: await register({ client, body: { name: 'a', plan: 'none' } }),
  idempotency_mismatch: await register({ client, body: { name: 'other' }, headers }),
  not_found: await getRegistration({ client: manager, path: { id: 'reg_0' } }),
}
for (const [code, answer] of Object.entries(answers)) {
  check(answer.error !== undefined && 'code' in answer.error && answer.error.code === code, answer)
  check(answer.error.next_step, answer)
}
const invalid = await register({ client, body: { name: '' } }).catch((error: unknown) => ({ error }))
check(invalid.error !== undefined && !('response' in invalid && invalid.response), invalid) // zod refuses it, unsent.

const revoked = await revokeRegistration({ client: manager, path })
check(revoked.response?.status === 204, revoked)
process.stdout.write(`revoked ${id}\n`)
