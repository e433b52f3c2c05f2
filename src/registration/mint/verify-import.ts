import { setTimeout as sleep } from 'node:timers/promises'
import { abortAfter } from '../../abort-after.ts'
import type { FoundKey, ListedKey } from '../../aws/keys.ts'
import { growingPauses, isPassing } from '../../aws/late-lists.ts'
import { byGroup, keyNamePrefix, registrationIdOf } from '../key-names.ts'
import { completeWhenReady } from './await-ready.ts'
import { fail, failUnawaited } from './complete.ts'
import type { MintDeps } from './mint-deps.ts'
import { endOf, type PendingMint } from './mint-request.ts'
import { mintOneByOne, type SeenKey } from './mint-single.ts'

/** The time before a request is due that is kept for repairs: this, and this much for each key (ms). */
const REPAIR_MS = 1_000
const REPAIR_EACH_MS = 300
/** The looks before one of the missing keys is repaired as a sample; and the same while imports are distrusted. */
const TRUSTING_LOOKS = 3
const DISTRUSTING_LOOKS = 1

/** A registration whose key is not complete, with what was seen of the key. */
interface Unseen {
  readonly mint: PendingMint
  readonly seen: SeenKey
}

/**
 * Completes imported registrations whose keys GetUsagePlanKeys lists on their plans and GetApiKeys lists as enabled. A key
 * that a list lacks is late at first: it is followed up without holding up the next batch. Never throws: registrations that
 * fail are undone, and their requests rejected.
 */
export async function verifyImport(
  deps: MintDeps,
  mints: readonly PendingMint[],
  signal: AbortSignal,
): Promise<void> {
  const importedAt = performance.now()
  try {
    const unseen = await completeSeen(deps, mints, importedAt, signal)
    if (unseen.length === 0) return deps.importBreaker.worked()
    for (const owner of ownersOf(unseen)) deps.leases.keep(owner)
    deps.afterResponse(() => followUp(deps, unseen, { count: mints.length, importedAt }))
  } catch (error) {
    await fail(deps, mints, error)
  }
}

/**
 * Looks again for keys that an import should have created, with growing pauses, until the time of their requests is nearly
 * over. Then they are repaired by single calls. So is at once a key that is not enabled, and one of the missing keys as a
 * sample: if that was really missing or not attached, the others are repaired without more looks. Keys that were not only
 * late are the evidence against imports. Never throws.
 * @param unseen registrations whose leases are kept; their holder is removed
 * @param count the number of keys in the import; `importedAt` is when it succeeded, on the clock of `performance.now()`
 */
async function followUp(
  deps: MintDeps,
  unseen: readonly Unseen[],
  { count, importedAt }: { count: number; importedAt: number },
): Promise<void> {
  const { importBreaker, leases, timing } = deps
  // Imports of others go first: lists that stay late must not use up the quota.
  const yielding = { ...deps, apiGateway: deps.lowPriorityApiGateway }
  const startedAt = performance.now()
  const limit = abortAfter(Math.max(...unseen.map(({ mint }) => endOf(mint.request, timing))) - startedAt)
  const { signal } = limit
  const repairs: Promise<void>[] = []
  let wrong = 0
  const repair = async (some: readonly Unseen[]) => {
    const seen = new Map(some.map((one) => [one.mint.id, one.seen]))
    wrong += await mintOneByOne(deps, mintsOf(some), signal, seen)
  }
  let looksBeforeSample = importBreaker.distrust() > 0 ? DISTRUSTING_LOOKS : TRUSTING_LOOKS
  let missing = unseen
  try {
    for (const pause of growingPauses()) {
      const isHopeless = ({ mint: { request }, seen }: Unseen) => {
        const reserve = Math.min(
          (request.answerBy - startedAt) / 2,
          REPAIR_MS + REPAIR_EACH_MS * missing.length,
        )
        return wrong > 0 || seen.enabled === false || performance.now() + pause > request.answerBy - reserve
      }
      looksBeforeSample -= 1
      const { hopeless = [], late = [] } = Object.groupBy(missing, (one) =>
        isHopeless(one) ? 'hopeless' : 'late',
      )
      if (looksBeforeSample === 0) hopeless.push(...late.splice(0, 1))
      if (hopeless.length > 0) repairs.push(repair(hopeless))
      missing = late
      if (missing.length === 0) break
      await sleep(pause, undefined, { signal })
      missing = await completeSeen(yielding, mintsOf(missing), importedAt, signal)
    }
  } catch (error) {
    if (signal.aborted) await failUnawaited(deps, mintsOf(missing))
    else await fail(deps, mintsOf(missing), error)
  }
  await Promise.all(repairs)
  limit.cancel()
  for (const owner of ownersOf(unseen)) leases.drop(owner)
  if (wrong > 0) {
    const reason = `${wrong} of ${count} imported keys were missing, not enabled or not on their plan`
    importBreaker.failed(new Error(reason), wrong / count)
  } else if (repairs.length === 0) importBreaker.worked()
}

/**
 * Mints keys by single calls where imports fail. An import that reported a failure may have created keys all the same: those
 * that the lists show complete are completed, by one look. Never throws.
 * @param since the time before the first of these imports, on the clock of `performance.now()`
 */
export async function mintUnlessImported(
  deps: MintDeps,
  mints: readonly PendingMint[],
  since: number,
  signal: AbortSignal,
): Promise<void> {
  const { possible = [], none = [] } = Object.groupBy(mints, ({ keyMayExist }) =>
    keyMayExist ? 'possible' : 'none',
  )
  let left = mints
  const seen = new Map<string, SeenKey>()
  // For one key, the collision of its value tells as much.
  if (possible.length > 1)
    try {
      const unseen = await completeSeen(deps, possible, since, signal)
      for (const one of unseen) seen.set(one.mint.id, one.seen)
      left = [...mintsOf(unseen), ...none]
    } catch (err) {
      deps.log.warn({ err }, 'could not see which keys an import left: minting each of them')
    }
  await mintOneByOne(deps, left, signal, seen)
}

const ownersOf = (unseen: readonly Unseen[]) => new Set(unseen.map(({ mint }) => mint.owner))
const mintsOf = (unseen: readonly Unseen[]) => unseen.map(({ mint }) => mint)

/**
 * Completes the registrations whose keys are enabled and attached.
 * @returns the others
 * @throws ServiceError of a look that does not pass; one that passes shows nothing
 */
async function completeSeen(
  deps: MintDeps,
  mints: readonly PendingMint[],
  importedAt: number,
  signal: AbortSignal,
): Promise<Unseen[]> {
  /** By usage plan and registration. */
  const attached = new Map<string, FoundKey>()
  /** By registration. */
  const listed = new Map<string, ListedKey>()
  const looks = byGroup(mints, ({ id }) => id).flatMap((group) => {
    const prefix = keyNamePrefix(group.map(({ id }) => id))
    const plans = new Set(group.map(({ registration }) => registration.usagePlanId))
    const onPlans = [...plans].map(async (usagePlanId) => {
      const keys = await deps.apiGateway.findAttached(usagePlanId, prefix, signal)
      for (const key of keys) attached.set(`${usagePlanId} ${registrationIdOf(key.name)}`, key)
    })
    const list = deps.apiGateway.findKeys(prefix, signal).then((keys) => {
      for (const key of keys) listed.set(registrationIdOf(key.name), key)
    })
    return [...onPlans, list]
  })
  const results = await Promise.allSettled(looks)
  for (const result of results)
    if (result.status === 'rejected' && !isPassing(result.reason)) throw result.reason

  const minted = []
  const unseen: Unseen[] = []
  for (const mint of mints) {
    const onPlan = attached.get(`${mint.registration.usagePlanId} ${mint.id}`)
    const key = listed.get(mint.id)
    const seen = { id: onPlan?.id ?? key?.id, enabled: key?.enabled, attached: onPlan !== undefined }
    if (seen.id !== undefined && seen.enabled && seen.attached) minted.push({ mint, apiKeyId: seen.id })
    else unseen.push({ mint, seen })
  }
  if (minted.length > 0) {
    const plans = new Set(minted.map(({ mint }) => mint.registration.usagePlanId))
    deps.standingFaults.minted(plans, importedAt)
  }
  await completeWhenReady(deps, minted)
  return unseen
}
