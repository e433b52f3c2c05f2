import assert from 'node:assert/strict'
import type { FaultOrder } from '../../emulator/faults.ts'
import type { OperationName } from '../../emulator/options.ts'
import { readProblem } from './problem.ts'

/** The two ways to mint. */
export type Mode = 'single' | 'bulk'

export const moments = ['before', 'after'] as const
export const kinds = ['fail', 'throttle', 'hang', 'cut', 'conflict'] as const
/** Once: the SDK's own retries meet a gateway that works again. Six times: they are used up. */
export const lengths = [1, 6]

export interface FaultCase {
  readonly name: string
  readonly mode: Mode
  readonly fault: FaultOrder
  /** With an idempotency key. */
  readonly keyed: boolean
}

/** Every kind of fault, before and after the effect, once and often, with and without an idempotency key. */
export function faultCases(operations: Record<Mode, readonly OperationName[]>): FaultCase[] {
  const cases: FaultCase[] = []
  for (const mode of ['single', 'bulk'] as const)
    for (const operation of operations[mode])
      for (const when of moments)
        for (const kind of kinds)
          for (const times of lengths)
            for (const keyed of [false, true]) {
              const name = `${mode}: ${operation} ${kind} ${when} the effect, ${times} times, ${keyed ? 'with' : 'without'} a key`
              cases.push({ name, mode, fault: { operation, when, kind, times }, keyed })
            }
  return cases
}

/** Every refusal is a problem document, and says when to come back if it is worth it. */
export async function checkRefusal(answer: Response): Promise<void> {
  const problem = await readProblem(answer)
  if (problem.retryable) assert.ok(answer.headers.has('retry-after'), 'says when to come back')
}
