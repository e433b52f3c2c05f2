import type { Method, Snapshot } from './rest-api.ts'

/** The method that serves a request, and the path of its resource. */
export interface Route {
  readonly path: string
  readonly method: Method
}

/**
 * Finds the method of a deployment for a request. As in API Gateway, a literal segment is preferred to a variable, a variable
 * to a greedy one, and a method to `ANY`.
 * @param path the path within the stage, with a leading slash
 */
export function findRoute(snapshot: Snapshot, verb: string, path: string): Route | undefined {
  const segments = segmentsOf(path)
  const found = [...snapshot.methods].flatMap(([resourcePath, methods]) => {
    const method = methods.get(verb) ?? methods.get('ANY')
    const rank = match(segmentsOf(resourcePath), segments)
    return method === undefined || rank === undefined ? [] : [{ path: resourcePath, method, rank }]
  })
  return found.sort((a, b) => (a.rank < b.rank ? -1 : 1))[0]
}

const segmentsOf = (path: string) => path.split('/').filter((segment) => segment !== '')

/** Returns a digit for each segment of the resource: 0 literal, 1 variable, 2 greedy; `undefined` if it does not match. */
function match(resource: readonly string[], request: readonly string[]): string | undefined {
  const greedy = resource.at(-1)?.endsWith('+}') === true
  if (greedy ? request.length < resource.length : request.length !== resource.length) return undefined
  const ranks = resource.map((part, i) => {
    if (part.endsWith('+}')) return '2'
    if (part.startsWith('{')) return '1'
    return part === request[i] ? '0' : '-'
  })
  return ranks.includes('-') ? undefined : ranks.join('')
}
