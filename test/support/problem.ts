import assert from 'node:assert/strict'
import { type Problem, problemSchema, problemStatus } from '../../src/http/problem.ts'

const known = problemSchema.strict()

/** Reads the problem document of an error and checks what all problem documents have in common. */
export async function readProblem(answer: Response): Promise<Problem> {
  assert.match(answer.headers.get('content-type') ?? '', /^application\/problem\+json/)
  const problem = known.parse(await answer.json())
  assert.equal(problem.status, answer.status)
  assert.equal(problem.instance, answer.headers.get('x-request-id'))
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  assert.ok(Object.hasOwn(problemStatus, problem.code), problem.code)
  const retryAfter = answer.headers.get('retry-after')
  assert.equal(problem.retry_after, retryAfter === null ? undefined : Number(retryAfter))
  return problem
}
