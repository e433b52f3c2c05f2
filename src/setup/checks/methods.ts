import type { EditedMethod, Method } from '../../aws/rest-apis.ts'
import { shellQuote } from '../../shell-quoting.ts'
import { type Facts, showTarget } from '../facts.ts'
import { type CheckId, type Finding, type Mend, notChecked, ok, type Place } from '../finding.ts'
import { showMethod } from '../options.ts'
import { restApiOf } from './api.ts'
import { type AwsCommand, DEPLOY_IN_TEMPLATE, deploy, mend, replace, requireKey, updateApi } from './mends.ts'

/** The methods that a message names; it counts the others. */
const NAMED = 5

const PREFLIGHT = 'OPTIONS'

/** A method as deployed, and as edited; `undefined`: it is not there. */
export interface MethodPair {
  readonly path: string
  readonly httpMethod: string
  readonly deployed: Method | undefined
  /** The same as `deployed` if the edited methods cannot be read. */
  readonly edited: Method | undefined
  readonly resourceId: string | undefined
}

/** Pairs the deployed methods with the edited ones. */
export function pairMethods({ deployed, methods }: Pick<Facts, 'deployed' | 'methods'>): MethodPair[] {
  const edited = new Map<string, EditedMethod>()
  for (const one of methods.known ? (methods.value ?? []) : []) edited.set(showMethod(one), one)
  const pairs: MethodPair[] = []
  for (const one of deployed.known ? (deployed.value ?? []) : []) {
    const own = edited.get(showMethod(one))
    edited.delete(showMethod(one))
    const { path, httpMethod } = one
    pairs.push({
      ...{ path, httpMethod, deployed: one, resourceId: own?.resourceId },
      edited: methods.known ? own : one,
    })
  }
  for (const one of edited.values()) {
    const { path, httpMethod, resourceId } = one
    pairs.push({ path, httpMethod, deployed: undefined, edited: one, resourceId })
  }
  return pairs
}

const KEY_IN_TEMPLATE =
  'CloudFormation: ApiKeyRequired of the AWS::ApiGateway::Method; CDK: apiKeyRequired in the options of addMethod; SAM: ' +
  'Auth: { ApiKeyRequired } of the API or the event; OpenAPI: security of the operation.'
const PREFLIGHT_IN_TEMPLATE =
  'SAM: Auth: { AddApiKeyRequiredToCorsPreflight: false }; CloudFormation: ApiKeyRequired: false of the OPTIONS method; CDK: ' +
  'addCorsPreflight leaves it open.'
const SOURCE_IN_TEMPLATE =
  'CloudFormation: ApiKeySourceType of the AWS::ApiGateway::RestApi; CDK: apiKeySourceType; SAM and OpenAPI: ' +
  'x-amazon-apigateway-api-key-source.'

/** Methods with the same fault. */
interface MethodFault {
  readonly check: CheckId
  readonly status: 'warning' | 'fault'
  readonly methods: readonly MethodPair[]
  /** As in "needs no key"; it follows the names of the methods. */
  readonly one: string
  readonly many: string
  readonly why: string
  readonly commands: readonly AwsCommand[]
  readonly inTemplate: string
  readonly note?: string
}

/** Checks which methods need a key, as deployed and as edited. @param excepted a method that another finding names */
export function checkMethods(facts: Facts, excepted: string | undefined): Finding[] {
  const api = restApiOf(facts)
  const { target, deployed, methods, environment } = facts
  if (api === undefined || (deployed.known && deployed.value === null)) return []
  const where = { ...target }
  if (!deployed.known)
    return (['key-required', 'options-open', 'not-deployed', 'authorization'] as const).map((check) =>
      notChecked(check, where, `the deployed methods of ${showTarget(target)}`, deployed),
    )
  const pairs = pairMethods(facts)
  if (pairs.every(({ httpMethod }) => httpMethod === PREFLIGHT))
    return [
      {
        ...{ check: 'key-required', status: 'fault', where },
        message: `the API ${target.api} has no methods${pairs.length === 0 ? '' : ' but OPTIONS'}`,
        why: 'callers get 403 Missing Authentication Token, with any key and without one',
        mend: { by: 'operator', command: null, note: 'give it methods that need a key, and deploy it' },
      },
    ]
  const place = (found: readonly MethodPair[]): Place => {
    const [only] = found.length === 1 ? found : []
    return only === undefined ? where : { ...where, path: only.path, method: only.httpMethod }
  }
  const toFinding = (fault: MethodFault): Finding => ({
    ...{ check: fault.check, status: fault.status, where: place(fault.methods), why: fault.why },
    message: `${named(fault.methods)} ${fault.methods.length === 1 ? fault.one : fault.many}`,
    mend: inOneCommand(
      facts,
      fault,
      mend(environment, {
        ...{ tags: api.tags, commands: fault.commands, inTemplate: fault.inTemplate },
        ...(fault.note === undefined ? {} : { note: fault.note }),
      }),
    ),
  })
  const findings = [
    ...keyFaults(facts, pairs, excepted),
    ...preflightFaults(facts, pairs),
    ...(methods.known ? undeployedFaults(facts, pairs) : []),
  ].map(toFinding)
  const silent = new Set(findings.map(({ check }) => check))
  const unread = methods.known
    ? []
    : [notChecked('not-deployed', where, `the methods of ${target.api}`, methods)]
  const good = [
    ok('key-required', where, 'every deployed method but OPTIONS needs a key'),
    ok('options-open', where, 'no OPTIONS method needs a key'),
    ...(methods.known ? [ok('not-deployed', where, 'the methods are deployed as they are edited')] : []),
  ].filter(({ check }) => !silent.has(check))
  return [...findings, ...unread, ...good, ...checkAuthorization(facts, pairs)]
}

/** Mends an API of many methods, none of which needs a key, by firstkey: one command instead of one for each of them. */
function inOneCommand({ target }: Facts, { check, status, methods }: MethodFault, each: Mend): Mend {
  const isAll = check === 'key-required' && status === 'fault'
  if (!isAll || each.by !== 'aws' || methods.length <= NAMED) return each
  const command = `firstkey setup --api ${shellQuote(target.api)} --stage ${shellQuote(target.stage)} --methods all --yes`
  return { by: 'firstkey', command, note: 'without --yes it shows what it would do' }
}

const needsKey = (method: Method | undefined) => method?.apiKeyRequired === true

/** Methods that need no key, deployed and edited alike. */
function keyFaults(
  { target }: Facts,
  pairs: readonly MethodPair[],
  excepted: string | undefined,
): MethodFault[] {
  const check = 'key-required'
  const present = pairs.filter(
    ({ httpMethod, deployed }) => httpMethod !== PREFLIGHT && deployed !== undefined,
  )
  const open = present.filter(
    ({ deployed, edited }) => !needsKey(deployed) && edited !== undefined && !needsKey(edited),
  )
  const isAll = open.length === present.length
  // With another authorization a method is not open, and was meant to have that instead.
  const others = isAll
    ? open
    : open.filter((one) => showMethod(one) !== excepted && one.deployed?.authorizationType === 'NONE')
  if (others.length === 0) return []
  return [
    {
      ...{ check, status: isAll ? 'fault' : 'warning', methods: others },
      one: isAll ? 'needs no key, and there is no other method' : 'needs no key',
      many: isAll ? 'need no key: none does' : 'need no key',
      why: isAll
        ? 'keys and plans have no effect: callers need none'
        : 'callers need no key there, and plans have no effect',
      commands: [...keyCommands(target.api, others, true), deploy(target)],
      inTemplate: `${KEY_IN_TEMPLATE} ${DEPLOY_IN_TEMPLATE}`,
      ...(isAll ? {} : { note: 'unless they are open on purpose' }),
    },
  ]
}

function keyCommands(api: string, methods: readonly MethodPair[], required: boolean): AwsCommand[] {
  return methods.flatMap(({ resourceId, httpMethod }) =>
    resourceId === undefined ? [] : [requireKey(api, { resourceId, httpMethod }, required)],
  )
}

/** OPTIONS methods that need a key, deployed and edited alike: browsers send none with a preflight. */
function preflightFaults({ target }: Facts, pairs: readonly MethodPair[]): MethodFault[] {
  const methods = pairs.filter(
    ({ httpMethod, deployed, edited }) => httpMethod === PREFLIGHT && needsKey(deployed) && needsKey(edited),
  )
  if (methods.length === 0) return []
  return [
    {
      ...{ check: 'options-open', status: 'fault', methods },
      ...{ one: 'needs a key', many: 'need a key' },
      why: "browsers send no key with a CORS preflight, so that web pages' requests fail before they are sent",
      commands: [...keyCommands(target.api, methods, false), deploy(target)],
      inTemplate: `${PREFLIGHT_IN_TEMPLATE} ${DEPLOY_IN_TEMPLATE}`,
    },
  ]
}

/** Changes that the next deployment makes. Where callers have what is right now, the change is what is wrong. */
function undeployedFaults({ target }: Facts, pairs: readonly MethodPair[]): MethodFault[] {
  const check = 'not-deployed'
  const isPreflight = ({ httpMethod }: MethodPair) => httpMethod === PREFLIGHT
  const changed = pairs.filter(
    ({ deployed, edited }) =>
      deployed !== undefined && edited !== undefined && needsKey(deployed) !== needsKey(edited),
  )
  const kinds: (Omit<MethodFault, 'check' | 'commands'> & { commands?: readonly AwsCommand[] })[] = [
    {
      status: 'fault',
      methods: changed.filter((pair) => !isPreflight(pair) && needsKey(pair.edited)),
      one: 'was changed to need a key, but that is not deployed',
      many: 'were changed to need a key, but that is not deployed',
      why: 'the stage is still open there without a key',
      inTemplate: DEPLOY_IN_TEMPLATE,
    },
    {
      status: 'fault',
      methods: changed.filter((pair) => isPreflight(pair) && !needsKey(pair.edited)),
      one: 'was changed to need no key, but that is not deployed',
      many: 'were changed to need no key, but that is not deployed',
      why: "browsers send no key with a CORS preflight, so that web pages' requests still fail",
      inTemplate: DEPLOY_IN_TEMPLATE,
    },
    {
      status: 'warning',
      methods: changed.filter((pair) => !isPreflight(pair) && !needsKey(pair.edited)),
      one: 'was changed to need no key, and that is not deployed',
      many: 'were changed to need no key, and that is not deployed',
      why: 'the stage still asks for a key there; the next deployment opens it to everybody',
      inTemplate: KEY_IN_TEMPLATE,
      note: 'this takes the change back; to open the method on purpose, deploy instead',
    },
    {
      status: 'warning',
      methods: changed.filter((pair) => isPreflight(pair) && needsKey(pair.edited)),
      one: 'was changed to need a key, and that is not deployed',
      many: 'were changed to need a key, and that is not deployed',
      why: 'the next deployment makes the CORS preflight of browsers fail',
      inTemplate: PREFLIGHT_IN_TEMPLATE,
      note: 'this takes the change back',
    },
    {
      status: 'warning',
      methods: pairs.filter(({ deployed }) => deployed === undefined),
      one: 'is new and not deployed',
      many: 'are new and not deployed',
      why: 'callers get 403 Missing Authentication Token there, with any key and without one',
      inTemplate: DEPLOY_IN_TEMPLATE,
    },
    {
      status: 'warning',
      methods: pairs.filter(({ edited }) => edited === undefined),
      one: 'was deleted, and is still deployed',
      many: 'were deleted, and are still deployed',
      why: 'callers still reach it',
      inTemplate: DEPLOY_IN_TEMPLATE,
    },
  ]
  return kinds
    .filter(({ methods }) => methods.length > 0)
    .map((kind) => ({
      ...kind,
      check,
      commands: kind.note === undefined ? [deploy(target)] : takeBack(target.api, kind.methods),
    }))
}

function takeBack(api: string, methods: readonly MethodPair[]): AwsCommand[] {
  return methods.flatMap((pair) => keyCommands(api, [pair], needsKey(pair.deployed)))
}

/** Methods that want more of a caller than a key. */
function checkAuthorization(
  { target, environment, ...facts }: Facts,
  pairs: readonly MethodPair[],
): Finding[] {
  const check = 'authorization'
  const where = { ...target }
  const wanting = pairs.filter(
    ({ deployed }) => deployed !== undefined && needsKey(deployed) && deployed.authorizationType !== 'NONE',
  )
  if (wanting.length === 0) return [ok(check, where, 'no method asks for more than a key')]
  const pending = wanting.filter(({ edited }) => edited?.authorizationType === 'NONE')
  const rest = wanting.filter(({ edited }) => edited?.authorizationType !== 'NONE')
  const kinds = [...new Set(wanting.map(({ deployed }) => deployed?.authorizationType ?? ''))].join(', ')
  const tags = restApiOf(facts)?.tags ?? {}
  const place = (methods: readonly MethodPair[]) => {
    const [only] = methods.length === 1 ? methods : []
    return only === undefined ? where : { ...where, path: only.path, method: only.httpMethod }
  }
  const why = 'a key alone does not open it: callers get 401 or 403 without the other credentials'
  return [
    ...(rest.length === 0
      ? []
      : [
          {
            ...({ check, status: 'warning', where: place(rest), why } as const),
            message: `${named(rest)} ${rest.length === 1 ? 'asks' : 'ask'} for more than a key (${kinds})`,
            mend: {
              ...({ by: 'operator', command: null } as const),
              note: 'tell callers which credentials they need besides, or set authorizationType NONE and deploy',
            },
          },
        ]),
    ...(pending.length === 0
      ? []
      : [
          {
            ...({ check, status: 'warning', where: place(pending), why } as const),
            message: `${named(pending)} still ${pending.length === 1 ? 'asks' : 'ask'} for more than a key (${kinds}): the change is not deployed`,
            mend: mend(environment, { tags, commands: [deploy(target)], inTemplate: DEPLOY_IN_TEMPLATE }),
          },
        ]),
  ]
}

/** Names methods in a message. */
export function named(methods: readonly Pick<Method, 'path' | 'httpMethod'>[]): string {
  const names = methods.slice(0, NAMED).map(showMethod).join(', ')
  return methods.length > NAMED ? `${names} and ${methods.length - NAMED} more` : names
}

/** Checks the place in which the API looks for a key: firstkey's callers send it in the header `x-api-key`. */
export function checkKeySource(facts: Facts): Finding[] {
  const check = 'key-source'
  const { target, environment, deployedKeySource, deployed } = facts
  const api = restApiOf(facts)
  if (api === undefined || (deployed.known && deployed.value === null)) return []
  const where = { ...target }
  if (!deployedKeySource.known)
    return [notChecked(check, where, `where ${showTarget(target)} looks for a key`, deployedKeySource)]
  const [now, next] = [deployedKeySource.value ?? 'HEADER', api.keySource]
  if (now === 'HEADER' && next === 'HEADER')
    return [ok(check, where, 'the stage looks for the key in the header x-api-key')]
  const change = updateApi(target.api, replace('/apiKeySource', 'HEADER'))
  // Exports may lack a deployed AUTHORIZER: only a deployment makes sure.
  const commands = next === 'HEADER' ? [deploy(target)] : [change, deploy(target)]
  const isPending = now === 'HEADER'
  return [
    {
      ...{ check, where, status: isPending ? 'warning' : 'fault' },
      message: isPending
        ? `the API's apiKeySource was changed to AUTHORIZER, and that is not deployed`
        : `the stage takes keys from an authorizer (apiKeySource AUTHORIZER)${next === 'HEADER' ? '; it was changed to HEADER, but that is not deployed' : ''}`,
      why: isPending
        ? 'after the next deployment the header x-api-key has no effect, and callers get 403 Forbidden'
        : 'the header x-api-key has no effect: callers get 403 Forbidden with any key',
      mend: mend(environment, {
        ...{ tags: api.tags, commands },
        inTemplate: `${SOURCE_IN_TEMPLATE} ${DEPLOY_IN_TEMPLATE}`,
        note: 'the deployment publishes every other edit of the API as well',
      }),
    },
  ]
}
