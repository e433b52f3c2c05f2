import { z } from 'zod'
import { ApiError, badRequest, concurrentChange, tooManyRequests } from './api-error.ts'
import { operationNames } from './operation-names.ts'

/**
 * A failure to inject. `fail`: 500. `throttle`: 429. `conflict`: the 409 of a concurrent change. `quota`: the 429 when the
 * account's API key quota is used up. `denied`: 403. `expired`, `unrecognized`: the 403 for credentials that have expired, or
 * that AWS does not know (yet). `odd`: a 403 of a type that API Gateway does not document. `slow`: 408. `unsupported`: 404, as for an unknown operation. `unimplemented`: 501 without a
 * type, as other emulators answer. `garbled`: 200 with a page that is no JSON. `refused`: 400. `oversized`: 413. `hang`: no response until the client gives up. `half`: a few bytes of a response, then nothing more. `drip`: a response
 * without an end, a byte every 50 ms. `cut`: the connection is closed without a response.
 *
 * The others succeed, but their effect or answer is wrong. `late`: a list lacks keys, usage plans or APIs that are younger than `ms`.
 * `disabled`: the created or imported keys are not enabled. `unattached`: the keys are not on their usage plans.
 */
export const faultSchema = z.strictObject({
  operation: z.enum(operationNames),
  /** The first call that fails, counted from when the fault is ordered: 1 is the next. */
  nth: z.int().min(1).default(1),
  /** The number of consecutive calls that fail. */
  times: z.int().min(1).default(1),
  /** Before or after the operation takes effect. */
  when: z.enum(['before', 'after']),
  kind: z.enum([
    ...([
      'fail',
      'throttle',
      'conflict',
      'quota',
      'denied',
      'expired',
      'unrecognized',
      'odd',
      'slow',
      'unsupported',
      'unimplemented',
      'garbled',
      'refused',
      'oversized',
      'hang',
      'half',
      'drip',
      'cut',
    ] as const),
    ...(['late', 'disabled', 'unattached'] as const),
  ]),
  /** Only calls whose body contains this text count, and fail. */
  containing: z.string().default(''),
  /** For `late`: the time until a key, a usage plan or an API is listed, in milliseconds. */
  ms: z.int().min(0).default(1_000),
  /** For `late`, `disabled` and `unattached`: 1 for all keys; 20 for every twentieth key of the account. */
  every: z.int().min(1).default(1),
})

export type FaultOrder = z.input<typeof faultSchema>
export type Fault = z.infer<typeof faultSchema>

export interface Faults {
  order(fault: FaultOrder): void
  clear(): void
  /** Counts a call of `operation`. @returns the fault that applies to it, `undefined` if none */
  next(operation: string, body: string): Fault | undefined
}

export function createFaults(): Faults {
  let ordered: { fault: Fault; calls: number }[] = []
  return {
    order(fault) {
      ordered.push({ fault: faultSchema.parse(fault), calls: 0 })
    },
    clear() {
      ordered = []
    },
    next(operation, body) {
      let hit: Fault | undefined
      for (const entry of ordered) {
        if (entry.fault.operation !== operation || !body.includes(entry.fault.containing)) continue
        entry.calls += 1
        if (entry.calls >= entry.fault.nth && entry.calls < entry.fault.nth + entry.fault.times)
          hit ??= entry.fault
      }
      return hit
    },
  }
}

/** Reports whether a fault of this kind affects a key, a usage plan or an API. */
export function spoils(fault: Fault | undefined, kind: Fault['kind'], one: { serial: number }): boolean {
  return fault?.kind === kind && one.serial % fault.every === 0
}

/** Returns the error response of a fault; `undefined` for those that have none. */
export function faultError(kind: Fault['kind']): ApiError | undefined {
  switch (kind) {
    case 'fail':
      return new ApiError(500, 'InternalFailure', 'Internal failure')
    case 'throttle':
      return tooManyRequests(1)
    case 'conflict':
      return concurrentChange()
    case 'quota':
      return new ApiError(
        429,
        'LimitExceededException',
        'Maximum number of API keys for this account exceeded',
      )
    case 'unsupported':
      return new ApiError(404, 'UnknownOperationException', 'Unknown operation')
    case 'unimplemented':
      return new ApiError(501, '', 'Not implemented')
    case 'oversized':
      return new ApiError(413, 'RequestEntityTooLargeException', 'Request entity too large')
    case 'refused':
      return badRequest('Invalid request')
    case 'denied':
      return new ApiError(403, 'AccessDeniedException', 'User is not authorized to perform this operation')
    case 'expired':
      return new ApiError(
        403,
        'ExpiredTokenException',
        'The security token included in the request is expired',
      )
    case 'unrecognized':
      return new ApiError(
        403,
        'UnrecognizedClientException',
        'The security token included in the request is invalid.',
      )
    case 'odd':
      return new ApiError(403, 'SomethingElseException', 'Forbidden')
    case 'slow':
      return new ApiError(408, 'RequestTimeoutException', 'The request body did not arrive in time')
    case 'hang':
    case 'half':
    case 'drip':
    case 'cut':
    case 'garbled':
    case 'late':
    case 'disabled':
    case 'unattached':
      return undefined
  }
}
