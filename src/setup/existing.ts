import { NO_SUCH_OPERATION, type Read, type RestApi, type RestApiReads } from '../aws/rest-apis.ts'
import type { UsagePlan } from '../aws/usage-plans.ts'
import type { GatewayConfig } from '../config.ts'
import { didYouMean } from '../did-you-mean.ts'
import type { Existing } from './changes.ts'
import { withoutStages } from './checks/mends.ts'
import { type AccountFacts, type ApiFacts, readAccountFacts, readApiFacts } from './facts.ts'
import { isMadeBy } from './made-by-setup.ts'

/** Reports what is wrong with the options, all of it. Nothing was changed. */
export class SetupFaults extends Error {
  override readonly name = 'SetupFaults'
  readonly faults: readonly string[]

  constructor(faults: readonly string[]) {
    super(
      faults.length === 1
        ? faults[0]
        : `the options are not right:\n${faults.map((one) => `  ${one}`).join('\n')}`,
    )
    this.faults = faults
  }
}

/** The API that a run changes, and all that is there. */
export interface Found {
  readonly api: RestApi
  readonly existing: Existing
  /** Everything that is wrong with the choice of the stage. */
  readonly faults: readonly string[]
}

/**
 * Reads what is there before a run, or between its changes.
 * @param stage if left out, the only one
 * @throws SetupFaults if there is no such API; CannotLookError; Error if something may not be read
 */
export async function readExisting(
  reads: RestApiReads,
  environment: GatewayConfig,
  id: string,
  stage: string | undefined,
): Promise<Found> {
  const account = await readAccountFacts(reads, environment, null)
  const name = stage ?? (await onlyStage(reads, id))
  const target = { api: id, stage: name ?? '' }
  const facts = await readApiFacts(reads, target)
  const api = requireApi(facts, environment.region)
  const stages = required(facts.stages, 'the stages') ?? []
  const found = stages.find((one) => one.name === target.stage)
  const existing = await toExisting(reads, account, facts, `${id}:${target.stage}`, false)
  if (found !== undefined) return { api, existing, faults: [] }
  const fault = noSuchStage(
    id,
    stage,
    stages.map((one) => one.name),
    environment.region,
  )
  return { api, existing: { ...existing, target: { api: id, stage: '' } }, faults: [fault] }
}

/** @param mark the value of the tag of what this run makes */
export async function toExisting(
  reads: RestApiReads,
  account: AccountFacts,
  facts: ApiFacts,
  mark: string,
  ownPlansOnly: boolean,
): Promise<Existing> {
  const { target, api, stages, deployedKeySource } = facts
  const plans = required(account.plans, 'the usage plans')
  const deployed = required(facts.deployed, 'the deployment of the stage') ?? []
  const { known, value } = { value: null, ...api }
  return {
    ...{ target, mark, ownPlansOnly, plans, deployed },
    offered: account.environment.plans,
    methods: required(facts.methods, 'the methods') ?? [],
    closed: deployed.filter(({ apiKeyRequired }) => apiKeyRequired),
    keysOn: await countKeys(reads, plans, mark),
    hasUsagePlans:
      ifOffered(account.account, "the account's settings")?.features.includes('UsagePlans') ?? true,
    keySource: known && value !== null && value !== 'http-api' ? value.keySource : 'HEADER',
    stage: required(stages, 'the stages')?.find(({ name }) => name === target.stage) ?? null,
    deployedKeySource: ifOffered(deployedKeySource, 'where the stage looks for a key'),
  }
}

/** Returns `null` for a read that the endpoint does not have. @throws Error with the permission that is missing */
function ifOffered<T>(read: Read<T>, what: string): T | null {
  return !read.known && read.why === NO_SUCH_OPERATION ? null : required(read, what)
}

/** @throws Error with the permission that is missing */
export function required<T>(read: Read<T>, what: string): T {
  if (read.known) return read.value
  throw new Error(
    read.action === null
      ? `cannot read ${what}: ${read.why}`
      : `cannot read ${what}: the role lacks ${read.action}`,
  )
}

function requireApi({ api: read, target }: ApiFacts, region: string): RestApi {
  const api = required(read, `the API ${target.api}`)
  if (api === 'http-api')
    throw new SetupFaults([
      `--api ${target.api}: this is an HTTP API, and HTTP APIs have no API keys: a REST API has`,
    ])
  if (api !== null) return api
  throw new SetupFaults([
    `--api ${target.api}: there is no such API in ${region}. Each Region has its own: set AWS_REGION to that of the API, or list ` +
      `those of ${region} with: aws apigateway get-rest-apis --region ${region} --query 'items[].[id,name]' --output text. ` +
      `An HTTP API, which has no API keys, looks the same to a role that may not read /apis/${target.api}`,
  ])
}

async function onlyStage(reads: RestApiReads, api: string): Promise<string | undefined> {
  const stages = await reads.stages(api)
  const [only, ...others] = stages.known ? (stages.value ?? []) : []
  return others.length === 0 ? only?.name : undefined
}

function noSuchStage(
  api: string,
  stage: string | undefined,
  names: readonly string[],
  region: string,
): string {
  if (names.length === 0) return `--api ${api}: this API ${withoutStages(api, stage ?? null, region)}`
  const list = `its stages are ${names.join(', ')}`
  return stage === undefined
    ? `--stage is missing: the API ${api} has several, ${names.join(', ')}`
    : `--stage ${stage}: the API ${api} has no such stage${didYouMean(stage, names)}: ${list}`
}

/** Counts the keys on the usage plans that this command made once too often, so that one of them can be deleted. */
async function countKeys(
  reads: RestApiReads,
  plans: readonly UsagePlan[],
  mark: string,
): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  for (const { usagePlanId, name, tags } of plans) {
    if (!isMadeBy(tags, mark) || plans.filter((other) => other.name === name).length < 2) continue
    const keys = await reads.keysOn(usagePlanId)
    if (keys.known) counts.set(usagePlanId, keys.value.length)
  }
  return counts
}
