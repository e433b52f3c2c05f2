import type { Method } from '../../aws/rest-apis.ts'
import { RESERVED_PATHS } from '../../config.ts'
import { urlOf } from '../base-url.ts'
import { type Facts, showTarget } from '../facts.ts'
import { type Finding, notChecked, ok } from '../finding.ts'
import { showMethod } from '../options.ts'
import { restApiOf } from './api.ts'
import { DEPLOY_IN_TEMPLATE, deploy, mend, requireKey } from './mends.ts'
import { pairMethods } from './methods.ts'
import { firstOpened, isBelow, routeOf } from './routing.ts'

/** The part of the path of `API_BASE_URL` below the stage, and the probed method. */
interface Probe {
  readonly path: string
  readonly method: Method | undefined
}

/** The path below the stage to which `API_BASE_URL` leads, if it is the stage that is checked; without it ''. */
function pathOf({ leadsTo, target, baseUrl }: Facts): string | undefined {
  if (baseUrl === null) return ''
  const { target: own, path } = leadsTo
  return own?.api === target.api && own.stage === target.stage ? path : undefined
}

function probeOf(facts: Facts): Probe | undefined {
  const { environment, deployed } = facts
  const { apiProbePath } = environment
  const base = pathOf(facts)
  if (apiProbePath === null || base === undefined || !deployed.known || deployed.value === null)
    return undefined
  const path = normalized(`${base}${apiProbePath}`)
  return { path, method: routeOf(deployed.value, 'GET', path) }
}

/** Returns the name of a probed method that needs no key, as in `GET /status`: the check of the probe path names it. */
export function openProbe(facts: Facts): string | undefined {
  const method = probeOf(facts)?.method
  return method === undefined || method.apiKeyRequired ? undefined : showMethod(method)
}

/** Checks that `API_PROBE_PATH` tells a key that works from one that does not. */
export function checkProbePath(facts: Facts): Finding[] {
  const check = 'probe-path'
  const { environment, target, deployed } = facts
  const { apiProbePath: path } = environment
  const variable = { variable: 'API_PROBE_PATH' }
  const api = restApiOf(facts)
  if (path === null)
    return [ok(check, variable, 'API_PROBE_PATH is not set, so that callers cannot wait for a working key')]
  const base = pathOf(facts)
  if (api === undefined || base === undefined || (deployed.known && deployed.value === null)) return []
  const where = { ...variable, ...target, path: normalized(path) }
  if (!deployed.known)
    return [notChecked(check, where, `the deployed methods of ${showTarget(target)}`, deployed)]
  const better = firstOpened(deployed.value ?? [], base)
  const setTo = {
    by: 'operator',
    command: better === undefined ? null : `API_PROBE_PATH=${better}`,
    note:
      better === undefined
        ? 'set it to a GET method that needs a key, or unset it'
        : 'set it in the environment of the service, or unset it',
  } as const
  if (RESERVED_PATHS.includes(normalized(path)))
    return [
      {
        ...{ check, status: 'fault', where },
        message: `API_PROBE_PATH is ${path}, which API Gateway answers itself at the root of custom domains`,
        why: 'firstkey does not start with it: it would count keys as working that do not',
        mend: setTo,
      },
    ]
  const probe = probeOf(facts)
  if (probe?.method === undefined)
    return [
      {
        ...{ check, status: 'fault', where },
        message: `API_PROBE_PATH leads to GET ${probe?.path ?? path}, which is no method of ${showTarget(target)}`,
        why: 'API Gateway answers 403 there with any key, so that waiting for a working key never succeeds',
        mend: setTo,
      },
    ]
  const { method } = probe
  if (method.apiKeyRequired)
    return [
      ok(
        check,
        { ...where, path: method.path, method: method.httpMethod },
        `${showMethod(method)} needs a key`,
      ),
    ]
  const pair = pairMethods(facts).find((one) => showMethod(one) === showMethod(method))
  // The method's change, or the whole API, is named already.
  if (pair?.edited?.apiKeyRequired !== false) return []
  if ((deployed.value ?? []).every((one) => one.httpMethod === 'OPTIONS' || !one.apiKeyRequired)) return []
  const { resourceId, httpMethod } = pair
  return [
    {
      ...{ check, status: 'fault' },
      where: { ...where, path: method.path, method: httpMethod },
      message: `API_PROBE_PATH leads to ${showMethod(method)}, which needs no key`,
      why: 'it answers every key alike, so that keys count as working that do not',
      mend:
        resourceId === undefined
          ? setTo
          : mend(environment, {
              tags: api.tags,
              commands: [requireKey(target.api, { resourceId, httpMethod }, true), deploy(target)],
              inTemplate: `ApiKeyRequired of the method. ${DEPLOY_IN_TEMPLATE}`,
              note:
                better === undefined
                  ? 'or unset API_PROBE_PATH'
                  : `or, if it is open on purpose, set API_PROBE_PATH=${better}`,
            }),
    },
  ]
}

/** Checks that `API_BASE_URL` leads to methods of the API. */
export function checkBasePath(facts: Facts): Finding[] {
  const { deployed, target, environment } = facts
  const path = pathOf(facts) ?? ''
  if (path === '' || !deployed.known || deployed.value === null) return []
  if (deployed.value.length === 0 || deployed.value.some((one) => isBelow(one.path, path))) return []
  const url = environment.apiBaseUrl ?? ''
  const base = url.slice(0, Math.max(0, url.lastIndexOf(path)))
  return [
    {
      ...{
        check: 'base-url',
        status: 'fault',
        where: { variable: 'API_BASE_URL', ...target, path },
      },
      message: `API_BASE_URL leads to ${path}, below which ${showTarget(target)} has no method`,
      why: 'callers get 403 Missing Authentication Token there, with any key and without one',
      mend: {
        by: 'operator',
        command: base === '' ? null : `API_BASE_URL=${base}`,
        note: 'set it in the environment of the service',
      },
    },
  ]
}

/** Without a query, repeated slashes, and a slash at its end. */
function normalized(path: string): string {
  const [only = ''] = path.split('?', 1)
  return only.replace(/\/{2,}/g, '/').replace(/(.)\/$/, '$1')
}

/** Returns a GET method that needs a key, with its URL, to try one: that of `API_PROBE_PATH`, or any. `undefined`: none is known. */
export function keyProbeOf(facts: Facts): { url: string; method: Method | undefined } | undefined {
  const { environment, deployed, target } = facts
  const base = pathOf(facts)
  const path =
    (base === undefined ? null : environment.apiProbePath) ??
    firstOpened(deployed.known ? (deployed.value ?? []) : [], base ?? '')
  if (path === undefined) return undefined
  const isByUrl = base !== undefined && environment.apiBaseUrl !== null
  // Only AWS's own endpoint has the API at a known host.
  if (!isByUrl && environment.apiGatewayEndpoint !== undefined) return undefined
  const stage = isByUrl ? environment.apiBaseUrl.replace(/\/+$/, '') : urlOf(target, environment.region, null)
  const methods = deployed.known ? (deployed.value ?? []) : []
  return { url: `${stage}${path}`, method: routeOf(methods, 'GET', normalized(`${base ?? ''}${path}`)) }
}
