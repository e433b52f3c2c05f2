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

/** The default endpoint of an API: `{api}.execute-api.{region}.amazonaws.com/{stage}`; of a private one with its VPC endpoint's id. */
const EXECUTE_API = /^([a-z0-9]+)(?:-vpce-[a-z0-9]+)?\.execute-api(?:-fips)?\.([a-z0-9-]+)/
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
