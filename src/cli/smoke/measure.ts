import { setTimeout as sleep } from 'node:timers/promises'
import { authenticateBootstrapToken, type Caller, issueBootstrapToken } from '../../auth/bootstrap-token.ts'
import type { AwsCall } from '../../aws/client.ts'
import { growingPauses } from '../../aws/late-lists.ts'
import type { Plan } from '../../config.ts'
import type { Deps } from '../../deps.ts'
import type { Credential } from '../../registration/deps.ts'
import type { IssueDeps } from '../../registration/issue-credential.ts'
import { byGroup, keyNamePrefix, registrationIdOf } from '../../registration/key-names.ts'
import { createMintQueue } from '../../registration/mint/mint-queue.ts'
import { register } from '../../registration/register.ts'
import { revoke } from '../../registration/revoke.ts'
import type { Actor } from '../../store/audit.ts'
import type { Store } from '../../store/store.ts'
import { note } from '../output.ts'
import { type FollowOptions, followKey, type Turn } from './follow-key.ts'
import { SMOKE_DESCRIPTION, SMOKE_NAME, smokePolicy } from './leftovers.ts'
import { countKeys, FOLLOWED_OF_AN_IMPORT, type Step } from './steps.ts'
import { type MintingWatch, type Sighting, watchMinting } from './watch-minting.ts'

/** A step that was done, with the milliseconds that its registrations took. */
export interface DoneStep extends Step {
  readonly ms: number
}

/** The way of one key to the data plane, or out of it, with the step that made the key. */
export type FollowedKey = Step & Turn

/** The delay with which a list showed that a key was made or deleted, in milliseconds. */
export interface ListDelay {
  readonly change: 'created' | 'deleted'
  readonly list: 'GetApiKeys' | 'GetUsagePlanKeys'
  readonly seenMs: number | null
  readonly notYetMs: number | null
}

/** The figures of a run so far. */
export interface Measurements {
  readonly steps: DoneStep[]
  imports: MintingWatch['imports']
  readonly accepted: FollowedKey[]
  readonly refused: FollowedKey[]
  readonly lists: ListDelay[]
}

export const newMeasurements = (): Measurements => ({
  ...{ steps: [], imports: [], accepted: [], refused: [], lists: [] },
})

export interface Run {
  readonly deps: Deps
  readonly actor: Actor
  /** The holder of a token of its own, see {@link issueToken}. */
  readonly caller: Caller
  readonly plan: Plan
  readonly steps: readonly Step[]
  /** `null`: the data plane cannot be asked. */
  readonly follow: Omit<FollowOptions, 'stop'> | null
  /** All attempts of calls so far; it grows. */
  readonly calls: readonly AwsCall[]
  /** Ends the measurement early. */
  readonly stop: AbortSignal
}

/** The interval at which a run looks whether another one removed what it made (ms). */
const LOOK_MS = 2_000
/** The time for which a list is asked for a change (ms). */
const LIST_WAIT_MS = 30_000

/** Issues the token of a run. @throws ServiceError of the store */
export async function issueToken(
  { store, clock }: Deps,
  actor: Actor,
  plan: Plan,
  steps: readonly Step[],
): Promise<Caller> {
  const policy = smokePolicy(plan.name, countKeys(steps), clock())
  const { secret } = await issueBootstrapToken(store, policy, actor, clock())
  return authenticateBootstrapToken({ store, federation: null }, secret)
}

/**
 * Makes keys as the service does, through its use case and its mint queue, and measures. Then deletes
 * those that it followed; {@link removeLeftovers} removes the rest. All calls have the priority of background work.
 * @param into receives what is measured, also if it fails or is stopped midway
 * @throws ServiceError the first failure of a registration or a deletion
 */
export async function measure(run: Run, into: Measurements): Promise<void> {
  const { deps, actor, caller, plan, steps, follow, stop } = run
  const { config, deliveries, lowPriorityApiGateway, store } = deps
  let step: Step | undefined
  const failed = new AbortController()
  const followUntil = AbortSignal.any([stop, failed.signal])
  const following: Promise<void>[] = []
  /** The keys that the API accepts, by value, with their step. */
  const accepted = new Map<string, Step>()
  const startFollowing = (value: string, since: number, of: Step | undefined) => {
    if (follow === null || of === undefined) return
    const turn = followKey({ ...follow, stop: followUntil }, value, 'accepted', since)
    following.push(
      turn.then((one) => {
        into.accepted.push({ ...of, ...one })
        if (one.settled) accepted.set(value, of)
      }),
    )
  }

  const watch = watchMinting(lowPriorityApiGateway, run.calls, (rows, at) => {
    const { length } = rows
    const chosen = new Set([0, Math.floor(length / 2), length - 1].slice(0, FOLLOWED_OF_AN_IMPORT))
    for (const index of chosen) startFollowing(rows[index]?.value ?? '', at, step)
  })
  into.imports = watch.imports
  const quiet = { ...deps, apiGateway: watch.apiGateway, lowPriorityApiGateway: watch.apiGateway }
  const issueWith = (mintMode: 'single' | 'bulk'): IssueDeps => ({
    ...quiet,
    mintQueue: createMintQueue({ ...quiet, config: { ...config, mintMode } }),
  })
  const ways = { calls: issueWith('single'), import: issueWith('bulk') }

  const request = {
    ...{ name: SMOKE_NAME, description: SMOKE_DESCRIPTION, plan: plan.name },
    ...{ idempotencyKey: undefined, clientMetadata: null },
  }
  const registerOne = async (way: IssueDeps): Promise<Credential> => {
    const call = { actor, timeoutMs: config.registerTimeoutMs, readyBy: null, isGone: () => false }
    const credential = await register(way, caller, request, { ...call, log: deps.log })
    deliveries.note(credential.registration.id)
    return credential
  }

  const made: Credential[] = []
  try {
    for (step of steps) {
      if (stop.aborted) return
      const { by, keys } = step
      let ms = 0
      const timed = async <T>(work: Promise<T>): Promise<T> => {
        const startedAt = performance.now()
        return work.finally(() => {
          ms += performance.now() - startedAt
        })
      }
      if (by === 'calls') {
        for (let i = 0; i < keys && !stop.aborted; i++) {
          const credential = await timed(registerOne(ways.calls))
          made.push(credential)
          const at = watch.attachedAt.get(credential.apiKeyId) ?? performance.now()
          startFollowing(credential.secrets.apiKeyValue, at, step)
          if (i === 0) into.lists.push(...(await watchLists(run, credential, at, 'created')))
        }
      } else {
        const all = Array.from({ length: keys }, () => registerOne(ways.import))
        const results = await timed(Promise.allSettled(all))
        for (const one of results) if (one.status === 'fulfilled') made.push(one.value)
        for (const one of results) if (one.status === 'rejected') throw one.reason
        await untilShown(watch, plan, stop)
      }
      into.steps.push({ ...step, ms })
      note(`Made ${keys} ${keys === 1 ? 'key' : 'keys'} by ${by}: ${(ms / 1_000).toFixed(2)} s.`)
      if (by === 'import' && !didWork(watch)) {
        note('Imports do not do all of the work here: larger ones are left out.')
        break
      }
    }
    step = undefined
    if (following.length > 0) note('Waiting until the API accepts the keys…')
    await whileUsable(store, caller.token.id, Promise.all(following))
    if (stop.aborted) return
    const late = into.accepted.filter(({ settled }) => !settled).length
    if (late > 0)
      note(
        `The API did not accept ${late} of ${into.accepted.length} keys in time. firstkey doctor may say why.`,
      )
    const toFollow = made.filter(({ secrets }) => accepted.has(secrets.apiKeyValue))
    for (const [i, one] of (toFollow.length > 0 ? toFollow : made.slice(0, 1)).entries()) {
      if (stop.aborted) return
      await revoke({ ...deps, apiGateway: lowPriorityApiGateway }, one.registration.id, actor)
      const [at, of] = [performance.now(), accepted.get(one.secrets.apiKeyValue)]
      if (follow !== null && of !== undefined) {
        const turn = followKey({ ...follow, stop: followUntil }, one.secrets.apiKeyValue, 'rejected', at)
        following.push(turn.then((refusal) => void into.refused.push({ ...of, ...refusal })))
      }
      if (i === 0) into.lists.push(...(await watchLists(run, one, at, 'deleted')))
    }
    if (following.length > 0) note('Waiting until the API refuses the deleted keys…')
  } catch (error) {
    failed.abort()
    throw error
  } finally {
    await Promise.all(following)
    await Promise.all([ways.calls.mintQueue.settled(), ways.import.mintQueue.settled()])
  }
}

/**
 * Waits for `work`, as long as the token is not revoked.
 * @throws Error if another run removed what this one made
 */
async function whileUsable(store: Store, tokenId: string, work: Promise<unknown>): Promise<void> {
  const done = new AbortController()
  const finished = work.finally(() => done.abort())
  while (!done.signal.aborted) {
    const pause = sleep(LOOK_MS, undefined, { signal: done.signal }).catch(() => undefined)
    await Promise.race([finished, pause])
    if (done.signal.aborted) break
    if ((await store.getToken(tokenId))?.revokedAt !== null)
      throw new Error('another firstkey smoke removed the keys of this one')
  }
}

/** The last import made keys that were enabled and on the plan. */
function didWork({ imports }: MintingWatch): boolean {
  const last = imports.at(-1)
  return last?.outcome === 'imported' && last.keys.every((key) => key.enabled && key.attached)
}

/** Looks at both lists until they show all imported keys, for some time: the mint queue does not wait for that. */
async function untilShown(
  { imports, apiGateway }: MintingWatch,
  plan: Plan,
  stop: AbortSignal,
): Promise<void> {
  const { signal } = new AbortController()
  const startedAt = performance.now()
  for (const pause of growingPauses()) {
    const imported = imports.flatMap(({ outcome, keys }) => (outcome === 'imported' ? keys : []))
    const unseen = imported.filter(({ inApiKeys, inPlanKeys }) => !(inApiKeys.seenAt && inPlanKeys.seenAt))
    if (unseen.length === 0 || stop.aborted || performance.now() - startedAt > LIST_WAIT_MS) return
    for (const group of byGroup(unseen, ({ name }) => registrationIdOf(name))) {
      const prefix = keyNamePrefix(group.map(({ name }) => registrationIdOf(name)))
      await apiGateway.findKeys(prefix, signal)
      await apiGateway.findAttached(plan.usagePlanId, prefix, signal)
    }
    await sleep(pause, undefined, { signal: stop }).catch(() => undefined)
  }
}

/** Asks both lists for one key until they show the change, for some time. */
async function watchLists(
  { deps: { lowPriorityApiGateway }, plan, stop }: Run,
  { apiKeyId, registration }: Credential,
  since: number,
  change: ListDelay['change'],
): Promise<ListDelay[]> {
  const prefix = keyNamePrefix([registration.id])
  const { signal } = new AbortController()
  const lists = {
    GetApiKeys: () => lowPriorityApiGateway.findKeys(prefix, signal),
    GetUsagePlanKeys: () => lowPriorityApiGateway.findAttached(plan.usagePlanId, prefix, signal),
  }
  const delays: ListDelay[] = []
  for (const list of ['GetApiKeys', 'GetUsagePlanKeys'] as const) {
    const sighting: Sighting = { seenAt: null, notYetAt: null }
    for (const pause of growingPauses()) {
      const startedAt = performance.now()
      if (stop.aborted || startedAt - since > LIST_WAIT_MS) break
      const shown = (await lists[list]()).some(({ id }) => id === apiKeyId)
      if (shown === (change === 'created')) {
        sighting.seenAt = performance.now()
        break
      }
      sighting.notYetAt = startedAt
      await sleep(pause, undefined, { signal: stop }).catch(() => undefined)
    }
    const after = (at: number | null) => at && at - since
    delays.push({ change, list, seenMs: after(sighting.seenAt), notYetMs: after(sighting.notYetAt) })
  }
  return delays
}
