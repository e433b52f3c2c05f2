import { CannotLookError, type Mapping, type RestApiReads } from '../aws/rest-apis.ts'
import { didYouMean } from '../did-you-mean.ts'
import { type Target, urlOf } from './base-url.ts'
import { addStage, awsCommand, mend, patchWords, replace, updatePlan, withoutStages } from './checks/mends.ts'
import type { Coverage } from './checks/plans.ts'
import { type AccountFacts, showTarget, targetsOf } from './facts.ts'
import { type Finding, notChecked, ok } from './finding.ts'

/** The API and the stage that an operator asks about; `null`: doctor finds them itself. */
export interface Asked {
  readonly api: string | null
  readonly stage: string | null
}

/** The stages to check, and the faults of `API_BASE_URL`. */
export interface Address {
  readonly coverage: Coverage
  readonly findings: readonly Finding[]
  /** Stages that the plans cover besides, and that are not checked. */
  readonly others: readonly Target[]
}

/** The stages that are checked at once. With more, the operator has to choose. */
const MOST_TARGETS = 10

type Reads = Pick<RestApiReads, 'restApi' | 'stages'>

/**
 * Finds the stages to check: the one that an operator asks about, the one that `API_BASE_URL` leads to, or those that the plans
 * cover.
 * @throws CannotLookError if there is none, or an operator has to choose
 */
export async function findAddress(reads: Reads, account: AccountFacts, asked: Asked): Promise<Address> {
  const ofPlans = stagesOfPlans(account)
  if (asked.api !== null || asked.stage !== null) {
    const target = await askedTarget(reads, account, asked, ofPlans)
    const { findings } = await judgeUrl(reads, account, [target])
    const isTheirs = ofPlans.some((one) => isSame(one, target))
    return {
      coverage: { target, isNamed: false, targets: [target] },
      // Another API than that of the environment: what the environment says is not about it.
      findings: isTheirs ? findings : [],
      others: [],
    }
  }
  const existing = await existingOf(reads, ofPlans.slice(0, MOST_TARGETS))
  const { target, isNamed, findings } = await judgeUrl(reads, account, existing)
  if (target !== null) {
    const others = ofPlans.filter((one) => !isSame(one, target))
    return { coverage: { target, isNamed, targets: [target] }, findings, others }
  }
  if (ofPlans.length > MOST_TARGETS)
    throw new CannotLookError(
      `the usage plans cover ${ofPlans.length} stages: choose one with --api and --stage, or set API_BASE_URL`,
    )
  const isFaulty = findings.some(({ status }) => status === 'fault')
  if (ofPlans.length === 0 && account.offered.length === 0 && !isFaulty) {
    const reason = account.plans.known
      ? 'no usage plan covers a stage'
      : `the usage plans cannot be read (${account.plans.action ?? account.plans.why})`
    throw new CannotLookError(
      `${reason}, and API_BASE_URL ${account.baseUrl === null ? 'is not set' : 'leads to no API that can be found'}: name the API with --api and --stage`,
    )
  }
  const targets = existing.length > 0 ? existing : ofPlans
  return {
    coverage: { target: null, isNamed: false, targets },
    findings: [...findings, ...staleStages(account, existing.length > 0 ? existing : ofPlans)],
    others: [],
  }
}

const isSame = (one: Target, other: Target) => one.api === other.api && one.stage === other.stage

/** The stages of the plans of `USAGE_PLANS` or, if it is not set, of all plans. */
function stagesOfPlans({ offered, plans }: AccountFacts): Target[] {
  const known =
    offered.length > 0
      ? offered.flatMap(({ plan }) => (plan.known && plan.value !== null ? [plan.value] : []))
      : plans.known
        ? plans.value
        : []
  return targetsOf(known.flatMap(({ stages }) => stages))
}

async function existingOf(reads: Reads, targets: readonly Target[]): Promise<Target[]> {
  const exist = await Promise.all(targets.map((target) => exists(reads, target)))
  return targets.filter((_, i) => exist[i])
}

/** Reports whether a stage exists; `true` if that cannot be read. */
async function exists(reads: Reads, { api, stage }: Target): Promise<boolean> {
  const found = await reads.restApi(api)
  if (found.known && (found.value === null || found.value === 'http-api')) return false
  const stages = await reads.stages(api)
  return !stages.known || (stages.value ?? []).some(({ name }) => name === stage)
}

async function askedTarget(
  reads: Reads,
  account: AccountFacts,
  { api, stage }: Asked,
  ofPlans: readonly Target[],
): Promise<Target> {
  const ofUrl = account.leadsTo.target
  const near = [...(ofUrl === null ? [] : [ofUrl]), ...ofPlans]
  if (api === null) {
    const [own] = near.filter((one) => one.stage === stage)
    const [other] = own === undefined ? near : [own]
    if (other === undefined)
      throw new CannotLookError('--stage needs --api: no plan and no API_BASE_URL names an API')
    return askedTarget(reads, account, { api: other.api, stage }, ofPlans)
  }
  const found = await reads.restApi(api)
  if (found.known && found.value === 'http-api') return { api, stage: stage ?? '' }
  const stages = await reads.stages(api)
  const { region } = account.environment
  // Each is `null` if there is no such API, and a role may be allowed to read only one of them.
  if ([found, stages].some((one) => one.known && one.value === null))
    throw new CannotLookError(
      `there is no REST API ${api} in ${region}: ids of APIs are of one account and Region, so check AWS_REGION and the credentials. An HTTP API, which has no API keys, looks the same to a role that may not read /apis/${api}`,
    )
  const names = stages.known ? (stages.value ?? []).map(({ name }) => name) : []
  if (stage === null) {
    const [own] = near.filter((one) => one.api === api)
    const [first, ...rest] = names
    if (own !== undefined) return own
    if (first !== undefined && rest.length === 0) return { api, stage: first }
    if (!stages.known)
      throw new CannotLookError(
        `the stages of the API ${api} cannot be read (${stages.action ?? stages.why}): name one with --stage`,
      )
    if (first === undefined) throw new CannotLookError(`the API ${api} ${withoutStages(api, null, region)}`)
    throw new CannotLookError(`the API ${api} has the stages ${names.join(', ')}: choose one with --stage`)
  }
  const target = { api, stage }
  const isKnown = !stages.known || names.includes(stage) || near.some((one) => isSame(one, target))
  if (isKnown) return target
  throw new CannotLookError(
    names.length === 0
      ? `the API ${api} ${withoutStages(api, stage, region)}`
      : `the API ${api} has no stage ${stage}${didYouMean(stage, names)}; its stages are ${names.join(', ')}`,
  )
}

interface Judgement {
  readonly target: Target | null
  /** `true`: `findings` names that no plan covers it. */
  readonly isNamed: boolean
  readonly findings: Finding[]
}

const VARIABLE = { variable: 'API_BASE_URL' }

/**
 * Judges where `API_BASE_URL` leads.
 * @param existing the stages that exist and that callers can open: those of the plans
 */
async function judgeUrl(
  reads: Reads,
  account: AccountFacts,
  existing: readonly Target[],
): Promise<Judgement> {
  const { baseUrl, environment, offered } = account
  const url = environment.apiBaseUrl
  const unknown = { target: null, isNamed: false }
  if (baseUrl === null || url === null)
    return {
      ...unknown,
      findings: [ok('base-url', VARIABLE, 'API_BASE_URL is not set: the stages of the plans are checked')],
    }
  const [expected] = existing
  const set = setUrl(account, expected)
  const fault = (message: string, why: string, where: object = {}): Finding => ({
    ...{ check: 'base-url', status: 'fault', where: { ...VARIABLE, ...where }, message, why, mend: set },
  })
  if (baseUrl.region !== null && baseUrl.region !== environment.region)
    return {
      ...unknown,
      findings: [
        {
          ...fault(
            `API_BASE_URL is in ${baseUrl.region}, and AWS_REGION is ${environment.region}`,
            'keys and usage plans are of one Region: callers get 403 Forbidden with every key',
          ),
          mend:
            expected === undefined
              ? {
                  ...{ by: 'operator', command: `AWS_REGION=${baseUrl.region}` },
                  note: 'set it in the environment of the service, or API_BASE_URL to an API of this Region',
                }
              : set,
        },
      ],
    }
  if (baseUrl.target?.stage === '')
    return {
      ...unknown,
      findings: [
        fault('API_BASE_URL names no stage', 'callers get 403 Forbidden, with any key and without one', {
          api: baseUrl.target.api,
        }),
      ],
    }
  if (baseUrl.domain !== null) {
    const found = judgeDomain(account, expected)
    if (found !== undefined) return { ...unknown, findings: [found] }
  }
  const { target } = account.leadsTo
  if (target === null)
    return {
      ...unknown,
      findings: [
        notChecked('base-url', VARIABLE, 'the API behind API_BASE_URL', {
          why: 'its host is no endpoint of API Gateway',
          action: null,
        }),
      ],
    }
  if (baseUrl.region !== null && new URL(url).protocol === 'http:')
    return {
      ...{ target, isNamed: false },
      findings: [
        {
          ...fault('API_BASE_URL begins with http://', 'API Gateway answers https:// alone', target),
          mend: { ...setTo(url.replace(/^http:/, 'https:')) },
        },
      ],
    }
  if (expected === undefined || existing.some((one) => isSame(one, target)))
    return {
      ...{ target, isNamed: false },
      findings: [ok('base-url', { ...VARIABLE, ...target }, `API_BASE_URL leads to ${showTarget(target)}`)],
    }
  const plans = offered.flatMap(({ name, plan }) =>
    plan.known && plan.value !== null ? [{ name, plan: plan.value }] : [],
  )
  // It is on a plan, but does not exist, or no plan is looked at.
  if (plans.length === 0 || plans.some(({ plan }) => plan.stages.includes(showTarget(target))))
    return {
      ...{ target, isNamed: false },
      findings: [ok('base-url', { ...VARIABLE, ...target }, `API_BASE_URL leads to ${showTarget(target)}`)],
    }
  const covered = existing.map(showTarget).join(', ')
  const isThere = await exists(reads, target)
  const { mapping } = account.leadsTo
  const message = `API_BASE_URL leads to ${showTarget(target)}, ${isThere ? 'which no plan covers' : 'which does not exist'}; the plans cover ${covered}`
  const why = 'callers get 403 Forbidden there with every key'
  if (mapping !== null)
    return {
      ...unknown,
      findings: [
        {
          ...{ check: 'domain-mapping', status: 'fault', where: { ...VARIABLE, ...target }, message, why },
          mend: remap(account, mapping, expected),
        },
      ],
    }
  const api = await reads.restApi(target.api)
  if (api.known && api.value === 'http-api')
    return {
      ...unknown,
      findings: [
        {
          ...fault(
            `API_BASE_URL leads to ${target.api}, which is an HTTP API; the plans cover ${covered}`,
            'HTTP APIs have no API keys and no usage plans: every caller passes, or none',
            target,
          ),
          check: 'rest-api',
        },
      ],
    }
  if (!isThere) return { ...unknown, findings: [fault(message, why, target)] }
  const [only] = plans.length === 1 ? plans : []
  return {
    ...{ target, isNamed: true },
    findings: [
      {
        ...fault(message, why, {
          ...target,
          ...(only === undefined ? {} : { plan: only.name, usagePlanId: only.plan.usagePlanId }),
        }),
        mend: mend(environment, {
          tags: only?.plan.tags ?? {},
          commands: plans.map(({ plan }) => addStage(plan.usagePlanId, target)),
          inTemplate: 'ApiStages of the usage plan.',
          note: `or, if the plans are right, set API_BASE_URL=${urlOf(expected, environment.region, url)}`,
        }),
      },
    ],
  }
}

/** Sets `API_BASE_URL` to a stage that the plans cover. */
function setUrl({ environment }: AccountFacts, expected: Target | undefined): ReturnType<typeof setTo> {
  if (expected === undefined) return setTo(null)
  return setTo(urlOf(expected, environment.region, environment.apiBaseUrl))
}

function setTo(url: string | null) {
  return {
    by: 'operator' as const,
    command: url === null ? null : `API_BASE_URL=${url}`,
    note: 'set it in the environment of the service',
  }
}

const MAPPING_IN_TEMPLATE =
  'CloudFormation, CDK and SAM: RestApiId and Stage of the AWS::ApiGateway::BasePathMapping.'

function remap({ environment, domain, baseUrl }: AccountFacts, { basePath }: Mapping, to: Target) {
  const tags = domain?.known ? (domain.value?.tags ?? {}) : {}
  return mend(environment, {
    tags,
    commands: [
      awsCommand(
        ...['update-base-path-mapping', '--domain-name', baseUrl?.domain ?? ''],
        ...['--base-path', basePath === '' ? '(none)' : basePath],
        ...patchWords(replace('/restapiId', to.api), replace('/stage', to.stage)),
      ),
    ],
    inTemplate: MAPPING_IN_TEMPLATE,
  })
}

/** Judges a custom domain that leads to no stage; `undefined`: it leads to one. */
function judgeDomain(
  { baseUrl, environment, domain, leadsTo }: AccountFacts,
  expected: Target | undefined,
): Finding | undefined {
  const check = 'domain-mapping'
  const name = baseUrl?.domain ?? ''
  if (domain === null || leadsTo.target !== null) return undefined
  if (!domain.known) return notChecked(check, VARIABLE, `the mappings of the domain ${name}`, domain)
  if (domain.value === null)
    return notChecked(check, VARIABLE, 'the API behind API_BASE_URL', {
      why: `${name} is no custom domain of API Gateway in ${environment.region}. If a proxy or a CDN is there, name the API with --api and --stage`,
      action: null,
    })
  const { mapping } = leadsTo
  const path = baseUrl?.path === '' ? '/' : (baseUrl?.path ?? '')
  const [, basePath = ''] = path.split('/')
  return {
    ...{ check, status: 'fault', where: { ...VARIABLE, path } },
    message:
      mapping === null
        ? `the custom domain ${name} maps no API at ${path}`
        : `the custom domain ${name} maps ${path} to the API ${mapping.api}, and no stage is named`,
    why: 'callers get 403 Forbidden there, with any key and without one',
    mend:
      expected === undefined || mapping !== null
        ? { by: 'operator', command: null, note: 'map the path to the API and its stage' }
        : mend(environment, {
            tags: domain.value.tags,
            commands: [
              awsCommand(
                ...['create-base-path-mapping', '--domain-name', name, '--rest-api-id', expected.api],
                ...['--stage', expected.stage, ...(basePath === '' ? [] : ['--base-path', basePath])],
              ),
            ],
            inTemplate: MAPPING_IN_TEMPLATE,
          }),
  }
}

/** Stages that plans cover and that do not exist, beside others that do: they open nothing. */
function staleStages({ offered, environment }: AccountFacts, present: readonly Target[]): Finding[] {
  return offered.flatMap(({ name, plan }): Finding[] => {
    if (!plan.known || plan.value === null) return []
    const { usagePlanId, tags, stages } = plan.value
    return targetsOf(stages)
      .filter((target) => !present.some((one) => isSame(one, target)))
      .map((target) => ({
        ...{ check: 'plan-stage', status: 'warning', where: { plan: name, usagePlanId, ...target } },
        message: `the plan "${name}" covers ${showTarget(target)}, which does not exist`,
        why: 'its keys open nothing there',
        mend: mend(environment, {
          tags,
          commands: [
            updatePlan(usagePlanId, { op: 'remove', path: '/apiStages', value: showTarget(target) }),
          ],
          inTemplate: 'ApiStages of the usage plan.',
        }),
      }))
  })
}
