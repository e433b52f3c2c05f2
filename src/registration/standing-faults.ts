import { kindOf } from '../aws/errors.ts'
import { changed, ServiceError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Timing } from './timing.ts'

/**
 * The faults that concern every registration, or every one on a usage plan, and that last: a full account, an API Gateway
 * that does not respond, a plan that is gone, a permission that is missing. Requests that such a fault concerns are refused
 * at once, before they cost a call, a use or a place in the queue. Now and then one is let through as a probe.
 *
 * Kept in memory: each process finds out for itself. Time is that of `performance.now()`.
 */
export interface StandingFaults {
  /**
   * Admits a new request for a key on a usage plan, possibly as a probe.
   * @throws ServiceError the fault that concerns it; if it is retryable, `retryAfter` is the time until the next probe
   */
  admit(usagePlanId: string): void
  /**
   * Returns the fault that was found, or found again, after a request was admitted at `admittedAt`, and with which the
   * request can be refused without a try; `undefined`: there is none.
   */
  foundSince(admittedAt: number, usagePlanId: string): ServiceError | undefined
  /** Notes that keys are attached which API Gateway created at `createdAt`: the faults that it had before are over. */
  minted(usagePlanIds: Iterable<string>, createdAt: number): void
  /**
   * Notes that registrations on these plans failed by one error of API Gateway.
   * @returns the error for their callers
   */
  failed(usagePlanIds: Iterable<string>, error: unknown): unknown
  /** Notes that a usage plan itself cannot be used: `error` concerns all registrations on it. */
  planFailed(usagePlanId: string, error: ServiceError): void
  /** Notes that a key was deleted: the account is not full any more. */
  keyDeleted(): void
  /** Returns the fault of a usage plan itself: a key that exists already does not work either. */
  findOfPlan(usagePlanId: string): ServiceError | undefined
  /** Returns a fault that concerns all registrations, or those on one of these plans. */
  find(usagePlanIds: Iterable<string>): ServiceError | undefined
}

interface Fault {
  error: ServiceError
  readonly since: number
  /** The time at which it was found, or found again. */
  foundAt: number
  /** The time from which the next request is let through as a probe, and the time that the one after it waits. */
  probeAt: number
  waitMs: number
  /** A probe was let through since the fault was found. */
  isProbed: boolean
  refused: number
}

/** The scope of a fault that concerns all registrations. */
const EVERYTHING = ''
/** A fault of which a single error is no proof stands after this many failures without a success. */
const ENOUGH_FAILURES = 3

export function createStandingFaults({ timing, log }: { timing: Timing; log: Log }): StandingFaults {
  const now = () => performance.now()
  const faults = new Map<string, Fault>()
  /** The failures since the last success, by scope. */
  const failures = new Map<string, number>()

  function standing(scope: string): Fault | undefined {
    const fault = faults.get(scope)
    // Without requests there is no probe: nothing says that it still stands, and /readyz must not keep requests away.
    if (fault !== undefined && now() > fault.probeAt + timing.faultProbeLongest) end(scope, 'forgotten')
    return faults.get(scope)
  }

  function find(scope: string, error: ServiceError): void {
    const fault = faults.get(scope)
    if (fault?.error.code !== error.code) {
      const fields = { code: error.code, usage_plan_id: scope === EVERYTHING ? null : scope, err: error }
      log.error(fields, 'registrations cannot succeed: refusing them at once, except for probes')
    }
    if (fault === undefined) {
      const { faultProbe } = timing
      const at = now()
      const times = { since: at, foundAt: at, probeAt: at + faultProbe, waitMs: faultProbe }
      faults.set(scope, { error, ...times, isProbed: false, refused: 0 })
      return
    }
    fault.error = error
    fault.foundAt = now()
    // Other requests that were under way when it was found fail as well: only a probe says that it still stands.
    if (!fault.isProbed) return
    fault.isProbed = false
    fault.waitMs = Math.min(2 * fault.waitMs, timing.faultProbeLongest)
    fault.probeAt = now() + fault.waitMs
  }

  function end(scope: string, why: 'a key was minted' | 'a key was deleted' | 'forgotten'): void {
    failures.delete(scope)
    const fault = faults.get(scope)
    if (fault === undefined) return
    faults.delete(scope)
    const { error, since, refused } = fault
    const fields = { code: error.code, usage_plan_id: scope === EVERYTHING ? null : scope, why, refused }
    log.info({ ...fields, seconds: Math.round((now() - since) / 1_000) }, 'registrations are admitted again')
  }

  function concerning(usagePlanId: string): Fault[] {
    if (faults.size === 0) return []
    return [EVERYTHING, usagePlanId].flatMap((scope) => standing(scope) ?? [])
  }

  function refusal({ error, probeAt }: Fault): ServiceError {
    const seconds = Math.max(1, Math.ceil((probeAt - now()) / 1_000))
    const retryAfter = error.isRetryable ? Math.max(seconds, error.retryAfter ?? 0) : undefined
    return changed(error, { retryAfter, alreadyLogged: true })
  }

  return {
    admit(usagePlanId) {
      const concerned = concerning(usagePlanId)
      const early = concerned.find(({ probeAt }) => now() < probeAt)
      if (early !== undefined) {
        early.refused += 1
        throw refusal(early)
      }
      for (const fault of concerned) {
        fault.isProbed = true
        // If the probe never reaches API Gateway, the next one follows.
        fault.probeAt = now() + fault.waitMs
      }
    },
    foundSince(admittedAt, usagePlanId) {
      const fault = concerning(usagePlanId).find(({ foundAt }) => foundAt > admittedAt)
      if (fault === undefined) return undefined
      fault.refused += 1
      return refusal(fault)
    },
    minted(usagePlanIds, createdAt) {
      for (const scope of [EVERYTHING, ...usagePlanIds]) {
        // The last key for which there was room says nothing about a full account.
        if ((faults.get(scope)?.foundAt ?? createdAt) <= createdAt) end(scope, 'a key was minted')
      }
    },
    failed(usagePlanIds, error) {
      if (!(error instanceof ServiceError) || error.alreadyLogged) return error
      const scopes = scopesOf(error, usagePlanIds)
      for (const scope of scopes) {
        const count = (failures.get(scope) ?? 0) + 1
        failures.set(scope, count)
        if (isProof(error) || count >= ENOUGH_FAILURES) find(scope, error)
      }
      const fault = scopes.flatMap((scope) => standing(scope) ?? [])[0]
      return fault === undefined ? error : refusal(fault)
    },
    planFailed: find,
    keyDeleted() {
      if (faults.get(EVERYTHING)?.error.code === 'key_quota_reached') end(EVERYTHING, 'a key was deleted')
    },
    findOfPlan(usagePlanId) {
      const fault = standing(usagePlanId)
      return fault && refusal(fault)
    },
    find(usagePlanIds) {
      const [fault] = [EVERYTHING, ...usagePlanIds].flatMap((scope) => standing(scope) ?? [])
      return fault && refusal(fault)
    },
  }
}

/** Returns what an error of API Gateway concerns: everything, the usage plans, or, if it is about one key, nothing. */
function scopesOf({ code, effect, cause }: ServiceError, usagePlanIds: Iterable<string>): string[] {
  switch (code) {
    case 'key_quota_reached':
    case 'upstream_throttled':
      return [EVERYTHING]
    case 'upstream_misconfigured':
      // One caller whose content API Gateway rejects must not shut out the others.
      return kindOf(cause) === 'rejected' ? [] : [...usagePlanIds]
    case 'upstream_unavailable':
      // Any other clear response says that API Gateway works; the failures of this service itself have no effect there.
      return effect === 'possible' || kindOf(cause) === 'credentials' ? [EVERYTHING] : []
    default:
      return []
  }
}

/** Reports whether a single error shows that the next request would fail as well: no room for a key, or no such plan. */
function isProof({ code, cause }: ServiceError): boolean {
  return code === 'key_quota_reached' || (code === 'upstream_misconfigured' && kindOf(cause) === 'missing')
}
