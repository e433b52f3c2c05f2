import type { Stage } from '../../aws/rest-apis.ts'
import { type Facts, showTarget } from '../facts.ts'
import { type Finding, ok } from '../finding.ts'
import { showMethod } from '../options.ts'
import { restApiOf } from './api.ts'
import {
  awsCommand,
  DEPLOY_IN_TEMPLATE,
  deploy,
  escapePath,
  mend,
  patchWords,
  replace,
  updateApi,
} from './mends.ts'
import { named } from './methods.ts'
import { zeroLimits } from './plan-limits.ts'

/** Checks what lies before the methods: who may reach the API at all, and how often. */
export function checkAccess(facts: Facts): Finding[] {
  if (restApiOf(facts) === undefined) return []
  const { stages, target } = facts
  const stage = stages.known ? stages.value?.find(({ name }) => name === target.stage) : undefined
  return [
    checkPolicy(facts),
    checkPrivate(facts),
    ...checkDefaultEndpoint(facts),
    ...(stage === undefined ? [] : checkStageSettings(facts, stage)),
  ]
}

function checkPolicy({ target, ...facts }: Facts): Finding {
  const check = 'resource-policy'
  const where = { ...target }
  const { policy } = restApiOf(facts) ?? { policy: null }
  if (policy === null || allowsAll(policy))
    return ok(
      check,
      where,
      policy === null ? 'the API has no resource policy' : 'its resource policy allows all',
    )
  return {
    ...{ check, status: 'warning', where },
    message: `the API ${target.api} has a resource policy`,
    why: 'callers that it does not allow get 403, whatever key they have',
    mend: {
      ...{ by: 'operator', command: null },
      note: `check that it allows your callers; a changed policy has to be deployed. ${awsCommand('get-rest-api', '--rest-api-id', target.api)(facts.environment.region)} shows it`,
    },
  }
}

/** Reports whether a policy allows every request without a condition. */
function allowsAll(policy: string): boolean {
  try {
    const { Statement } = JSON.parse(policy) as { Statement?: unknown }
    const statements: unknown[] = Array.isArray(Statement) ? Statement : [Statement]
    return (
      statements.length > 0 &&
      statements.every((one) => {
        if (typeof one !== 'object' || one === null) return false
        const { Effect, Principal, Resource, Condition } = one as Record<string, unknown>
        const isAnybody = ['"*"', '{"AWS":"*"}', '{"AWS":["*"]}'].includes(JSON.stringify(Principal))
        const resources = [Resource].flat().map(String)
        const isAnything = resources.some((name) => /^(\*|execute-api:\/\*|arn:[^/]*\/\*)$/.test(name))
        return Effect === 'Allow' && isAnybody && isAnything && Condition === undefined
      })
    )
  } catch {
    return false
  }
}

function checkPrivate(facts: Facts): Finding {
  const check = 'private-api'
  const { api } = facts.target
  const where = { ...facts.target }
  if (restApiOf(facts)?.isPrivate !== true) return ok(check, where, 'the API is not private')
  return {
    ...{ check, status: 'warning', where },
    message: `${api} is a private API`,
    why: 'only callers in its VPC reach it, through a VPC endpoint',
    mend: {
      ...{ by: 'operator', command: null },
      note: 'run firstkey in that VPC as well, or make the API a Regional one (UpdateRestApi) and deploy it',
    },
  }
}

const ENDPOINT_IN_TEMPLATE =
  'CloudFormation, CDK and SAM: DisableExecuteApiEndpoint (disableExecuteApiEndpoint) of the API.'

function checkDefaultEndpoint(facts: Facts): Finding[] {
  const check = 'default-endpoint'
  const { target, environment, baseUrl } = facts
  const api = restApiOf(facts)
  const where = { ...target }
  if (api === undefined) return []
  if (!api.isDefaultEndpointDisabled) return [ok(check, where, 'the default endpoint is enabled')]
  if (baseUrl !== null && baseUrl.target?.api !== target.api)
    return [ok(check, where, 'the default endpoint is disabled, and API_BASE_URL is another one')]
  const isUsed = baseUrl !== null
  return [
    {
      ...{ check, status: isUsed ? 'fault' : 'warning', where },
      message: `the default endpoint of ${target.api} (execute-api) is disabled${isUsed ? ', and API_BASE_URL is that one' : ''}`,
      why: 'callers get 403 Forbidden there, whatever key they have',
      mend: mend(environment, {
        tags: api.tags,
        commands: [updateApi(target.api, replace('/disableExecuteApiEndpoint', 'false')), deploy(target)],
        inTemplate: `${ENDPOINT_IN_TEMPLATE} ${DEPLOY_IN_TEMPLATE}`,
        note: 'or set API_BASE_URL to the custom domain of the API',
      }),
    },
  ]
}

function checkStageSettings(facts: Facts, stage: Stage): Finding[] {
  const where = { ...facts.target }
  return [checkWebAcl(), checkCanary(), ...checkThrottles()]

  function checkWebAcl(): Finding {
    const check = 'web-acl'
    if (stage.webAclArn === null) return ok(check, where, 'no web ACL of AWS WAF is before the stage')
    return {
      ...{ check, status: 'warning', where },
      message: `the web ACL ${stage.webAclArn} of AWS WAF is before the stage`,
      why: 'callers whose requests it blocks get 403 Forbidden, as with a wrong key',
      mend: {
        ...{ by: 'operator', command: null },
        note: "if a key is refused, look for its requests in the web ACL's sampled requests or logs",
      },
    }
  }

  function checkCanary(): Finding {
    const check = 'canary'
    const { canary } = stage
    if (canary === null || canary.percent === 0 || canary.deploymentId === stage.deploymentId)
      return ok(check, where, 'all requests get the same deployment')
    const { api, stage: name } = facts.target
    return {
      ...{ check, status: 'warning', where },
      message: `${canary.percent} % of the requests get the canary deployment ${canary.deploymentId ?? ''}${differences(facts)}`,
      why: 'a key may work with some requests and fail with others',
      mend: mend(facts.environment, {
        tags: stage.tags,
        commands: [
          awsCommand(
            ...['update-stage', '--rest-api-id', api, '--stage-name', name],
            ...patchWords({ op: 'remove', path: '/canarySettings' }),
          ),
        ],
        inTemplate: 'CloudFormation, CDK and SAM: CanarySetting of the stage.',
        note: 'this ends the canary; or promote it',
      }),
    }
  }

  function checkThrottles(): Finding[] {
    const check = 'stage-limits'
    const findings = stage.throttles.flatMap(({ setting, ...limits }): Finding[] => {
      const zeros = zeroLimits(limits)
      if (zeros.length === 0) return []
      const { path, method } = splitSetting(setting)
      const pointer = path === '*' ? setting : `${escapePath(path)}/${method}`
      return [
        {
          ...{ check, status: 'fault' },
          where: path === '*' ? where : { ...where, path, method },
          message: `the stage throttles ${path === '*' ? 'every method' : `${method} ${path}`} to a ${zeros.join(' and a ')} of 0`,
          why: 'callers get 429 there with every key',
          mend: mend(facts.environment, {
            tags: stage.tags,
            commands: [
              awsCommand(
                ...['update-stage', '--rest-api-id', facts.target.api, '--stage-name', stage.name],
                ...patchWords(
                  ...zeros.map((zero) =>
                    replace(`/${pointer}/throttling/${zero}Limit`, zero === 'rate' ? '10' : '20'),
                  ),
                ),
              ),
            ],
            inTemplate: 'CloudFormation, CDK and SAM: MethodSettings (deployOptions) of the stage.',
            note: 'choose limits that fit your API',
          }),
        },
      ]
    })
    return findings.length > 0
      ? findings
      : [ok(check, where, `no method of ${showTarget(facts.target)} has a stage limit of 0`)]
  }
}

/** Says which methods of the canary need a key where those of the stage need none, and the other way round. */
function differences({ canary, deployed }: Facts): string {
  if (!canary.known) return `, whose methods cannot be read: ${canary.why}`
  const before = new Map((deployed.known ? (deployed.value ?? []) : []).map((one) => [showMethod(one), one]))
  const changed = (canary.value ?? []).filter(
    (one) => before.get(showMethod(one))?.apiKeyRequired !== one.apiKeyRequired,
  )
  const open = changed.filter(({ apiKeyRequired }) => !apiKeyRequired)
  const locked = changed.filter(({ apiKeyRequired }) => apiKeyRequired)
  const parts = [
    ...(open.length === 0 ? [] : [`without a key: ${named(open)}`]),
    ...(locked.length === 0 ? [] : [`with a key: ${named(locked)}`]),
  ]
  return parts.length === 0 ? '' : `, where other methods open (${parts.join('; ')})`
}

/** Splits `~1hello/GET` and `*`/`*`, as stages have it: the slashes of the path are `~1`. */
function splitSetting(setting: string): { path: string; method: string } {
  const at = setting.lastIndexOf('/')
  const path = setting.slice(0, at).replaceAll('~1', '/').replaceAll('~0', '~')
  return { path: path === '*' || path.startsWith('/') ? path : `/${path}`, method: setting.slice(at + 1) }
}
