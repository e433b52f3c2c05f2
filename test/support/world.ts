import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Gateway, startGateway } from '../../emulator/gateway.ts'
import { issueBootstrapToken } from '../../src/auth/bootstrap-token.ts'
import type { Problem } from '../../src/http/problem.ts'
import { SERVICE } from '../../src/store/audit.ts'
import type { Registration } from '../../src/store/records.ts'
import type { Store } from '../../src/store/store.ts'
import { startIssuer, type TestIssuer } from './identity/issuer.ts'
import { hasWorkLeft, type ReceivedCredential } from './invariants.ts'
import type { Action } from './model.ts'
import { judgePool, type PoolJudge } from './pool-judge.ts'
import { readProblem } from './problem.ts'
import { serverEnv, unlimitedPolicy } from './service.ts'

const DAY_MS = 24 * 3_600_000
const MAX_USES = 3
/** The longest time after which a delivery is recorded. */
const LONGEST_DELIVERY_MS = 5_000
/** The lifetime of the second token's keys. */
const KEY_TTL_MS = 6 * 3_600_000

/** A bootstrap token or a federated identity, with what is known of it. */
interface ModelToken {
  /** The secret of a bootstrap token; `null`: its callers show identity tokens. */
  readonly secret: string | null
  /** @returns `undefined`: no request of the identity has arrived yet */
  readonly id: () => Promise<string | undefined>
  revoked: boolean
  /** A request was refused for good because all its uses are spent. */
  exhausted: boolean
}

/** A caller that holds a key, with the known state of its registration. */
interface Owner {
  readonly registration_id: string
  managementToken: string
  /** `true` if a renewal of the management token was requested and its response may have been lost. */
  mayBeOutdated: boolean
  /** `'requested'`: the outcome of the revocation is unknown. */
  revoked: 'no' | 'requested' | 'done'
  /** `true` if it was suspended at some time. */
  mayBeSuspended: boolean
}

/** The store of a model, and the environment variables with which a server uses it. */
export interface ModelStore {
  readonly store: Store
  readonly env: Readonly<Record<string, string>>
}

/**
 * Opens a store for one model run.
 * @param dir a folder of its own, which is deleted at the end of the run
 * @param clock the time of all, for a store whose answers have a `Date`
 */
export type OpenModelStore = (dir: string, clock: () => number) => Promise<ModelStore>

/** The time that has passed for all, and by how much the server's clock is wrong (ms). */
class Time {
  passed = 0
  serverIsAheadBy = 0
  /** The most by which the server's clock ever was ahead. */
  mostAhead = 0
  #latest = 0
  readonly now = () => {
    const now = Date.now() + this.passed
    this.#latest = Math.max(this.#latest, now)
    return now
  }
  /** The latest time that it ever was. */
  latest = () => Math.max(this.#latest, this.now())
  get serverOffset(): number {
    return this.passed + this.serverIsAheadBy
  }
}

/** A gateway, a store and one server at a time, with all credentials that were returned, which must stay valid. */
export class World {
  readonly gateway: Gateway
  readonly store: Store
  readonly #received: (ReceivedCredential & { readonly at: number })[] = []
  /** The times at which a server was killed, and those of receipts, on the clock of `performance.now()`. */
  readonly #kills: number[] = []
  /** The registrations whose callers proved that they received the response: by a management call, or by using the key. */
  readonly #proved = new Set<string>()
  readonly #dir: string
  readonly #env: Readonly<Record<string, string>>
  readonly #mode: 'auto' | 'bulk'
  readonly #judge: PoolJudge
  readonly #poolSize: number
  readonly #tokens: ModelToken[]
  readonly #owners: Owner[] = []
  readonly #issuer: TestIssuer
  /** Stop the issuer. */
  readonly #closers: readonly (() => void)[]
  /** The identity tokens so far, with the credentials that were received for them. */
  readonly #jwts = new Map<string, ReceivedCredential[]>()
  /** The key value of the first response to each token and idempotency key, and the server's time then. */
  readonly #answers = new Map<string, { value: string; at: number }>()
  #server: { child: ChildProcess; url: string } | undefined
  readonly #time: Time

  private constructor(
    gateway: Gateway,
    { store, env }: ModelStore,
    dir: string,
    tokens: ModelToken[],
    mode: 'auto' | 'bulk',
    poolSize: number,
    time: Time,
    issuer: TestIssuer,
    closers: readonly (() => void)[],
  ) {
    this.#issuer = issuer
    this.#closers = closers
    this.#mode = mode
    this.#poolSize = poolSize
    this.#judge = judgePool(gateway, store, poolSize)
    gateway.onCall = this.#judge.look
    this.#time = time
    this.#env = env
    this.gateway = gateway
    this.store = store
    this.#dir = dir
    this.#tokens = tokens
  }

  /** @param poolSize the number of keys of the default plan that are made beforehand */
  static async create(openStore: OpenModelStore, mode: 'auto' | 'bulk', poolSize: number): Promise<World> {
    const dir = mkdtempSync(join(tmpdir(), 'firstkey-model-'))
    const time = new Time()
    const opened = await openStore(dir, time.now)
    const { store } = opened
    const tokens = []
    for (const [label, keyTtlMs] of [
      ['a', null],
      ['b', KEY_TTL_MS],
    ] as const) {
      const { secret, token } = await issueBootstrapToken(
        store,
        { ...unlimitedPolicy, label, keyTtlMs, maxUses: MAX_USES },
        SERVICE,
        Date.now(),
      )
      tokens.push({ secret, id: async () => token.id, revoked: false, exhausted: false })
    }
    const idOfIdentity = async () => (await store.listTokens()).find((one) => one.federation !== null)?.id
    tokens.push({ secret: null, id: idOfIdentity, revoked: false, exhausted: false })
    const gateway = await startGateway({ clock: time.now })
    const closers: (() => void)[] = []
    const after = (close: () => void) => closers.push(close)
    const issuer = await startIssuer({ after }, { audience: AUDIENCE, clock: time.now })
    const trustFile = join(dir, 'trust.yaml')
    writeFileSync(trustFile, trustOf(issuer))
    const withTrust = { store, env: { ...opened.env, TRUST_FILE: trustFile } }
    return new World(gateway, withTrust, dir, tokens, mode, poolSize, time, issuer, closers)
  }

  async run(one: Action): Promise<void> {
    switch (one.do) {
      case 'register':
        await Promise.all(Array.from({ length: one.racers }, () => this.#register(one)))
        return
      case 'fault': {
        const { do: _, ...fault } = one
        // A rejected call has no effect in API Gateway, so the fault comes before the effect.
        const refused = ['denied', 'expired', 'odd', 'unsupported', 'refused', 'quota'].includes(fault.kind)
        if (fault.kind === 'quota' && !MAKES_KEYS.includes(fault.operation)) return
        this.gateway.faults.order(refused ? { ...fault, when: 'before' } : fault)
        return
      }
      case 'crash when':
        this.gateway.onCall = (operation, at) => {
          this.#judge.look()
          if (operation === one.operation && at === one.moment) this.#kill()
        }
        return
      case 'crash':
        this.#kill()
        return
      case 'use':
        await this.#useKey(one.owner)
        return
      case 'clear faults':
        this.#clearFaults()
        await this.#runningServer()
        await sleep(one.waitMs)
        return
      case 'move clock':
        this.#time.latest()
        this.#time.passed += one.ms
        this.#setServerClock()
        return
      case 'set server clock':
        this.#time.serverIsAheadBy = one.aheadMs
        this.#time.mostAhead = Math.max(this.#time.mostAhead, one.aheadMs)
        this.#setServerClock()
        return
      case 'revoke token': {
        const token = this.#tokens[one.token]
        const id = await token?.id()
        if (token === undefined || id === undefined) return
        await this.store.revokeToken(id, SERVICE, this.#time.now())
        token.revoked = true
        return
      }
      case 'rotate':
        await Promise.all(Array.from({ length: one.racers }, () => this.#rotate(one)))
        return
      case 'revoke registration':
        await this.#revokeRegistration(one.owner)
        return
      case 'suspend': {
        // As an operator's command that is stopped after it recorded the intent.
        const owner = this.#owners[one.owner % Math.max(1, this.#owners.length)]
        if (owner === undefined) return
        const now = this.#time.now()
        await this.store.setSuspended(owner.registration_id, one.suspended, SERVICE, now)
        owner.mayBeSuspended = true
      }
    }
  }

  async #register({ token: index, again, key }: Action & { do: 'register' }): Promise<void> {
    const token = this.#tokens[index]
    assert.ok(token)
    const { revoked, secret } = token
    const { url } = await this.#runningServer()
    const jwt = secret === null ? this.#identityToken(again) : undefined
    // An identity token needs a UUID, and a request with the same one the same name.
    const idempotencyKey =
      jwt === undefined ? key !== null && `idempotency-key-${key}` : key === null ? randomUUID() : UUIDS[key]
    const headers: Record<string, string> = {
      authorization: `Bearer ${jwt ?? secret}`,
      'content-type': 'application/json',
      ...(idempotencyKey ? { 'idempotency-key': idempotencyKey } : {}),
    }
    const body = JSON.stringify({ name: key === 2 ? 'acme-other' : 'acme-agent' })
    const answer = await send(`${url}/register`, { method: 'POST', headers, body })
    if (answer === undefined) return
    if (answer.problem?.code === 'token_exhausted') token.exhausted = true
    if (answer.problem !== undefined)
      return assertPossibleError(answer.problem, [
        ...(revoked ? [] : REGISTER_ERRORS),
        ...(jwt === undefined ? [] : IDENTITY_ERRORS),
        ...(revoked && jwt !== undefined ? ['identity_not_allowed'] : []),
        ...(!revoked && this.#owners.some(({ mayBeSuspended }) => mayBeSuspended)
          ? ['registration_suspended']
          : []),
      ])
    const { body: credential } = answer
    assert.ok(credential)
    assert.ok(!revoked, 'a revoked token cannot register')
    this.#received.push({ ...credential, at: performance.now() })
    if (jwt !== undefined) this.#jwts.get(jwt)?.push(credential)
    this.#addOwner(credential, jwt !== undefined)
    if (key !== null) this.#assertSameCredential(`${index}/${key}`, credential)
  }

  /** @param again returns the latest one again, if there is one */
  #identityToken(again: boolean): string {
    const [latest] = again ? [...this.#jwts.keys()].slice(-1) : []
    const jwt = latest ?? this.#issuer.sign()
    if (latest === undefined) this.#jwts.set(jwt, [])
    return jwt
  }

  /** @param mayRenew the registration may be an earlier one, whose key and management token this one replaces */
  #addOwner({ registration_id, management }: Credential, mayRenew: boolean): void {
    const managementToken = management.token ?? ''
    const known = this.#owners.find((owner) => owner.registration_id === registration_id)
    if (known === undefined)
      this.#owners.push({
        ...{
          registration_id,
          managementToken,
          mayBeOutdated: mayRenew,
          revoked: 'no',
          mayBeSuspended: false,
        },
      })
    else if (mayRenew) known.managementToken = managementToken
  }

  async #rotate({ owner: index, key, overlap, renew: wanted }: Action & { do: 'rotate' }): Promise<void> {
    const owner = this.#owners[index % Math.max(1, this.#owners.length)]
    if (owner === undefined) return
    const { managementToken, revoked } = owner
    const renew = wanted && key !== null // Without an idempotency key the renewal is rejected.
    const { url } = await this.#runningServer()
    const name = `${owner.registration_id}/${managementToken}/${key}-${overlap}-${renew}`
    const headers: Record<string, string> = {
      authorization: `Bearer ${managementToken}`,
      'content-type': 'application/json',
      ...(key === null ? {} : { 'idempotency-key': `rotate-${key}-${overlap}-${renew}`.padEnd(16, '-') }),
    }
    const body = JSON.stringify({ overlap_seconds: overlap, management_token: renew })
    if (renew) owner.mayBeOutdated = true // Until the response arrives.
    const answer = await send(`${url}/register/${owner.registration_id}/rotate`, {
      method: 'POST',
      headers,
      body,
    })
    if (answer === undefined) return
    if (answer.problem !== undefined) {
      return assertPossibleError(answer.problem, [
        ...ROTATE_ERRORS,
        ...(owner.mayBeSuspended ? ['registration_suspended'] : []),
        ...(owner.mayBeOutdated || owner.managementToken !== managementToken ? ['invalid_token'] : []),
      ])
    }
    assert.notEqual(revoked, 'done', 'a revoked registration was rotated')
    const { body: credential } = answer
    assert.ok(credential)
    this.#received.push({ ...credential, at: performance.now() })
    this.#proved.add(owner.registration_id)
    if (credential.management.token !== undefined) {
      owner.managementToken = credential.management.token
      owner.mayBeOutdated = true // The response to an earlier renewal may be lost, or a racer's renewal may come later.
    }
    if (key !== null) this.#assertSameCredential(name, credential)
  }

  async #revokeRegistration(index: number): Promise<void> {
    const owner = this.#owners[index % Math.max(1, this.#owners.length)]
    if (owner === undefined) return
    const { url } = await this.#runningServer()
    const headers = { authorization: `Bearer ${owner.managementToken}` }
    if (owner.revoked === 'no') owner.revoked = 'requested'
    const answer = await send(`${url}/register/${owner.registration_id}`, { method: 'DELETE', headers })
    if (answer === undefined) return
    if (answer.problem === undefined) {
      owner.revoked = 'done'
      this.#proved.add(owner.registration_id)
    } else
      assertPossibleError(answer.problem, [
        ...UPSTREAM_ERRORS,
        ...(owner.mayBeOutdated ? ['invalid_token'] : []),
      ])
  }

  #kill(): void {
    this.#server?.child.kill('SIGKILL')
    this.#kills.push(performance.now())
  }

  /** Calls the API with a received key. API Gateway counts that, so that the key is in doubt no more. */
  async #useKey(index: number): Promise<void> {
    const one = this.#received[index % Math.max(1, this.#received.length)]
    if (one === undefined) return
    const answer = await fetch(this.gateway.url, { headers: { 'x-api-key': one.api_key_value } })
    await answer.text()
    if (answer.status === 200) this.#proved.add(one.registration_id)
  }

  /**
   * The credentials that callers received, except those that were undone in doubt: the server was killed before it had recorded
   * the delivery, and for a day the caller neither managed the registration nor used the key.
   */
  async keptCredentials(): Promise<ReceivedCredential[]> {
    const kept: ReceivedCredential[] = []
    for (const one of this.#received) {
      const wasKilled = this.#kills.some((at) => at > one.at && at - one.at < LONGEST_DELIVERY_MS)
      const record = await this.store.getRegistration(one.registration_id)
      const reason = record?.status === 'failed' ? record.failure : null
      const wasUndone = reason === 'undelivered' || reason === 'abandoned'
      if (!wasUndone || !wasKilled || this.#proved.has(one.registration_id)) kept.push(one)
    }
    return kept
  }

  /** Lets the time pass in which everything that is in doubt is settled. */
  async settleDoubts(): Promise<void> {
    if ((await this.#listInDoubt()).length === 0) return
    // A registration that began before AWS contradicted a wrong clock has a later time, and all clocks may have been set back.
    const lead = this.#time.latest() - this.#time.now() + this.#time.mostAhead
    await this.run({ do: 'move clock', ms: DAY_MS + lead })
    await this.waitUntilIdle()
    assert.deepEqual(await this.#listInDoubt(), [])
  }

  #listInDoubt(): Promise<Registration[]> {
    return this.store.listInDoubt(Number.MAX_SAFE_INTEGER, 100)
  }

  /** Asserts that no use came back of a token that was refused for good. */
  async assertExhausted(): Promise<void> {
    for (const { id, exhausted } of this.#tokens) {
      if (!exhausted) continue
      const token = await this.store.getToken((await id()) ?? '')
      assert.equal(token?.uses, token?.maxUses, 'invariant 3: token_exhausted, and a use came back')
    }
  }

  /** Asserts that no identity token brought two keys, except one that was undone. */
  async assertUsedOnce(): Promise<void> {
    const kept = new Set((await this.keptCredentials()).map((one) => one.api_key_value))
    for (const [jwt, received] of this.#jwts) {
      const values = new Set(received.map((one) => one.api_key_value).filter((value) => kept.has(value)))
      assert.ok(values.size <= 1, `invariant 3: ${values.size} keys for ${jwt}`)
    }
  }

  /** Asserts that no key of a revoked registration is left. */
  async assertRevoked(): Promise<void> {
    for (const { registration_id, revoked } of this.#owners) {
      if (revoked !== 'done') continue
      const own = await this.store.getRegistration(registration_id)
      const all = [own, ...(await this.store.listRotations(registration_id))]
      for (const one of all)
        assert.ok(one && ['ended', 'failed'].includes(one.status), `${one?.id} is ${one?.status}`)
    }
  }

  /** Checks invariant 4: the same request within a day gets the same credential. */
  #assertSameCredential(name: string, body: ReceivedCredential): void {
    const earlier = this.#answers.get(name)
    const now = this.#time.now()
    if (earlier === undefined || now - earlier.at >= DAY_MS)
      this.#answers.set(name, { value: body.api_key_value, at: now })
    else
      assert.equal(body.api_key_value, earlier.value, 'invariant 4: the same request got another credential')
  }

  /** Returns the running server, and starts it first if it is down. */
  async #runningServer(): Promise<{ child: ChildProcess; url: string }> {
    const running = this.#server
    if (
      running &&
      running.child.exitCode === null &&
      running.child.signalCode === null &&
      !running.child.killed
    )
      return running
    const env = {
      ...serverEnv(this.gateway, this.#dir),
      ...this.#env,
      PATH: process.env['PATH'],
      REGISTER_TIMEOUT_MS: '1000',
      MINT_MODE: this.#mode,
      ...(this.#poolSize === 0 ? {} : { POOL: `free:${this.#poolSize}`, API_PROBE_PATH: '/probe' }),
      CLOCK_OFFSET: String(this.#time.serverOffset),
    }
    const child = fork(join(import.meta.dirname, 'fast-server.ts'), {
      env,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    const started = { child, url: '' }
    this.#server = started
    const [message] = await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(() => [{ url: 'http://127.0.0.1:1' }]), // Killed during its start.
    ])
    started.url = message.url
    return started
  }

  #setServerClock(): void {
    // A stopped server gets the offset when it starts; a failed message to a dying one does not matter.
    this.#server?.child.send(this.#time.serverOffset, () => undefined)
  }

  /** Asserts that no key was deleted before it had expired, whatever the server's clock said. */
  async assertNoneExpiredEarly(): Promise<void> {
    for (const { id, endReason, expiresAt } of await this.store.listRegistrations({ limit: 10_000 }))
      if (endReason === 'expired') assert.ok(expiresAt !== null && expiresAt <= this.#time.latest(), id)
  }

  #clearFaults(): void {
    this.gateway.faults.clear()
    this.gateway.onCall = this.#judge.look
  }

  /** Clears all faults and keeps the server running. Resolves when nothing is left to recover. */
  async waitUntilIdle(): Promise<void> {
    this.#clearFaults()
    for (let tries = 0; tries < 300; tries++) {
      await this.#runningServer()
      const rows = await this.store.listRegistrations({ limit: 10_000 })
      const isIdle = !rows.some((one) => hasWorkLeft(one, this.#time.now()))
      if (isIdle && (await this.#poolIsFull())) return this.#judge.verdict()
      // A clock that was set back delays leases and late-key checks by as much: set it right, as an operator would.
      if (tries === 100 && this.#time.passed < 0) await this.run({ do: 'move clock', ms: -this.#time.passed })
      if (tries === 20) await this.run({ do: 'set server clock', aheadMs: 0 })
      if (tries === 150) await this.run({ do: 'move clock', ms: 3_600_000 })
      await sleep(50)
    }
    assert.fail('recovery does not finish')
  }

  /** Every pool key is ready, and no other key is left that was not handed out. */
  async #poolIsFull(): Promise<boolean> {
    const pool = await this.store.listPoolKeys()
    const { account } = this.gateway
    const active = await this.store.listRegistrations({ status: 'active', limit: 10_000 })
    const isReady = pool.length === this.#poolSize && pool.every(({ state }) => state === 'ready')
    return isReady && account.keys.size === active.length + pool.length
  }

  async close(): Promise<void> {
    const child = this.#server?.child
    if (child && child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    for (const close of this.#closers) close()
    await this.gateway.close()
    await this.store.close()
    rmSync(this.#dir, { recursive: true, force: true })
  }
}

const UPSTREAM_ERRORS = [
  'upstream_throttled',
  'upstream_unavailable',
  'upstream_misconfigured',
  'store_unavailable',
  'overloaded',
]
/** The operations for which the quota of keys can have no room. */
const MAKES_KEYS = ['CreateApiKey', 'ImportApiKeys']
const REGISTER_ERRORS = [
  ...UPSTREAM_ERRORS,
  'key_quota_reached',
  'token_exhausted',
  'token_uses_pending',
  'idempotency_in_progress',
  'registration_ended',
  'key_replaced',
]
/** Also of a fresh token: the server's clock may be wrong, and that of the issuer was set back or forth meanwhile. */
const IDENTITY_ERRORS = [
  ...['token_replayed', 'token_expired', 'invalid_token', 'identity_limit_reached', 'rotation_in_progress'],
]
/** Idempotency keys for identity tokens. */
const UUIDS = Array.from({ length: 3 }, () => randomUUID())
const AUDIENCE = 'https://keys.example.com'

/** The rule of the identity: a registration for each of two names, which further requests rotate. */
function trustOf({ url: issuer }: TestIssuer): string {
  const grant = { key_ttl: '6h', max_live: 2, on_repeat: 'rotate', overlap: '1m' }
  return JSON.stringify({
    audience: AUDIENCE,
    issuers: { model: { kind: 'oidc', issuer, algorithms: ['ES256'], single_use: true } },
    rules: [{ id: 'model', issuer: 'model', match: { sub: 'caller' }, grant }],
  })
}

const ROTATE_ERRORS = [
  ...UPSTREAM_ERRORS,
  'key_quota_reached',
  'idempotency_in_progress',
  'registration_ended',
  'key_replaced',
  'rotation_in_progress',
]

type Credential = ReceivedCredential & { readonly management: { readonly token?: string } }

/** Sends a request and returns its response; `undefined` if the connection broke because the process was killed. */
async function send(
  url: string,
  init: RequestInit,
): Promise<{ problem: Problem } | { problem?: undefined; body: Credential | undefined } | undefined> {
  try {
    const answer = await fetch(url, init)
    if (answer.status === 204) return { body: undefined }
    if (answer.status === 201) return { body: (await answer.json()) as Credential }
    return { problem: await readProblem(answer) }
  } catch (error) {
    if (error instanceof TypeError) return undefined
    throw error
  }
}

/** Checks invariant 8: an error is one of the documented ones, with `retry_after` if it is retryable. */
function assertPossibleError(problem: Problem, possible: readonly string[]): void {
  assert.ok(
    possible.includes(problem.code) || problem.code === 'token_revoked',
    `${problem.code}: ${problem.detail}`,
  )
  if (problem.retryable) assert.ok(problem.retry_after !== undefined)
}
