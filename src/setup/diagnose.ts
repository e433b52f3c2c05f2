import { createProbe } from '../aws/probe.ts'
import type { Method, RestApiReads } from '../aws/rest-apis.ts'
import type { GatewayConfig } from '../config.ts'
import { type Asked, findAddress } from './address.ts'
import type { Target } from './base-url.ts'
import { checkAccess } from './checks/access.ts'
import { checkAccount } from './checks/account.ts'
import { checkRestApi, checkStage, restApiOf } from './checks/api.ts'
import { checkKey } from './checks/key.ts'
import { checkKeySource, checkMethods } from './checks/methods.ts'
import { checkPlans, type NamedPlan, plansInUse } from './checks/plans.ts'
import { checkBasePath, checkProbePath, keyProbeOf, openProbe } from './checks/probe-path.ts'
import { type Facts, readAccountFacts, readApiFacts, showTarget } from './facts.ts'
import { type CheckId, checkIds, type Finding, notChecked, ok } from './finding.ts'

/** The result of a diagnosis. */
export interface Diagnosis {
  readonly targets: readonly Target[]
  /** Stages that the plans cover besides, and that were not checked. */
  readonly others: readonly Target[]
  /** In the order of the checks. */
  readonly findings: readonly Finding[]
  /** `faulty`: there is a fault. `unknown`: there is none, but no API could be read. */
  readonly result: 'healthy' | 'faulty' | 'unknown'
}

/** The subject of a diagnosis. */
export interface Question extends Asked {
  /** The value of a key; `null`: it asks about none. */
  readonly key: string | null
}

/** The time limit of the data plane (ms). */
const PROBE_MS = 15_000

/**
 * Reads an API with its stage and its plans, and checks all that must be so for a key to open it. It changes nothing.
 * @throws CannotLookError if there is nothing that it could look at
 */
export async function diagnose(
  reads: RestApiReads,
  environment: GatewayConfig,
  question: Question,
): Promise<Diagnosis> {
  const remembered = remembering(reads)
  const account = await readAccountFacts(remembered, environment, question.key)
  const address = await findAddress(remembered, account, question)
  const { targets } = address.coverage
  const facts = await Promise.all(
    targets.map(
      async (target): Promise<Facts> => ({
        ...account,
        ...(await readApiFacts(remembered, target)),
      }),
    ),
  )
  const inUse = plansInUse(account, targets)
  const ofApis = facts.flatMap((one) => checkApi(one, address.coverage.target === null ? [] : inUse))
  // A stage that is not there is on no plan either.
  const isNamed =
    address.coverage.isNamed ||
    ofApis.some(({ check, status }) => status === 'fault' && (check === 'rest-api' || check === 'stage'))
  const { baseUrl } = account
  // Plans of another Region are not here, as its APIs are not.
  const isElsewhere =
    baseUrl !== null &&
    baseUrl.region !== null &&
    baseUrl.region !== environment.region &&
    account.offered.every(({ plan }) => plan.known && plan.value === null)
  const found = [
    checkAccount(account),
    ...address.findings,
    ...(isElsewhere ? [] : checkPlans(account, { ...address.coverage, isNamed })),
    ...ofApis,
    ...(account.key === null ? [] : checkKey(account, account.key, targets)),
  ]
  const findings = withoutRepeats(await withAnswer(facts, found, question.key))
  const order = (finding: Finding) => checkIds.indexOf(finding.check)
  const isReadable = facts.some((one) => restApiOf(one) !== undefined)
  const isFaulty = findings.some(({ status }) => status === 'fault')
  return {
    ...{ targets, others: address.others },
    findings: findings.sort((one, other) => order(one) - order(other)),
    result: isFaulty ? 'faulty' : isReadable ? 'healthy' : 'unknown',
  }
}

/** All checks of one API and stage. @param plans those that are to cover it */
export function checkApi(facts: Facts, plans: readonly NamedPlan[]): Finding[] {
  const ofPath = checkBasePath(facts)
  return [
    checkRestApi(facts),
    ...checkStage(facts, plans),
    ...checkKeySource(facts),
    ...checkMethods(facts, openProbe(facts)),
    ...checkAccess(facts),
    // Below a path without methods there is none to probe either.
    ...(ofPath.length > 0 ? ofPath : checkProbePath(facts)),
  ]
}

/** Several stages of one API have some findings in common, and what is well is said only where nothing is wrong. */
function withoutRepeats(findings: readonly Finding[]): Finding[] {
  const wrong = new Set(findings.filter(({ status }) => status !== 'ok').map(({ check }) => check))
  const seen = new Set<string>()
  return findings.filter((finding) => {
    const text = JSON.stringify(finding)
    if (seen.has(text)) return false
    seen.add(text)
    return finding.status !== 'ok' || finding.check !== 'base-url' || !wrong.has('base-url')
  })
}

/** Remembers what the stages of one API have in common. */
function remembering(reads: RestApiReads): RestApiReads {
  const once = <T>(read: (id: string) => Promise<T>) => {
    const known = new Map<string, Promise<T>>()
    return (id: string) => {
      const answer = known.get(id) ?? read(id)
      known.set(id, answer)
      return answer
    }
  }
  return { ...reads, restApi: once(reads.restApi), stages: once(reads.stages), methods: once(reads.methods) }
}

/** Warnings of what may refuse a key, although its plan and the method are right. */
const SUSPECTS: readonly CheckId[] = ['authorization', 'resource-policy', 'private-api', 'web-acl', 'canary']

/** Reports whether a warning is about a probed stage and, if it is about methods, the probed one. */
function isAbout({ check, where }: Finding, target: Target, method: Method | undefined): boolean {
  if (where.api !== target.api || where.stage !== target.stage) return false
  if (check !== 'authorization') return true
  if (method === undefined || method.authorizationType === 'NONE') return false
  // Without a path it names several.
  return where.path === undefined || (where.path === method.path && where.method === method.httpMethod)
}

/** The first stage that a plan of the key covers: another one refuses it in any case. */
function openedByKey(facts: readonly Facts[]): Facts | undefined {
  return facts.find(({ key, target }) => {
    if (key === null || !key.plans.known) return facts.length === 1
    return key.plans.value.some(({ stages }) => stages.includes(showTarget(target)))
  })
}

/**
 * Asks the data plane about a key that should work by all that was read. If it refuses the key, what may have refused it there
 * becomes a fault. @returns all findings
 */
async function withAnswer(
  facts: readonly Facts[],
  found: readonly Finding[],
  key: string | null,
): Promise<readonly Finding[]> {
  const check = 'data-plane'
  const probed = openedByKey(facts)
  // Otherwise the answer follows from what is named already.
  if (key === null || probed === undefined || found.some(({ status }) => status === 'fault')) return found
  const keyProbe = keyProbeOf(probed)
  const keyId = probed.key?.key.known ? probed.key.key.value?.id : undefined
  if (keyProbe === undefined || keyId === undefined) return found
  const { url, method } = keyProbe
  const where = { keyId, ...probed.target, path: new URL(url).pathname, method: 'GET' }
  const probe = createProbe(url, probed.environment.proxies)
  const { verdict, status, error } = await probe(key, AbortSignal.timeout(PROBE_MS))
  if (verdict === 'accepted') return [...found, ok(check, where, `the API accepts the key: ${status}`)]
  if (status === undefined) {
    const why = error instanceof Error ? error.message : 'there is none'
    return [...found, notChecked(check, where, 'the answer of the API', { why, action: null })]
  }
  if (verdict === 'rejected') {
    const isSuspect = (one: Finding) =>
      one.status === 'warning' && SUSPECTS.includes(one.check) && isAbout(one, probed.target, method)
    if (found.some(isSuspect))
      return found.map((one) =>
        isSuspect(one)
          ? { ...one, status: 'fault', why: `${one.why}. GET ${where.path} refuses this key (${status})` }
          : one,
      )
    const refused: Finding = {
      ...{ check, status: 'fault', where },
      message: `the API refuses the key (${status}), although all that could be read is right`,
      why: 'a new key, a new deployment or a key that was just enabled takes from seconds to minutes to work',
      mend: {
        ...{ by: 'operator', command: null },
        note: 'wait and run this again; if it stays so, the back end or a gateway response may send the status',
      },
    }
    return [...found, refused]
  }
  const unclear: Finding = {
    ...{ check, status: 'warning', where },
    message: `the API answers ${status}, which does not tell whether it takes the key`,
    why:
      status === 429
        ? 'the rate or the quota of the key is used up; the usage that API Gateway shows is up to half an hour late'
        : 'the answer is not that of the key check',
    mend: { by: 'operator', command: null, note: 'run this again later' },
  }
  return [...found, unclear]
}
