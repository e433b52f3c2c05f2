import { z } from 'zod'
import { ApiError, badRequest, concurrentChange, tooManyRequests } from './api-error.ts'
import { operationNames } from './options.ts'

/**
 * Trouble on order. `fail`: 500. `throttle`: 429. `conflict`: the 409 of a concurrent change. `quota`: the 429 of a
 * full account. `denied`: 403. `unsupported`: 404, as where there is no such operation. `refused`: 400. `hang`: no answer until the client gives up. `cut`: the connection breaks.
 */
export const faultSchema = z.strictObject({
  operation: z.enum(operationNames),
  /** The first call that is hit, counted from the order: 1 is the next. */
  nth: z.int().min(1).default(1),
  /** How many calls in a row are hit. */
  times: z.int().min(1).default(1),
  /** Before the operation takes effect, or after it did. */
  when: z.enum(['before', 'after']),
  kind: z.enum(['fail', 'throttle', 'conflict', 'quota', 'denied', 'unsupported', 'refused', 'hang', 'cut']),
})

export type FaultOrder = z.input<typeof faultSchema>
type Fault = z.infer<typeof faultSchema>

export interface Faults {
  order(fault: FaultOrder): void
  clear(): void
  /** Counts a call of `operation` and answers the fault that hits it. */
  next(operation: string): Fault | undefined
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
    next(operation) {
      let hit: Fault | undefined
      for (const entry of ordered) {
        if (entry.fault.operation !== operation) continue
        entry.calls += 1
        if (entry.calls >= entry.fault.nth && entry.calls < entry.fault.nth + entry.fault.times)
          hit ??= entry.fault
      }
      return hit
    },
  }
}

/** The error that a fault answers with; `hang` and `cut` answer nothing. */
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
    case 'refused':
      return badRequest('Invalid request')
    case 'denied':
      return new ApiError(403, 'AccessDeniedException', 'User is not authorized to perform this operation')
    case 'hang':
    case 'cut':
      return undefined
  }
}
