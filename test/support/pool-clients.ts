import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Gateway } from '../../emulator/gateway.ts'
import type { ReceivedCredential } from './invariants.ts'

interface Held extends ReceivedCredential {
  readonly ready?: boolean
  readonly management: { readonly token: string }
}

export interface ClientOptions {
  /** The running ones, of which some may be down. */
  readonly servers: readonly ({ readonly url: string } | undefined)[]
  /** Returns a random whole number from 0. */
  readonly random: (below: number) => number
  /** Bootstrap tokens. */
  readonly secrets: readonly string[]
  readonly gateway: Gateway
}

/** Clients that want keys until they are stopped, and keep what they got. */
export class PoolClients {
  readonly received: Held[] = []
  /** The registration, or the rotation's request, of each value. */
  readonly #holderOf = new Map<string, string>()
  readonly #revoked = new Set<string>()
  #stopped = false
  readonly #options: ClientOptions

  constructor(options: ClientOptions) {
    this.#options = options
  }

  stop(): void {
    this.#stopped = true
  }

  async work(): Promise<void> {
    const { random, secrets } = this.#options
    while (!this.#stopped) {
      const own = this.received[random(Math.max(1, this.received.length))]
      const dice = random(10)
      if (own !== undefined && dice === 0) await this.#revoke(own)
      else if (own !== undefined && dice === 1) await this.#rotate(own)
      else {
        const secret = secrets[random(secrets.length)] ?? ''
        const body = { name: `agent-${random(1_000)}`, plan: random(3) === 0 ? 'free' : 'gold' }
        await this.#obtain('/register', secret, body, dice === 2 ? undefined : randomUUID())
      }
      await sleep(random(60))
    }
  }

  /** Calls the API with every key that was received and neither revoked nor replaced. */
  async assertAllWork(): Promise<void> {
    const latest = new Map(this.received.map((one) => [one.registration_id, one]))
    for (const one of latest.values())
      if (!this.#revoked.has(one.registration_id))
        assert.equal(await this.#use(one), 200, one.registration_id)
  }

  async #rotate({ registration_id, management }: Held): Promise<void> {
    if (this.#revoked.has(registration_id)) return
    const path = `/register/${registration_id}/rotate`
    await this.#obtain(path, management.token, { overlap_seconds: 0 }, randomUUID())
  }

  async #revoke({ registration_id, management }: Held): Promise<void> {
    if (this.#revoked.has(registration_id)) return
    this.#revoked.add(registration_id)
    await this.#insist(`/register/${registration_id}`, {
      method: 'DELETE',
      headers: bearer(management.token),
    })
  }

  /** Asks for a credential, and uses it at once if it is said to work. Without a key, it asks once. */
  async #obtain(
    path: string,
    secret: string,
    body: object,
    idempotencyKey: string | undefined,
  ): Promise<void> {
    const request = {
      method: 'POST',
      headers: {
        ...bearer(secret),
        'content-type': 'application/json',
        ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
      },
      body: JSON.stringify(body),
    }
    const answer =
      idempotencyKey === undefined ? await this.#send(path, request) : await this.#insist(path, request)
    if (answer?.status !== 201) return
    const credential = answer.body as Held
    const holder = idempotencyKey ?? randomUUID()
    const other = this.#holderOf.get(credential.api_key_value)
    assert.ok(other === undefined || other === holder, `two clients share the key ${credential.api_key_id}`)
    this.#holderOf.set(credential.api_key_value, holder)
    this.received.push(credential)
    if (credential.ready !== true || this.#revoked.has(credential.registration_id)) return
    const status = await this.#use(credential)
    const isCurrent = this.received.findLast((one) => one.registration_id === credential.registration_id)
    if (this.#revoked.has(credential.registration_id) || isCurrent !== credential) return
    assert.equal(status, 200, `${credential.registration_id} was said to work`)
  }

  async #use({ api_key_value }: Held): Promise<number> {
    const { gateway } = this.#options
    const headers = { 'x-api-key': api_key_value }
    const answer = await fetch(`${gateway.url}/execute-api/demo/prod/hello`, { headers })
    await answer.text()
    return answer.status
  }

  /** Repeats a request until its response is final. */
  async #insist(path: string, request: RequestInit): Promise<Answer> {
    for (let tries = 0; tries < 600; tries++) {
      const answer = await this.#send(path, request)
      if (answer !== undefined && (answer.status < 300 || !answer.body?.retryable)) {
        assert.ok(answer.status < 300 || FINAL.has(answer.body?.code ?? ''), JSON.stringify(answer))
        return answer
      }
      // A use is in doubt since a kill, until it is settled within a day.
      if ((answer?.body?.retry_after ?? 0) > LONGEST_RETRY_S) {
        assert.equal(answer?.body?.code, 'token_uses_pending')
        return answer
      }
      await sleep(100)
    }
    return assert.fail(`${path} has no final response after a minute`)
  }

  /** @returns `undefined`: the server was killed */
  async #send(path: string, request: RequestInit): Promise<Answer | undefined> {
    const { servers, random } = this.#options
    const server = servers[random(servers.length)] ?? servers.find((one) => one !== undefined)
    if (server === undefined) return undefined
    try {
      const answer = await fetch(`${server.url}${path}`, request)
      const text = await answer.text()
      return { status: answer.status, body: text === '' ? undefined : JSON.parse(text) }
    } catch (error) {
      if (error instanceof TypeError) return undefined
      throw error
    }
  }
}

interface Answer {
  readonly status: number
  readonly body:
    | (Partial<Held> & {
        readonly code?: string
        readonly retryable?: boolean
        readonly retry_after?: number
      })
    | undefined
}

/** The longest time after which a request is repeated (s). */
const LONGEST_RETRY_S = 120

/** The errors that end a request for good: the token is used up, or the registration was revoked or rotated by another. */
const FINAL = new Set(['token_exhausted', 'registration_ended', 'key_replaced', 'invalid_token'])

const bearer = (secret: string) => ({ authorization: `Bearer ${secret}` })
