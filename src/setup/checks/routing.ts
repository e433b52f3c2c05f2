import type { Method } from '../../aws/rest-apis.ts'
import { RESERVED_PATHS } from '../../config.ts'

/**
 * Returns the method that API Gateway chooses for a request: of the resources that match its path, the one with the most
 * specific segments, and of its methods the one of the request, or ANY. `undefined`: there is none.
 */
export function routeOf(methods: readonly Method[], httpMethod: string, path: string): Method | undefined {
  const segments = segmentsOf(path)
  const matching = [...new Set(methods.map((one) => one.path))].filter((one) =>
    matches(segmentsOf(one), segments),
  )
  const [resource] = matching.sort(bySpecificity)
  const own = methods.filter((one) => one.path === resource)
  return own.find((one) => one.httpMethod === httpMethod) ?? own.find((one) => one.httpMethod === 'ANY')
}

/** Reports whether a resource is at a path or below it. */
export function isBelow(resource: string, path: string): boolean {
  const [own, wanted] = [segmentsOf(resource), segmentsOf(path)]
  for (const [i, segment] of wanted.entries()) {
    const at = own[i]
    if (at === undefined) return false
    if (isGreedy(at)) return true
    if (!isParameter(at) && at !== segment) return false
  }
  return true
}

/**
 * Returns the path below `base` of a GET method that needs a key and nothing else, for a probe; `undefined`: there is none.
 * A greedy parameter stands for any path.
 */
export function firstOpened(methods: readonly Method[], base: string): string | undefined {
  const paths = methods
    .filter(({ httpMethod, apiKeyRequired, authorizationType }) => {
      const isGet = httpMethod === 'GET' || httpMethod === 'ANY'
      return isGet && apiKeyRequired && authorizationType === 'NONE'
    })
    .map(({ path }) => path)
    .filter(
      (path) =>
        path.startsWith(`${base}/`) &&
        /^[^\s#\\]*$/.test(path) &&
        !RESERVED_PATHS.includes(path.slice(base.length)) &&
        !/\{(?!\w+\+\}$)/.test(path),
    )
  const [plain] = paths.filter((path) => !path.includes('{'))
  const [greedy] = paths
  return (plain ?? greedy?.replace(/\{\w+\+\}$/, 'status'))?.slice(base.length)
}

function segmentsOf(path: string): string[] {
  return path.split('/').filter((segment) => segment !== '')
}

const isGreedy = (segment: string) => /^\{.*\+\}$/.test(segment)
const isParameter = (segment: string) => /^\{.*\}$/.test(segment)

function matches(resource: readonly string[], path: readonly string[]): boolean {
  if (resource.length === 0) return path.length === 0
  const last = resource.at(-1) ?? ''
  if (isGreedy(last) ? path.length < resource.length : path.length !== resource.length) return false
  return resource.every((segment, i) => isParameter(segment) || segment === path[i])
}

/** Sorts literal segments before parameters, and those before greedy ones. */
function bySpecificity(one: string, other: string): number {
  const rank = (path: string) =>
    segmentsOf(path)
      .map((segment) => (isGreedy(segment) ? 2 : isParameter(segment) ? 1 : 0))
      .concat(0)
      .join('')
  return rank(one) < rank(other) ? -1 : 1
}
