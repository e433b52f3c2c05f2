import type { ImportOutcome } from '../../aws/import-keys.ts'
import type { ErrorCode } from '../../error-catalogue.ts'
import { ServiceError } from '../../errors.ts'
import { keyName } from '../key-names.ts'
import { OPENS_AT } from './circuit-breaker.ts'
import { fail } from './complete.ts'
import type { MintDeps } from './mint-deps.ts'
import { noteFailure, type PendingMint } from './mint-request.ts'
import { mintSingle } from './mint-single.ts'
import { mintUnlessImported, verifyImport } from './verify-import.ts'

/** The findings of the parts of a batch that were tried so far. */
interface Lessons {
  readonly startedAt: number
  /** API Gateway accepted an import. */
  importAccepted: boolean
  /** The first keys of the batch were tried alone. */
  isSampled: boolean
  /** Imports fail although the two single calls work. */
  importsFail: boolean
  /** The number of imports that got no response in time. */
  late: number
  /** The number of keys that an import failed for alone, although they could be minted. */
  wronglyRejected: number
  /** The number of keys that failed alone and by the two single calls, without a reason that is theirs. */
  failedAlone: number
  /** The two single calls fail as well: nothing more is tried. */
  down: unknown
}

/** After this many wrong rejections, and no accepted import, imports count as not working. */
const ENOUGH_REJECTIONS = 2
/** After this many late imports the keys of another one are minted by single calls: there is no time for more. */
const ENOUGH_LATE = 3
/** After this many keys that fail alone, and none that succeeds, API Gateway counts as down. */
const ENOUGH_ALONE = 2

/**
 * Mints the keys of pending registrations together: one import, one look-up of the plans, one commit. An import that is
 * rejected, or that fails, is split until the keys that it fails for are alone; the others are not affected. The first key, or
 * two, are tried alone at once: they show whether imports, some keys or API Gateway itself are at fault. Never throws:
 * registrations that fail are undone, and their requests rejected.
 * @param imported is called when the last import has ended, while keys are still being checked
 */
export async function mintBulk(
  deps: MintDeps,
  mints: readonly PendingMint[],
  signal: AbortSignal,
  imported: () => void,
): Promise<void> {
  const lessons: Lessons = {
    startedAt: performance.now(),
    importAccepted: false,
    isSampled: false,
    importsFail: false,
    late: 0,
    wronglyRejected: 0,
    failedAlone: 0,
    down: undefined,
  }
  /** Verifications that run while the next part is imported. */
  const verifying: Promise<void>[] = []
  await importPart(mints)
  imported()
  await Promise.all(verifying)

  async function importPart(part: readonly PendingMint[]): Promise<void> {
    const hopeful = await failHopeless(deps, part)
    const [first, second] = hopeful
    if (first === undefined) return
    if (lessons.down !== undefined) return fail(deps, hopeful, lessons.down)
    const mintSingly = () => mintUnlessImported(deps, hopeful, lessons.startedAt, signal)
    if (lessons.importsFail || !deps.importBreaker.isClosed()) return mintSingly()
    const { outcome, error } = await tryImport(deps, hopeful, signal)
    switch (outcome) {
      case 'imported':
        lessons.importAccepted = true
        verifying.push(verifyImport(deps, hopeful, signal))
        return
      case 'unsupported':
        lessons.importsFail = true
        deps.importBreaker.unsupported(error)
        return mintSingly()
      case 'failed':
        return fail(deps, hopeful, error)
      case 'late':
        lessons.late += 1
        break
      case 'refused':
        if (!isCode(error, 'key_quota_reached')) break
        return second === undefined ? fail(deps, hopeful, error) : halve(hopeful)
      case 'unclear':
    }
    if (part.length === mints.length) deps.batchSize.failed(part.length)
    if (second === undefined) return mintAlone(deps, first, { lessons, outcome, cause: error }, signal)
    if (lessons.late >= ENOUGH_LATE) return mintSingly()
    if (lessons.isSampled) return halve(hopeful)
    lessons.isSampled = true
    await importPart([first])
    if (lessons.importAccepted) return halve(hopeful.slice(1))
    await importPart([second])
    return halve(hopeful.slice(2))
  }

  async function halve(part: readonly PendingMint[]): Promise<void> {
    const middle = Math.ceil(part.length / 2)
    await importPart(part.slice(0, middle))
    await importPart(part.slice(middle))
  }
}

type Attempt = {
  readonly outcome: ImportOutcome['outcome'] | 'failed'
  readonly error?: unknown
}

async function tryImport(
  { apiGateway, batchSize }: MintDeps,
  mints: readonly PendingMint[],
  signal: AbortSignal,
): Promise<Attempt> {
  try {
    const keys = mints.map(({ registration, secrets }) => ({
      name: keyName(registration),
      description: registration.description,
      usagePlanId: registration.usagePlanId,
      value: secrets.apiKeyValue,
    }))
    const result = await apiGateway.importKeys(keys, signal)
    if (result.outcome === 'imported') {
      for (const mint of mints) mint.keyMayExist = true
      batchSize.imported(mints.length, result.ms)
    } else noteFailure(mints, result.error)
    return result
  } catch (error) {
    noteFailure(mints, error)
    batchSize.failed(mints.length)
    return { outcome: 'failed', error }
  }
}

/** Mints a key that an import fails for alone with the two single calls. If they fail too, the error is its own. */
async function mintAlone(
  deps: MintDeps,
  mint: PendingMint,
  {
    lessons,
    outcome,
    cause,
  }: { readonly lessons: Lessons; readonly outcome: Attempt['outcome']; readonly cause: unknown },
  signal: AbortSignal,
): Promise<void> {
  const { error } = await mintSingle(deps, mint, signal)
  if (error === undefined) {
    // Another late import would leave no time for the keys that wait.
    lessons.wronglyRejected += outcome === 'late' ? ENOUGH_REJECTIONS : 1
    if (!lessons.importAccepted && lessons.wronglyRejected >= ENOUGH_REJECTIONS) {
      lessons.importsFail = true
      const reason = new Error('ImportApiKeys fails for keys that CreateApiKey accepts', { cause })
      deps.importBreaker.failed(reason, OPENS_AT)
    }
  }
  if (isCode(error, 'upstream_unavailable')) {
    lessons.failedAlone += 1
    const nothingWorked = !lessons.importAccepted && lessons.wronglyRejected === 0
    if (nothingWorked && lessons.failedAlone >= ENOUGH_ALONE) lessons.down = error
  }
  if (isCode(error, 'upstream_misconfigured')) {
    const { usagePlanId } = mint.registration
    try {
      await deps.apiGateway.describePlan(usagePlanId, signal)
    } catch (planError) {
      // The key itself may be at fault: the plan fails the others only if it cannot be read either.
      if (isCode(planError, 'upstream_misconfigured')) deps.standingFaults.planFailed(usagePlanId, planError)
    }
  }
}

function isCode(error: unknown, code: ErrorCode): error is ServiceError {
  return error instanceof ServiceError && error.code === code
}

/**
 * Fails the registrations that cannot succeed, because a fault that concerns them was found since they joined the queue: by
 * an earlier part of this batch, or by another one. @returns the others
 */
async function failHopeless(deps: MintDeps, mints: readonly PendingMint[]): Promise<PendingMint[]> {
  const judged = mints.map((mint) => ({
    mint,
    error: deps.standingFaults.foundSince(mint.request.admittedAt, mint.registration.usagePlanId),
  }))
  const byCode = Map.groupBy(judged, ({ error }) => error?.code)
  for (const [code, group] of byCode) {
    const hopeless = group.map(({ mint }) => mint)
    if (code !== undefined) await fail(deps, hopeless, group[0]?.error)
  }
  return byCode.get(undefined)?.map(({ mint }) => mint) ?? []
}
