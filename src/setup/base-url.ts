import type { Domain, Mapping } from '../aws/rest-apis.ts'

/** A stage of a REST API. */
export interface Target {
  readonly api: string
  readonly stage: string
}

/** The meaning of `API_BASE_URL`. */
export interface BaseUrl {
  /** The API and the stage that the URL names itself; `null`: its host is a custom domain, or unknown. */
  readonly target: Target | null
  /** The Region in the URL; `null`: none. */
  readonly region: string | null
  /** The host that may be a custom domain of API Gateway; `null`: it is none. */
  readonly domain: string | null
  /** The path below the stage, or below the host of a custom domain. It has no slash at its end. */
  readonly path: string
}

/**
 * The default endpoint of an API: `{api}.execute-api.{region}.amazonaws.com/{stage}`; of a private one with its VPC endpoint's id.
 * Emulators have it below `localhost`. Any other host of this form belongs to someone else.
 */
const EXECUTE_API =
  /^([a-z0-9]+)(?:-vpce-[a-z0-9]+)?\.execute-api(?:-fips)?\.(?:([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|api\.aws)|localhost(?:\.localstack\.cloud)?)$/
const REGION = /^[a-z]{2,}(?:-[a-z]+)+-\d+$/
/** Paths of emulators, with the API, the stage and the rest. */
const EMULATORS = [
  /^\/execute-api\/([^/]+)\/([^/]+)(.*)$/,
  /^\/restapis\/([^/]+)\/([^/]+)\/_user_request_(.*)$/,
]

/** Reads what a URL of an API says of itself. @param url a valid `API_BASE_URL` */
export function parseBaseUrl(url: string): BaseUrl {
  const { hostname, pathname } = new URL(url)
  const path = decoded(pathname).replace(/\/{2,}/g, '/')
  const [, api, region = ''] = EXECUTE_API.exec(hostname) ?? []
  if (api !== undefined) {
    const [, stage = '', rest = ''] = /^\/([^/]*)(.*)$/.exec(path) ?? []
    return {
      target: { api, stage },
      region: REGION.test(region) ? region : null,
      domain: null,
      path: withoutSlash(rest),
    }
  }
  for (const form of EMULATORS) {
    const [, emulated, stage, rest = ''] = form.exec(path) ?? []
    if (emulated !== undefined && stage !== undefined)
      return { target: { api: emulated, stage }, region: null, domain: null, path: withoutSlash(rest) }
  }
  const domain = /^[\d.]+$|^\[|^localhost$|\.localhost$/.test(hostname) ? null : hostname
  return { target: null, region: null, domain, path: withoutSlash(path) }
}

/** The destination of `API_BASE_URL`. */
export interface LeadsTo {
  /** `null`: the URL is not set, is of another Region, or it is not known. */
  readonly target: Target | null
  /** The mapping of the custom domain that it takes; `null`: none. */
  readonly mapping: Mapping | null
  /** The path below the stage. */
  readonly path: string
}

/** Follows a URL to its stage. @param domain the custom domain of its host; `null`: it is none */
export function follow(baseUrl: BaseUrl | null, domain: Domain | null, region: string): LeadsTo {
  const path = baseUrl?.path ?? ''
  const nowhere = { target: null, mapping: null, path }
  if (baseUrl === null || (baseUrl.region !== null && baseUrl.region !== region)) return nowhere
  if (baseUrl.target !== null)
    return { ...nowhere, target: baseUrl.target.stage === '' ? null : baseUrl.target }
  // The longest base path decides.
  const [mapping] = (domain?.mappings ?? [])
    .filter(({ basePath }) => basePath === '' || `${path}/`.startsWith(`/${basePath}/`))
    .sort((one, other) => other.basePath.length - one.basePath.length)
  if (mapping === undefined) return nowhere
  const { api, stage, basePath } = mapping
  const rest = path.slice(basePath === '' ? 0 : basePath.length + 1)
  if (stage !== null) return { target: { api, stage }, mapping, path: rest }
  const [, named = '', below = ''] = /^\/([^/]*)(.*)$/.exec(rest) ?? []
  return { target: named === '' ? null : { api, stage: named }, mapping, path: below }
}

/** Returns the URL of a stage, in the form of an `API_BASE_URL` that names another one. */
export function urlOf({ api, stage }: Target, region: string, like: string | null): string {
  const url = like === null ? null : new URL(like)
  const form = EMULATORS.find((one) => url !== null && one.test(url.pathname))
  if (url !== null && form !== undefined) {
    const [, oldApi, oldStage, rest = ''] = form.exec(url.pathname) ?? []
    const base = url.pathname.slice(0, url.pathname.length - rest.length)
    return (
      url.origin + base.replace(`/${oldApi}/${oldStage}`, `/${api}/${stage}`) + (oldApi === api ? rest : '')
    )
  }
  return `https://${api}.execute-api.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}/${stage}`
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

function withoutSlash(path: string): string {
  return path.replace(/\/$/, '')
}
