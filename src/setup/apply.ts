import { isConcurrentChange } from '../aws/change-queue.ts'
import { growingPauses, pauseFor } from '../aws/late-lists.ts'
import { type RestApiChanges, type Write, WriteError } from '../aws/rest-api-changes.ts'
import type { Change } from './changes.ts'

/** The changes that are left after everything was read again. */
export interface Remaining {
  /** In the order in which they are made; empty: nothing is left. */
  readonly changes: readonly Change[]
  /** The ids of the usage plans and APIs that the reading saw. */
  readonly seen: ReadonlySet<string>
}

export interface Progress {
  /** A change is about to be made. */
  begins(change: Change): void
  /** The next call waits. @param why a sentence without its end */
  waits(seconds: number, why: string): void
}

/** Reports that not all changes were made. Another run goes on where this one ended. */
export class UnfinishedError extends Error {
  override readonly name = 'UnfinishedError'
  readonly done: readonly Change[]
  readonly left: readonly Change[]

  constructor(message: string, done: readonly Change[], left: readonly Change[], cause?: unknown) {
    super(message, { cause })
    this.done = done
    this.left = left
  }
}

/** The most attempts at one change. After these, something else keeps undoing it. */
const MOST_REPEATS = 3
/** The times that one call is tried while API Gateway throttles it or makes another change. */
const MOST_TRIES = 12
/** The looks for what was just created, over about 30 seconds. */
const LOOKS = 20
/** A wait (ms) that is worth a line. */
const NOTABLE_MS = 1_500

/** The quotas of operations that make a run wait. */
const QUOTAS: Partial<Record<Write['operation'], string>> = {
  UpdateUsagePlan: 'one change of a usage plan in 20 seconds',
  UpdateAccount: 'one change of the account in 20 seconds',
  CreateDeployment: 'one deployment in 5 seconds',
  CreateRestApi: 'one new API in 3 seconds',
}

/**
 * Makes changes until none is left. After each round everything is read and planned again: that shows what others changed
 * meanwhile, gives the changes that waited their turn, and lets a deployment publish what was read last. Nothing is
 * remembered: a run that was interrupted is repeated.
 * @param plan reads what is there and returns what is left
 * @returns the changes that were made
 * @throws UnfinishedError if a call fails, others undo the changes, or `signal` aborts
 */
export async function applyChanges(
  plan: () => Promise<Remaining>,
  changes: RestApiChanges,
  progress: Progress,
  signal: AbortSignal,
): Promise<Change[]> {
  const done: Change[] = []
  const times = new Map<string, number>()
  const created = new Set<string>()
  let left: readonly Change[] = []
  for (;;) {
    left = await planWith(created, plan, done, left, signal)
    const ready = left.filter(({ write }) => write !== null)
    if (left.length === 0) return done
    if (ready.length === 0) throw new UnfinishedError('no change can be made', done, left)
    for (const change of ready) {
      const count = (times.get(change.title) ?? 0) + 1
      times.set(change.title, count)
      if (count > MOST_REPEATS)
        throw new UnfinishedError(
          `${change.title} does not stay as it was set: something else changes it`,
          done,
          left,
        )
      if (signal.aborted) throw new UnfinishedError(messageOf(signal.reason), done, left)
      progress.begins(change)
      try {
        const id = await make(change, changes, progress, signal)
        if (id !== null) created.add(id)
        done.push(change)
        left = left.filter((one) => one !== change)
      } catch (error) {
        if (isOutdated(error) && count < MOST_REPEATS && !signal.aborted) break
        throw new UnfinishedError(messageOf(signal.aborted ? signal.reason : error), done, left, error)
      }
    }
  }
}

/**
 * Plans what is left. API Gateway may list what was just created late, so that the same would be created again: then it
 * is looked for, until it is listed or nothing is to be created any more.
 * @param left the changes that the previous round did not make
 */
async function planWith(
  created: Set<string>,
  plan: () => Promise<Remaining>,
  done: readonly Change[],
  left: readonly Change[],
  signal: AbortSignal,
): Promise<readonly Change[]> {
  let looks = 0
  for (const pause of growingPauses()) {
    const { changes, seen } = await plan().catch((error: unknown) => {
      throw new UnfinishedError(messageOf(error), done, left, error)
    })
    for (const id of created) if (seen.has(id)) created.delete(id)
    if (created.size === 0 || !changes.some(isCreation)) return changes
    looks += 1
    if (looks === LOOKS || !(await pauseFor(pause, signal)))
      throw new UnfinishedError(
        `API Gateway does not list ${[...created].join(', ')} yet, which was made just now`,
        done,
        changes,
      )
  }
  throw new Error('the pauses never end')
}

/** Reports whether a change makes something that only a list shows. */
function isCreation({ write }: Pick<Change, 'write'>): boolean {
  return write?.operation === 'CreateUsagePlan' || write?.operation === 'CreateRestApi'
}

async function make(
  { write }: Change,
  changes: RestApiChanges,
  progress: Progress,
  signal: AbortSignal,
): Promise<string | null> {
  if (write === null) return null
  const { operation } = write
  for (let tries = 1; ; tries++) {
    const ms = changes.waitFor(operation)
    if (ms > NOTABLE_MS)
      progress.waits(ms / 1_000, `API Gateway takes ${QUOTAS[operation] ?? 'no more calls'}`)
    try {
      const id = await changes.make(write, signal)
      return isCreation({ write }) ? id : null
    } catch (error) {
      const pause = tries < MOST_TRIES ? pauseAfter(error) : undefined
      if (pause === undefined) throw error
      progress.waits(pause.seconds, pause.why)
      if (!(await pauseFor(pause.seconds * 1_000, signal))) throw error
    }
  }
}

/** Returns for how long and why a failed call waits before it is tried again; `undefined`: that would not help. */
function pauseAfter(error: unknown): { seconds: number; why: string } | undefined {
  if (!(error instanceof WriteError)) return undefined
  if (error.kind === 'throttled')
    return { seconds: error.retryAfter ?? 5, why: 'API Gateway is throttling the account' }
  if (error.kind === 'conflict' && isConcurrentChange(error.message))
    return { seconds: 0.5 + Math.random(), why: 'API Gateway makes another change' }
  return undefined
}

/** Reports whether a call failed in a way that a new reading explains: others changed or removed something, or no response arrived. */
function isOutdated(error: unknown): boolean {
  return error instanceof WriteError && ['conflict', 'missing', 'unclear'].includes(error.kind)
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
