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
  assertMetadata(answer, problem.resource_metadata)
  return problem
}

/** Checks that a 401 has the URL of the resource metadata in its headers and in its body, and that no other response has it. */
export function assertMetadata({ status, headers }: Response, inBody: string | undefined): void {
  const challenged = headers.get('www-authenticate')?.match(/resource_metadata="([^"]+)"/)?.[1]
  assert.equal(challenged !== undefined, status === 401)
  assert.equal(inBody, challenged)
  if (status === 401)
    assert.equal(headers.get('link'), `<${challenged}>; rel="service-meta"; type="application/json"`)
}
