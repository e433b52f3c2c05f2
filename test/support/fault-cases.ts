import assert from 'node:assert/strict'
import type { FaultOrder } from '../../emulator/faults.ts'
import type { OperationName } from '../../emulator/operation-names.ts'
import { readProblem } from './problem.ts'

/** The two ways to mint: CreateApiKey and attach, or one import. */
export type MintMode = 'single' | 'bulk'

export const faultMoments = ['before', 'after'] as const
export const faultKinds = ['fail', 'throttle', 'hang', 'half', 'cut', 'conflict'] as const
/** The numbers of calls that fail. 1: the retries of the SDK succeed; 6: they are used up. */
export const faultCounts = [1, 6]

/** The operations that succeed, but with a wrong effect or an incomplete answer. */
const wrongKinds: Partial<Record<OperationName, readonly FaultOrder['kind'][]>> = {
  CreateApiKey: ['disabled'],
  ImportApiKeys: ['disabled', 'unattached'],
  GetUsagePlanKeys: ['late'],
  GetApiKeys: ['late'],
}
/** The time for which keys are listed late: shorter than the time until a late-key check. */
const LATE_MS = 200

export interface FaultCase {
  readonly name: string
  readonly mode: MintMode
  readonly fault: FaultOrder
  /** The request has an Idempotency-Key. */
  readonly isIdempotent: boolean
}

/**
 * Returns every kind of fault, before and after the effect, and every wrong effect, once and six times, with and without an
 * Idempotency-Key.
 */
export function faultCases(operations: Record<MintMode, readonly OperationName[]>): FaultCase[] {
  const cases: FaultCase[] = []
  const add = (mode: MintMode, fault: FaultOrder, title: string) => {
    for (const times of faultCounts)
      for (const isIdempotent of [false, true]) {
        const name = `${mode}: ${title}, ${times} times, ${isIdempotent ? 'with' : 'without'} Idempotency-Key`
        cases.push({ name, mode, fault: { ...fault, times }, isIdempotent })
      }
  }
  for (const mode of ['single', 'bulk'] as const)
    for (const operation of operations[mode]) {
      for (const when of faultMoments)
        for (const kind of faultKinds)
          add(mode, { operation, when, kind }, `${operation} ${kind} ${when} the effect`)
      for (const kind of wrongKinds[operation] ?? [])
        add(mode, { operation, when: 'after', kind, ms: LATE_MS }, `${operation} ${kind}`)
    }
  return cases
}

/** Asserts that an error response is a problem document, with Retry-After if it is retryable. */
export async function assertErrorResponse(answer: Response): Promise<void> {
  const problem = await readProblem(answer)
  if (problem.retryable) assert.ok(answer.headers.has('retry-after'), 'a retryable error has Retry-After')
}
