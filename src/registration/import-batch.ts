import { ServiceError } from '../errors.ts'
import type { BatchDeps } from './batcher.ts'
import { confirm } from './confirm.ts'
import { fail } from './finish.ts'
import { keyName } from './key-name.ts'
import { mintAlone, mintOneByOne } from './mint-alone.ts'
import type { Work } from './order.ts'

/** What the parts of one batch have taught so far. */
interface Lessons {
  /** An import of some part was taken. */
  taken: boolean
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
export async function importBatch(
  deps: BatchDeps,
  works: readonly Work[],
  signal: AbortSignal,
): Promise<void> {
  const lessons: Lessons = { taken: false, wronglyRefused: 0, plans: new Map(), fatal: undefined }
  /** Looks at what was imported, while the next part is imported already. */
  const confirming: Promise<void>[] = []
  await importPart(works)
  await Promise.all(confirming)

  async function importPart(part: readonly Work[]): Promise<void> {
    const hopeful = await failHopeless(deps, part, lessons)
    if (hopeful.length === 0) return
    if (!deps.imports.holds()) return mintOneByOne(deps, hopeful, signal)
    const { outcome, error } = await tryImport(deps, hopeful, signal)
    switch (outcome) {
      case 'imported':
        lessons.taken = true
        confirming.push(confirm(deps, hopeful, signal))
        return
      case 'unsupported':
        deps.imports.lose(error)
        return importPart(hopeful)
      case 'failed':
        return fail(deps, hopeful, error, { keysMayExist: true })
      case 'refused':
        if (hopeful.length === 1) return mintRefused(deps, hopeful, lessons, signal)
        return split(hopeful)
      case 'too slow':
        return split(hopeful)
    }
  }

  async function split(part: readonly Work[]): Promise<void> {
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
  { apiGateway, batchSize }: BatchDeps,
  works: readonly Work[],
  signal: AbortSignal,
): Promise<Attempt> {
  const startedAt = performance.now()
  try {
    const keys = works.map(({ registration: { id, name, description, usagePlanId }, answer }) => ({
      name: keyName(id, name),
      description,
      usagePlanId,
      value: answer.apiKeyValue,
    }))
    const result = await apiGateway.importKeys(keys, signal)
    if (result.outcome === 'imported') batchSize.imported(works.length, performance.now() - startedAt)
    else batchSize.failed(works.length)
    return result
  } catch (error) {
    batchSize.failed(works.length)
    // Whether it took effect is unknown: imported again, in smaller parts, it only overwrites.
    const tooSlow = error instanceof ServiceError && isTimeout(error.cause) && !signal.aborted
    return { outcome: tooSlow && works.length > 1 ? 'too slow' : 'failed', error }
  }
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.name === 'TimeoutError'
}

/** One that an import refuses may be all right for the two calls; otherwise its error is its own. */
async function mintRefused(
  deps: BatchDeps,
  works: readonly Work[],
  lessons: Lessons,
  signal: AbortSignal,
): Promise<void> {
  for (const work of works) {
    const error = await mintAlone(deps, work, signal)
    if (error === undefined) lessons.wronglyRefused += 1
    else if (error instanceof ServiceError && error.code === 'key_quota_reached') lessons.fatal = error
    else if (error instanceof ServiceError && error.code === 'upstream_misconfigured') {
      const { usagePlanId } = work.registration
      // The key itself may be at fault: only a plan that cannot be read is no good to the others either.
      await deps.apiGateway
        .describePlan(usagePlanId, signal)
        .catch(() => lessons.plans.set(usagePlanId, error))
    }
    if (!lessons.taken && lessons.wronglyRefused >= ENOUGH_REFUSALS) {
      deps.imports.lose(new Error('ImportApiKeys refuses keys that CreateApiKey takes'))
    }
  }
}

/** What one part taught spares the others the same refusal. Answers those that may still succeed. */
async function failHopeless(
  deps: BatchDeps,
  works: readonly Work[],
  lessons: Lessons,
): Promise<readonly Work[]> {
  if (lessons.fatal === undefined && lessons.plans.size === 0) return works
  const reason = ({ registration }: Work) => lessons.fatal ?? lessons.plans.get(registration.usagePlanId)
  const byReason = Map.groupBy(works, reason)
  for (const [error, hopeless] of byReason) {
    if (error !== undefined) await fail(deps, hopeless, error, { keysMayExist: true })
  }
  return byReason.get(undefined) ?? []
}
