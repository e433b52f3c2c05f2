import type { EditedMethod, MethodParts, RestApi, RestApiReads } from '../aws/rest-apis.ts'
import type { UsagePlan } from '../aws/usage-plans.ts'
import type { GatewayConfig } from '../config.ts'
import { type Change, type Existing, removePlan } from './changes.ts'
import { required, SetupFaults, toExisting } from './existing.ts'
import { readAccountFacts, readApiFacts } from './facts.ts'
import { isMadeBy, TAG, tagsOf } from './made-by-setup.ts'

/** The plan of a new API for which none is named. */
export const DEFAULT_PLAN = 'free=rate:10,burst:20,quota:1000/day'
export const DEFAULT_STAGE = 'prod'

const PATH_PART = 'hello'
const METHOD = { httpMethod: 'GET', path: `/${PATH_PART}` }

/** A new API as far as it was made. */
export interface NewApi {
  /** `null`: it is not made yet. */
  readonly api: RestApi | null
  /** The ids of all APIs with its tag. */
  readonly ids: readonly string[]
  /** The changes that make it, up to its method. */
  readonly skeleton: readonly Change[]
  readonly existing: Existing
}

/** Reads how far a new API was made. @throws SetupFaults if there are two; CannotLookError; Error */
export async function readNewApi(
  reads: RestApiReads,
  environment: GatewayConfig,
  name: string,
  stage: string,
): Promise<NewApi> {
  const account = await readAccountFacts(reads, environment, null)
  const { api, repeats } = await findApi(reads, name)
  const id = api?.id ?? ''
  const { resourceId, rootId, parts } = await readParts(reads, id)
  const facts =
    api === null
      ? ({ target: { api: '', stage }, ...NOTHING } as const)
      : await readApiFacts(reads, { api: id, stage })
  const existing = await toExisting(reads, account, facts, name, true)
  const made = existing.methods.some(({ path }) => path === METHOD.path)
  return {
    api,
    ids: [...(api === null ? [] : [id]), ...repeats.map((one) => one.id)],
    skeleton: [
      ...repeats.map((one) => removeApi(one, ['Two runs of this command made it at once.'])),
      ...buildSkeleton(name, { id, rootId, resourceId, parts }),
    ],
    existing: made ? existing : { ...existing, methods: [...existing.methods, METHOD_AS_MADE] },
  }
}

const METHOD_AS_MADE: EditedMethod = {
  ...METHOD,
  apiKeyRequired: true,
  authorizationType: 'NONE',
  resourceId: '',
}

const ABSENT = { known: true, value: null } as const
const NOTHING = {
  api: ABSENT,
  stages: ABSENT,
  methods: ABSENT,
  deployed: ABSENT,
  canary: ABSENT,
  deployedKeySource: ABSENT,
}

/**
 * Finds the API by its tag. Two runs at once make one each: all runs keep the one that has a stage or, before there is one,
 * the one that was created first.
 */
async function findApi(
  reads: RestApiReads,
  name: string,
): Promise<{ api: RestApi | null; repeats: RestApi[] }> {
  const apis = required(await reads.taggedApis(TAG, name), 'the APIs')
  const [first = null, ...others] = apis
  if (others.length === 0) return { api: first, repeats: [] }
  const staged: RestApi[] = []
  for (const api of apis) {
    const stages = required(await reads.stages(api.id), `the stages of ${api.id}`)
    if (stages !== null && stages.length > 0) staged.push(api)
  }
  if (staged.length > 1)
    throw new SetupFaults([
      `--new ${name}: ${staged.length} APIs have the tag ${TAG}=${name}: ${staged.map(({ id }) => id).join(', ')}. ` +
        'Remove that tag from all but one, or go on with one of them: --api ID',
    ])
  const api = staged[0] ?? first
  return { api, repeats: apis.filter((one) => one !== api) }
}

interface Skeleton {
  /** Empty: there is no API yet. */
  readonly id: string
  readonly rootId: string
  /** Empty: there is no resource yet. */
  readonly resourceId: string
  /** `null`: there is no method yet. */
  readonly parts: MethodParts | null
}

async function readParts(reads: RestApiReads, id: string): Promise<Omit<Skeleton, 'id'>> {
  const resources = id === '' ? null : required(await reads.resources(id), 'the resources')
  const [rootId = '', resourceId = ''] = [resources?.get('/'), resources?.get(METHOD.path)]
  const parts =
    resourceId === ''
      ? null
      : required(await reads.methodParts(id, resourceId, METHOD.httpMethod), 'the method GET /hello')
  return { rootId, resourceId, parts }
}

function buildSkeleton(name: string, { id, rootId, resourceId, parts }: Skeleton): Change[] {
  const changes: Change[] = []
  const answer = JSON.stringify({ message: `Hello from the ${name} API: your key works.` })
  const add = (title: string, what: string, after: string, write: Change['write']) =>
    changes.push({ title, steps: [{ what, before: '', after }], notes: [], write })
  if (id === '')
    add(`REST API ${name}`, 'API', `regional, with the tag ${TAG}=${name}`, {
      operation: 'CreateRestApi',
      input: {
        name,
        description: `Made by firstkey setup --new ${name}`,
        apiKeySource: 'HEADER',
        endpointConfiguration: { types: ['REGIONAL'] },
        tags: tagsOf(name),
      },
    })
  if (resourceId === '')
    add(`resource ${METHOD.path}`, 'path', METHOD.path, {
      operation: 'CreateResource',
      input: { restApiId: id, parentId: rootId, pathPart: PATH_PART },
    })
  const method = { restApiId: id, resourceId, httpMethod: METHOD.httpMethod }
  const ok = { ...method, statusCode: '200' }
  if (parts === null)
    add('method GET /hello', 'API key required', 'yes', {
      operation: 'PutMethod',
      input: { ...method, authorizationType: 'NONE', apiKeyRequired: true },
    })
  if (!parts?.integration)
    add('integration of GET /hello', 'type', 'mock, which needs no server', {
      operation: 'PutIntegration',
      input: { ...method, type: 'MOCK', requestTemplates: { 'application/json': '{"statusCode": 200}' } },
    })
  if (!parts?.response)
    add('response of GET /hello', 'status', '200', { operation: 'PutMethodResponse', input: ok })
  if (!parts?.integrationResponse)
    add('body of GET /hello', 'JSON', answer, {
      operation: 'PutIntegrationResponse',
      input: { ...ok, responseTemplates: { 'application/json': answer } },
    })
  // The calls name the API and the resource, whose ids only their creation tells.
  const isReady = ({ write }: Change) =>
    write?.operation === 'CreateRestApi' ||
    (id !== '' && (write?.operation === 'CreateResource' || resourceId !== ''))
  return changes.map((change) => (isReady(change) ? change : { ...change, write: null }))
}

function removeApi({ id, name }: RestApi, notes: readonly string[]): Change {
  return {
    title: `REST API ${name} (${id})`,
    steps: [{ what: 'API', before: id, after: 'deleted' }],
    notes,
    write: { operation: 'DeleteRestApi', input: { restApiId: id } },
  }
}

/** The removal of a new API and its usage plans. */
export interface Removal {
  readonly changes: readonly Change[]
  /** Reasons for which the changes need `--force`. */
  readonly objections: readonly string[]
}

/** Plans the removal of all that `--new` made: the usage plans first, since the API holds them together. */
export async function planRemoval(reads: RestApiReads, name: string): Promise<Removal> {
  const apis = required(await reads.taggedApis(TAG, name), 'the APIs')
  const plans = required(await reads.plans(), 'the usage plans')
  const own = plans.filter(({ tags }) => isMadeBy(tags, name))
  const changes: Change[] = []
  const objections: string[] = []
  for (const plan of own) {
    const keys = required(await reads.keysOn(plan.usagePlanId), 'the keys of the usage plan')
    changes.push(removePlan(plan, keys.length, []))
    if (keys.length > 0)
      objections.push(
        `the usage plan ${plan.name} (${plan.usagePlanId}) has ${keys.length} ${keys.length === 1 ? 'key' : 'keys'}, ` +
          `which would open nothing any more (revoke ${keys.length === 1 ? 'it' : 'them'} first): ${shorten(keys)}`,
      )
  }
  for (const { id } of apis)
    for (const plan of plans.filter((one) => !own.includes(one))) {
      const covered = plan.stages.filter((stage) => stage.startsWith(`${id}:`))
      if (covered.length === 0) continue
      changes.push(takeOff(plan, covered))
      objections.push(
        `the usage plan ${plan.name} (${plan.usagePlanId}), which this command did not make, covers ${covered.join(', ')}`,
      )
    }
  const waits = changes.length > 0
  for (const api of apis) changes.push({ ...removeApi(api, []), ...(waits ? { write: null } : {}) })
  return { changes, objections }
}

function takeOff({ usagePlanId, name }: UsagePlan, stages: readonly string[]): Change {
  return {
    title: `usage plan ${name} (${usagePlanId})`,
    steps: stages.map((stage) => ({ what: 'stage', before: stage, after: '' })),
    notes: [],
    write: {
      operation: 'UpdateUsagePlan',
      input: {
        usagePlanId,
        patchOperations: stages.map((value) => ({ op: 'remove' as const, path: '/apiStages', value })),
      },
    },
  }
}

/** The most names in a message. */
const MOST_NAMES = 5

function shorten(names: readonly string[]): string {
  const shown = names.slice(0, MOST_NAMES).join(', ')
  return names.length > MOST_NAMES ? `${shown} and ${names.length - MOST_NAMES} more` : shown
}
