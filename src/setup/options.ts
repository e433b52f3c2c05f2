import { PLAN_ID, PLAN_NAME } from '../config.ts'
import { didYouMean } from '../did-you-mean.ts'

/** A method of an API, as in `GET /hello`. */
export interface MethodName {
  readonly httpMethod: string
  readonly path: string
}

export type Period = 'DAY' | 'WEEK' | 'MONTH'

/** Requests in a day, week or month. */
export interface Quota {
  readonly limit: number
  readonly period: Period
}

/** The limits that an option names; `null`: it does not name this one. */
export interface NamedLimits {
  /** Requests a second on average. */
  readonly rate: number | null
  /** Requests at once. */
  readonly burst: number | null
  readonly quota: Quota | null
}

export interface PlanOption extends NamedLimits {
  readonly name: string
  /** The id of the usage plan that is meant, where its name alone does not say it. */
  readonly usagePlanId: string | null
}

export interface ThrottleOption {
  readonly method: MethodName
  readonly rate: number
  readonly burst: number | null
}

/** The options `--plan`, `--methods` and `--throttle` of `firstkey setup`, each as often as it was given. */
export interface SetupOptions {
  /** `null`: without `--plan`. */
  readonly plans: readonly PlanOption[] | null
  /** `null`: without `--methods`. `all`: all methods but OPTIONS, besides the named ones. */
  readonly methods: { readonly all: boolean; readonly named: readonly MethodName[] } | null
  readonly throttles: readonly ThrottleOption[]
}

/** The options as they were typed. */
export interface TypedOptions {
  readonly plan: readonly string[]
  readonly methods: readonly string[]
  readonly throttle: readonly string[]
}

/** The methods of a REST API; ANY stands for all that a resource does not have itself. */
const HTTP_METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS', 'ANY']
const PERIODS: Readonly<Record<string, Period>> = { day: 'DAY', week: 'WEEK', month: 'MONTH' }
/** The largest number that API Gateway's integers hold. */
const LARGEST = 2 ** 31 - 1
const EXAMPLE = 'rate:100,burst:250,quota:10000/day'

/** Reads the options. `faults` has everything that is wrong with them; the options are those without a fault. */
export function readOptions(typed: TypedOptions): { options: SetupOptions; faults: string[] } {
  const faults: string[] = []
  const plans: PlanOption[] = []
  for (const [i, text] of typed.plan.entries()) {
    const report = (fault: string) => void faults.push(`--plan ${text}: ${fault}`)
    const plan = readPlan(text, report)
    // Also if one of the two has other faults.
    const [name = ''] = text.split('=', 1)
    if (typed.plan.slice(0, i).some((other) => other.split('=', 1)[0] === name))
      report(`names the plan "${name}" twice`)
    else if (plan !== undefined) plans.push(plan)
  }
  const throttles: ThrottleOption[] = []
  for (const text of typed.throttle) {
    const report = (fault: string) => void faults.push(`--throttle ${text}: ${fault}`)
    const throttle = readThrottle(text, report)
    if (throttle === undefined) continue
    const { method } = throttle
    if (throttles.some((other) => isSame(other.method, method))) report(`names ${showMethod(method)} twice`)
    else throttles.push(throttle)
  }
  const named: MethodName[] = []
  for (const text of typed.methods.filter((one) => one !== 'all')) {
    const method = readMethod(text, (fault) => faults.push(`--methods ${text}: ${fault}`))
    if (method !== undefined && !named.some((other) => isSame(other, method))) named.push(method)
  }
  if (typed.throttle.length > 0 && typed.plan.length === 0)
    faults.push('--throttle sets limits within plans: name the plans too, as in --plan gold=')
  const all = typed.methods.includes('all')
  return {
    options: {
      plans: typed.plan.length === 0 ? null : plans,
      methods: typed.methods.length === 0 ? null : { all, named },
      throttles,
    },
    faults,
  }
}

export function isSame(one: MethodName, other: MethodName): boolean {
  return one.httpMethod === other.httpMethod && one.path === other.path
}

export function showMethod({ httpMethod, path }: MethodName): string {
  return `${httpMethod} ${path}`
}

type Report = (fault: string) => void

/** Passes the faults of one option on, and counts them. */
function counting(report: Report): { fail: Report; count: () => number } {
  let count = 0
  const fail: Report = (fault) => {
    count += 1
    report(fault)
  }
  return { fail, count: () => count }
}

function readPlan(text: string, report: Report): PlanOption | undefined {
  const [name = '', ...rest] = text.split('=')
  const { fail, count } = counting(report)
  if (!PLAN_NAME.test(name))
    fail(
      `"${name}" is not a name of a plan, which has lower-case letters, digits, - and _, as in gold=${EXAMPLE}` +
        ` (to use a usage plan with another name in AWS: gold=id:abc123)`,
    )
  const parts = readParts(rest.join('='), ['rate', 'burst', 'quota', 'id'], EXAMPLE, fail)
  const id = parts.get('id') ?? null
  if (id !== null && !PLAN_ID.test(id)) fail(`"${id}" is not the id of a usage plan, which is like abc123`)
  const limits = readLimits(parts, fail)
  return count() === 0 ? { name, usagePlanId: id, ...limits } : undefined
}

function readThrottle(text: string, report: Report): ThrottleOption | undefined {
  const { fail, count } = counting(report)
  // A path may have an equals sign, limits have none.
  const end = text.lastIndexOf('=')
  const example = 'rate:10,burst:20'
  if (end === -1) {
    report(`lacks its limits: it is like 'GET /hello=${example}'`)
    return undefined
  }
  const method = readMethod(text.slice(0, end), fail)
  const parts = readParts(text.slice(end + 1), ['rate', 'burst'], example, fail)
  const { rate, burst } = readLimits(parts, fail)
  if (count() === 0 && rate === null) fail(`lacks a rate: it is like 'GET /hello=${example}'`)
  return count() === 0 && method !== undefined && rate !== null ? { method, rate, burst } : undefined
}

/** Reads `key:value,…` into its known keys. */
function readParts(
  text: string,
  keys: readonly string[],
  example: string,
  report: Report,
): Map<string, string> {
  const parts = new Map<string, string>()
  if (text === '') return parts
  for (const part of text.split(',')) {
    const [key = '', ...rest] = part.trim().split(':')
    const value = rest.join(':')
    if (key === 'quota' && !keys.includes('quota')) report('a quota is a limit of a plan, not of a method')
    else if (!keys.includes(key))
      report(`"${part}" is none of ${keys.join(', ')}${didYouMean(key, keys)}, as in ${example}`)
    else if (parts.has(key)) report(`has ${key} twice`)
    else if (value === '') report(`lacks a value after ${key}, as in ${example}`)
    else parts.set(key, value)
  }
  return parts
}

function readLimits(parts: ReadonlyMap<string, string>, report: Report): NamedLimits {
  const [rate, burst, quota] = [parts.get('rate'), parts.get('burst'), parts.get('quota')]
  if (burst !== undefined && rate === undefined)
    report('has a burst without a rate, which API Gateway does not take: add rate:100, for example')
  return {
    rate: rate === undefined ? null : readNumber('rate', rate, report, true),
    burst: burst === undefined ? null : readNumber('burst', burst, report),
    quota: quota === undefined ? null : readQuota(quota, report),
  }
}

function readQuota(text: string, report: Report): Quota | null {
  const [amount = '', ...rest] = text.split('/')
  const limit = readNumber('quota', amount, report)
  const word = rest.join('/')
  const period = Object.hasOwn(PERIODS, word.toLowerCase()) ? PERIODS[word.toLowerCase()] : undefined
  if (period === undefined) {
    const known = Object.keys(PERIODS)
    report(
      word === ''
        ? `quota:${text} lacks a period: ${known.map((one) => `quota:${amount}/${one}`).join(', ')}`
        : `"${word}" is not a period: day, week or month${didYouMean(word, known)}`,
    )
  }
  return limit === null || period === undefined ? null : { limit, period }
}

function readNumber(key: string, text: string, report: Report, mayBeFraction = false): number | null {
  const number = /^\d{1,20}(\.\d{1,20})?$/.test(text) ? Number(text) : undefined
  if (/^-\d/.test(text)) report(`${key}:${text} is negative`)
  else if (number === undefined) report(`${key}:${text} is not a number like 100`)
  else if (number === 0)
    report(`${key}:${text} would refuse every request${key === 'quota' ? '' : ' with 429'}`)
  else if (!mayBeFraction && text.includes('.')) report(`${key}:${text} must be a whole number`)
  else if (number > LARGEST)
    report(`${key}:${text} is more than ${LARGEST}, the largest number that API Gateway takes`)
  else return number
  return null
}

function readMethod(text: string, report: Report): MethodName | undefined {
  const [, word = '', path = ''] = /^\s*(\S+)\s+(\S+)\s*$/.exec(text) ?? []
  const httpMethod = word.toUpperCase()
  if (word === '' || !path.startsWith('/')) {
    report(`"${text}" is not a method of an API, which is like 'GET /hello'`)
    return undefined
  }
  if (!HTTP_METHODS.includes(httpMethod)) {
    report(`"${word}" is none of ${HTTP_METHODS.join(', ')}${didYouMean(httpMethod, HTTP_METHODS)}`)
    return undefined
  }
  return { httpMethod, path }
}
