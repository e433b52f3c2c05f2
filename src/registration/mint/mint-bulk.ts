import type { ErrorCode } from '../../error-catalogue.ts'
import { ServiceError } from '../../errors.ts'
import { keyName } from '../key-names.ts'
import { OPENS_AT } from './circuit-breaker.ts'
import { fail } from './complete.ts'
import type { MintDeps } from './mint-deps.ts'
import { noteFailure, type PendingMint } from './mint-request.ts'
import { mintOneByOne, mintSingle } from './mint-single.ts'
import { verifyImport } from './verify-import.ts'

/** The findings of the parts of a batch that were imported so far. */
interface Lessons {
  /** API Gateway accepted an import. */
  importAccepted: boolean
  /** Imports are rejected although the two single calls work. */
  importsFail: boolean
  /** An import got no response in time and was split. */
  wasHalved: boolean
  /** The number of keys that were rejected alone in an import, although they could be minted. */
  wronglyRejected: number
}

/** After this many wrong rejections, and no accepted import, imports count as not working. */
const ENOUGH_REJECTIONS = 2

/**
 * Mints the keys of pending registrations together: one import, one look-up of the plans, one commit. A rejected import is
 * split until the faulty keys are alone; the others are not affected. Never throws: registrations that fail are undone, and
 * their requests rejected.
 */
export async function mintBulk(
  deps: MintDeps,
  mints: readonly PendingMint[],
  signal: AbortSignal,
): Promise<void> {
  const lessons: Lessons = {
    importAccepted: false,
    importsFail: false,
    wasHalved: false,
    wronglyRejected: 0,
  }
  /** Verifications that run while the next part is imported. */
  const verifying: Promise<void>[] = []
  await importPart(mints)
  await Promise.all(verifying)

  async function importPart(part: readonly PendingMint[]): Promise<void> {
    const hopeful = await failHopeless(deps, part)
    const [first, second] = hopeful
    if (first === undefined) return
    if (lessons.importsFail || !deps.importBreaker.isClosed()) {
      await mintOneByOne(deps, hopeful, signal)
      return
    }
    const { outcome, error } = await tryImport(deps, hopeful, signal)
    switch (outcome) {
      case 'imported':
        lessons.importAccepted = true
        verifying.push(verifyImport(deps, hopeful, signal))
        return
      case 'unsupported':
        deps.importBreaker.failed(error, OPENS_AT)
        await mintOneByOne(deps, hopeful, signal)
        return
      case 'failed':
        return fail(deps, hopeful, error)
      case 'refused':
        if (isCode(error, 'key_quota_reached'))
          return second === undefined ? fail(deps, hopeful, error) : split(hopeful)
        if (part.length === mints.length) deps.batchSize.failed(part.length)
        return second === undefined ? mintRejected(deps, first, lessons, signal) : split(hopeful)
      case 'too slow':
        // Halves may be fast enough. If they are not either, the size is not the cause.
        if (second === undefined || lessons.wasHalved) return fail(deps, hopeful, error)
        lessons.wasHalved = true
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
    // It is unknown whether the import took effect. A second import, in smaller parts, only overwrites.
    const tooSlow = error instanceof ServiceError && isTimeout(error.cause) && !signal.aborted
    return { outcome: tooSlow ? 'too slow' : 'failed', error }
  }
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.name === 'TimeoutError'
}

/** Mints a key that an import rejects alone with the two single calls. If they fail too, the error is its own. */
async function mintRejected(
  deps: MintDeps,
  mint: PendingMint,
  lessons: Lessons,
  signal: AbortSignal,
): Promise<void> {
  const { error } = await mintSingle(deps, mint, signal)
  if (error === undefined) lessons.wronglyRejected += 1
  if (!lessons.importAccepted && lessons.wronglyRejected >= ENOUGH_REJECTIONS) {
    lessons.importsFail = true
    deps.importBreaker.failed(new Error('ImportApiKeys rejects keys that CreateApiKey accepts'), OPENS_AT)
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
