import { type ErrorCode, ServiceError } from '../../errors.ts'
import type { MintDeps } from '../deps.ts'
import { keyName } from '../key-names.ts'
import { fail } from './complete.ts'
import { noteFailure, type PendingMint } from './mint-request.ts'
import { mintOneByOne, mintSingle } from './mint-single.ts'
import { confirm } from './verify-import.ts'

/** What the parts of one batch have taught so far. */
interface Lessons {
  /** An import of some part was taken. */
  taken: boolean
  /** They do not, though the two calls do. */
  importsFail: boolean
  /** An import got no answer in time, and was tried in halves. */
  halved: boolean
  /** How many an import refused alone, though they could be minted. */
  wronglyRefused: number
  /** Why nothing of a plan can be minted, by the id of the plan. */
  readonly plans: Map<string, unknown>
  /** Why nothing at all can be. */
  fatal: unknown
}

/** This many single refusals without need, and not one success: imports do not work here. */
const ENOUGH_REFUSALS = 2

/**
 * From `pending` to the answers, for many: one import, one look at the plans, one commit. What API Gateway refuses is
 * split until the bad ones are alone; the others do not notice. Never throws: what fails is undone and answered.
 */
export async function mintBulk(
  deps: MintDeps,
  works: readonly PendingMint[],
  signal: AbortSignal,
): Promise<void> {
  const lessons: Lessons = {
    taken: false,
    importsFail: false,
    halved: false,
    wronglyRefused: 0,
    plans: new Map(),
    fatal: undefined,
  }
  /** Looks at what was imported, while the next part is imported already. */
  const confirming: Promise<void>[] = []
  await importPart(works)
  await Promise.all(confirming)

  async function importPart(part: readonly PendingMint[]): Promise<void> {
    const hopeful = await failHopeless(deps, part, lessons)
    const [first, second] = hopeful
    if (first === undefined) return
    if (lessons.importsFail || !deps.imports.holds()) return mintOneByOne(deps, hopeful, signal)
    const { outcome, error } = await tryImport(deps, hopeful, signal)
    switch (outcome) {
      case 'imported':
        lessons.taken = true
        confirming.push(confirm(deps, hopeful, signal))
        return
      case 'unsupported':
        deps.imports.lose(error)
        return mintOneByOne(deps, hopeful, signal)
      case 'failed':
        return fail(deps, hopeful, error)
      case 'refused':
        if (part.length === works.length) deps.batchSize.failed(part.length)
        return second === undefined ? mintRefused(deps, first, lessons, signal) : split(hopeful)
      case 'too slow':
        // Halves may be quick enough. If they are not either, it is not the size.
        if (second === undefined || lessons.halved) return fail(deps, hopeful, error)
        lessons.halved = true
        return split(hopeful)
    }
  }

  async function split(part: readonly PendingMint[]): Promise<void> {
    const middle = Math.ceil(part.length / 2)
    await importPart(part.slice(0, middle))
    await importPart(part.slice(middle))
  }
}

type Attempt = {
  readonly outcome: 'imported' | 'refused' | 'unsupported' | 'failed' | 'too slow'
  readonly error?: unknown
}

async function tryImport(
  { apiGateway, batchSize }: MintDeps,
  works: readonly PendingMint[],
  signal: AbortSignal,
): Promise<Attempt> {
  try {
    const keys = works.map(({ registration, answer }) => ({
      name: keyName(registration),
      description: registration.description,
      usagePlanId: registration.usagePlanId,
      value: answer.apiKeyValue,
    }))
    const result = await apiGateway.importKeys(keys, signal)
    if (result.outcome === 'imported') {
      for (const work of works) work.keyMayExist = true
      batchSize.imported(works.length, result.ms)
    } else noteFailure(works, result.error)
    return result
  } catch (error) {
    noteFailure(works, error)
    batchSize.failed(works.length)
    // Whether it took effect is unknown: imported again, in smaller parts, it only overwrites.
    const tooSlow = error instanceof ServiceError && isTimeout(error.cause) && !signal.aborted
    return { outcome: tooSlow ? 'too slow' : 'failed', error }
  }
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.name === 'TimeoutError'
}

/** One that an import refuses may be all right for the two calls; otherwise its error is its own. */
async function mintRefused(
  deps: MintDeps,
  work: PendingMint,
  lessons: Lessons,
  signal: AbortSignal,
): Promise<void> {
  const error = await mintSingle(deps, work, signal)
  if (error === undefined) lessons.wronglyRefused += 1
  if (!lessons.taken && lessons.wronglyRefused >= ENOUGH_REFUSALS) {
    lessons.importsFail = true
    deps.imports.lose(new Error('ImportApiKeys refuses keys that CreateApiKey takes'))
  }
  if (isCode(error, 'key_quota_reached')) lessons.fatal = error
  if (isCode(error, 'upstream_misconfigured')) {
    const { usagePlanId } = work.registration
    try {
      await deps.apiGateway.describePlan(usagePlanId, signal)
    } catch (planError) {
      // The key itself may be at fault: only a plan that cannot be had is no good to the others either.
      if (isCode(planError, 'upstream_misconfigured')) lessons.plans.set(usagePlanId, error)
    }
  }
}

function isCode(error: unknown, code: ErrorCode): boolean {
  return error instanceof ServiceError && error.code === code
}

/** What one part taught spares the others the same refusal. Answers those that may still succeed. */
async function failHopeless(
  deps: MintDeps,
  works: readonly PendingMint[],
  lessons: Lessons,
): Promise<readonly PendingMint[]> {
  if (lessons.fatal === undefined && lessons.plans.size === 0) return works
  const reason = ({ registration }: PendingMint) =>
    lessons.fatal ?? lessons.plans.get(registration.usagePlanId)
  const byReason = Map.groupBy(works, reason)
  for (const [error, hopeless] of byReason) {
    if (error !== undefined) await fail(deps, hopeless, error)
  }
  return byReason.get(undefined) ?? []
}
