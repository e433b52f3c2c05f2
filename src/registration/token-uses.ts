import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock.ts'
import type { ClockCheck } from '../clock-check.ts'
import { ServiceError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { HeldUse, HeldUses } from '../store/minting.ts'
import type { BootstrapToken, Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import type { Deliveries } from './deliveries.ts'
import {
  hasCome,
  isAbandoned,
  isDisplaceable,
  isUnanswered,
  isUndelivered,
  isUseFinal,
  waitsForOperator,
} from './lifecycle.ts'
import { doubtOf } from './queries/doubt.ts'
import { CLOCK_MS, inSeconds, UNDO_MS, untilRecovered, untilSettled, untilTakenOver } from './retry-after.ts'
import type { Timing } from './timing.ts'

/** The held uses of a token that are read to find the one that comes back first. */
const MOST_READ = 200
/** The time for which a finding is used again (ms): a flood with a used-up token costs one reading. */
const REMEMBERED_MS = 1_000
/** The tokens whose findings are remembered. */
const MOST_REMEMBERED = 10_000
/** The time (ms) after which an operator may have decided about a registration. */
const OPERATOR_MS = 3_600_000

export interface TokenUsesDeps {
  readonly store: Pick<
    Store,
    'findHeldUses' | 'displaceUnanswered' | 'findRestore' | 'getRegistration' | 'listDue' | 'startEndings'
  >
  readonly deliveries: Pick<Deliveries, 'flush'>
  readonly clock: Clock
  readonly clockCheck: Pick<ClockCheck, 'certainNow'>
  readonly timing: Timing
  readonly log: Log
  readonly config: { readonly registerTimeoutMs: number; readonly inDoubtMs: number }
  /** Reports whether this process works on a request with this idempotency key. */
  readonly isInFlight: (keyHash: Uint8Array) => boolean
}

/** The uses of tokens that have none left. */
export interface TokenUses {
  /**
   * Explains why a request is refused whose token has no use left: `token_exhausted` if all its uses are spent for good
   * (`identity_limit_reached` if living registrations of the identity hold all of them), `token_uses_pending` if one can come back. If only registrations stand in the way whose keys no caller has received in
   * time, it displaces the oldest: its use comes back.
   * @returns `undefined`: a use is left after all
   * @throws ServiceError of the store
   */
  whyNoneLeft(token: BootstrapToken): Promise<ServiceError | undefined>
  /**
   * Returns the time (ms) until what a registration holds can be free, because it is not finished or no caller is known to
   * have received its key; `undefined`: it is not undone any more. It displaces a registration whose key no caller has received
   * in time.
   * @throws ServiceError of the store
   */
  untilFree(registration: Registration): Promise<number | undefined>
}

/** `freeAt`: when a use can be free, on the clock of `performance.now()`. */
type Finding = 'one left' | 'all spent' | { readonly freeAt: number }

export function createTokenUses(deps: TokenUsesDeps): TokenUses {
  const findings = new LRUCache<string, Promise<Finding>>({ max: MOST_REMEMBERED, ttl: REMEMBERED_MS })

  /** Requests that come together share one reading. */
  function find({ id, federation }: BootstrapToken): Promise<Finding> {
    const known = findings.get(id)
    if (known !== undefined) return known
    const finding = federation === null ? readUses(deps, id) : readPlaces(deps, id)
    findings.set(id, finding)
    const forget = () => {
      if (findings.peek(id) === finding) findings.delete(id)
    }
    // A key may expire in the next moment: then its place is free, and a refusal for good would be wrong.
    const isOver = (found: Finding) => found === 'one left' || (found === 'all spent' && federation !== null)
    finding.then((found) => isOver(found) && forget(), forget)
    return finding
  }

  return {
    async whyNoneLeft(token) {
      const { maxUses, federation } = token
      const finding = await find(token)
      if (finding === 'one left') return undefined
      if (finding === 'all spent' && federation !== null) {
        const detail = `The identity may have ${federation.maxLive} registrations at once, and has them.`
        return new ServiceError('identity_limit_reached', detail)
      }
      if (finding === 'all spent') {
        const detail =
          maxUses === 1
            ? 'The only use of the token is spent.'
            : `All ${maxUses} uses of the token are spent.`
        return new ServiceError('token_exhausted', detail)
      }
      return usesPending(finding.freeAt - performance.now())
    },
    async untilFree(found) {
      if (isUndelivered(found)) await deps.deliveries.flush()
      const one = await deps.store.getRegistration(found.id)
      if (one === undefined || one.status === 'failed') return 0
      if (isUseFinal(one)) return undefined
      const use = { registration: one, leaseUntil: null }
      if (mayDisplace(deps, use, (await deps.clockCheck.certainNow()) ?? 0)) await displace(deps, one)
      return untilFree(deps, use)
    },
  }
}

/** No use of the token is left, and one may come back. Retryable. @param ms when, in milliseconds */
export function usesPending(ms: number): ServiceError {
  const detail = 'No use of the token is left for now: some are held by registrations that are not finished.'
  return new ServiceError('token_uses_pending', detail, { retryAfter: inSeconds(ms) })
}

/** The same of a virtual token: a place is free as soon as its key has expired, also before the job that ends it comes by. */
async function readPlaces(deps: TokenUsesDeps, tokenId: string): Promise<Finding> {
  const finding = await readUses(deps, tokenId)
  if (finding !== 'all spent') return finding
  const due = await deps.store.listDue(deps.clock(), MOST_READ)
  const expired = due.filter(
    (one) => one.tokenId === tokenId && one.status === 'active' && one.endReason === null,
  )
  if (expired.length === 0)
    return due.length < MOST_READ ? finding : { freeAt: performance.now() + deps.timing.end }
  const now = await deps.clockCheck.certainNow()
  const ids = expired.map(({ id }) => id)
  if (now === undefined) return { freeAt: performance.now() + CLOCK_MS }
  if ((await deps.store.startEndings(ids, now)).length > 0) return 'one left'
  // By AWS's time they expire in a moment only.
  return { freeAt: performance.now() + REMEMBERED_MS }
}

async function readUses(deps: TokenUsesDeps, tokenId: string): Promise<Finding> {
  const { isOneLeft, held, isComplete } = await readHeld(deps, tokenId)
  if (isOneLeft) return 'one left'
  // The next reading continues where this one ended.
  if (held.length === 0) return isComplete ? 'all spent' : { freeAt: performance.now() + REMEMBERED_MS }
  const restoredAsOf = await deps.store.findRestore()
  const isWaiting = ({ registration: one }: HeldUse) =>
    one !== null && waitsForOperator(one, restoredAsOf, deps.clock())
  const own = held.filter((use) => !isWaiting(use))
  const comeBack = own.filter((use) => isLeftToUndo(use, deps.clock()))
  const displaceableAt = (now: number) => own.find((use) => mayDisplace(deps, use, now))?.registration
  let oldest = comeBack.length > 0 ? undefined : displaceableAt(deps.clock())
  // A displaced key is gone: by a clock that is ahead, a retry that is on its way would lose it.
  if (oldest) oldest = displaceableAt((await deps.clockCheck.certainNow()) ?? 0)
  if (oldest) {
    // A retry may receive its key at this moment, here or in another process: one of the two wins.
    if (!(await displace(deps, oldest))) return readUses(deps, tokenId)
  }
  const soonest = own.length === 0 ? OPERATOR_MS : Math.min(...own.map((use) => untilFree(deps, use)))
  return { freeAt: performance.now() + soonest + comeBack.length * UNDO_MS }
}

async function displace({ store, log }: TokenUsesDeps, { id, tokenId }: Registration): Promise<boolean> {
  const isDisplaced = await store.displaceUnanswered(id)
  if (isDisplaced) log.info({ registration_id: id, token_id: tokenId }, 'unanswered registration displaced')
  return isDisplaced
}

async function readHeld(deps: TokenUsesDeps, tokenId: string): Promise<HeldUses> {
  const { store, deliveries } = deps
  const found = await store.findHeldUses(tokenId, MOST_READ)
  if (!found.held.some(({ registration }) => registration !== null && isUndelivered(registration)))
    return found
  // Of those that this process answered, most are delivered, and only waited to be recorded together.
  await deliveries.flush()
  const again = await store.findHeldUses(tokenId, MOST_READ)
  return again.isComplete ? { ...again, held: again.held.filter((use) => !staysSpent(deps, use)) } : again
}

/** It is in doubt, and is not undone: its key expires before. */
function staysSpent({ clock, config, timing }: TokenUsesDeps, { registration: one }: HeldUse): boolean {
  return one !== null && doubtOf(one, clock(), config.inDoubtMs, timing)?.effect === 'expire'
}

/** Its registration is being undone, or has no worker any more: recovery undoes it, unless a retry can ask for it. */
function isLeftToUndo({ registration: one, leaseUntil }: HeldUse, now: number): boolean {
  if (one?.status === 'pending') return one.undoing || leaseUntil === null || hasCome(leaseUntil, now)
  return one !== null && isAbandoned(one)
}

function mayDisplace(deps: TokenUsesDeps, { registration: one }: HeldUse, now: number): boolean {
  return one !== null && isDisplaceable(one) && displaceableFrom(deps, one) <= now && !isRetried(deps, one)
}

function isRetried({ isInFlight }: TokenUsesDeps, { idempotency }: Registration): boolean {
  return idempotency !== null && isInFlight(idempotency.keyHash)
}

/** The time from which a new request may displace an unanswered registration. */
function displaceableFrom({ timing }: TokenUsesDeps, { endedAt, createdAt }: Registration): number {
  return (endedAt ?? createdAt) + timing.displaceAfter
}

/** The time (ms) until a use can be free, as far as can be known; otherwise the longest that it can take. */
function untilFree(deps: TokenUsesDeps, { registration: one, leaseUntil }: HeldUse): number {
  const { clock, timing, config } = deps
  // Whatever a clock does, a lease lasts no longer than this.
  const lease = leaseUntil === null ? 0 : Math.min(Math.max(0, leaseUntil - clock()), timing.lease)
  // Without a lease a living process left it to recovery.
  const untilUndone = leaseUntil === null ? untilRecovered(timing) : lease + untilTakenOver(timing)
  if (one === null) return untilUndone
  if (isUndelivered(one)) {
    const age = clock() - (one.answeredAt ?? one.createdAt)
    // At first it is only not recorded yet. Then it is in doubt, and is undone in the end.
    const doubt = doubtOf(one, clock(), config.inDoubtMs, timing)
    return doubt === null
      ? timing.inDoubtAfter - age
      : Math.max(0, doubt.until - clock()) + untilSettled(timing)
  }
  if (isUnanswered(one)) {
    const retry = isRetried(deps, one) ? config.registerTimeoutMs : 0
    const waits = isAbandoned(one) ? 0 : Math.max(retry, displaceableFrom(deps, one) - clock())
    return waits + untilRecovered(timing)
  }
  if (one.undoing || lease === 0) return untilUndone
  // Its worker lives: the key is minted by the deadline, or undone after it.
  const age = clock() - one.createdAt
  const deadlines = [config.registerTimeoutMs, config.registerTimeoutMs + timing.afterDeadline]
  const deadline = deadlines.find((ms) => ms > age) ?? age
  return Math.max(untilUndone, deadline - age + timing.undo)
}
