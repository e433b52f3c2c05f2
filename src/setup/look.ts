import type { RestApi, RestApiReads } from '../aws/rest-apis.ts'
import type { GatewayConfig } from '../config.ts'
import { type Change, type Existing, isDeployment, planChanges } from './changes.ts'
import { type Desired, desire } from './desired.ts'
import { readExisting, SetupFaults } from './existing.ts'
import { stackOf } from './made-by-setup.ts'
import { planRemoval, readNewApi } from './new-api.ts'
import type { SetupOptions } from './options.ts'

/** The changes that are left, and the state they were planned from. */
export interface Look {
  readonly changes: readonly Change[]
  /** Reasons for which the changes need `--force`. */
  readonly objections: readonly string[]
  /** The ids of the usage plans and APIs that were seen. */
  readonly seen: ReadonlySet<string>
  /** `null`: all is to be removed. */
  readonly state: State | null
}

export interface State {
  /** `null`: it is not made yet. */
  readonly api: RestApi | null
  readonly desired: Desired
  readonly existing: Existing
}

/**
 * Returns the look at an existing API. Later looks judge by the methods that the first one chose: they must not depend on
 * what the run has changed until then.
 */
export function lookAtApi(
  reads: RestApiReads,
  environment: GatewayConfig,
  target: { api: string; stage: string | undefined },
  options: SetupOptions,
): () => Promise<Look> {
  let current = options
  return async () => {
    const look = await lookOnce(reads, environment, target, current)
    current = { ...options, methods: { all: false, named: look.state.desired.methods } }
    return look
  }
}

/** Looks. All faults of the options are found together. @throws SetupFaults, CannotLookError, Error */
async function lookOnce(
  reads: RestApiReads,
  environment: GatewayConfig,
  { api: id, stage }: { api: string; stage: string | undefined },
  options: SetupOptions,
): Promise<Look & { state: State }> {
  const { api, existing, faults: faultsOfStage } = await readExisting(reads, environment, id, stage)
  const { desired, faults: faultsOfOptions } = desire(options, existing)
  const changes = planChanges(desired, existing)
  const faults = [...faultsOfStage, ...faultsOfOptions, ...canaryFault(changes, existing)]
  if (faults.length > 0) throw new SetupFaults(faults)
  return {
    ...{ changes, seen: seenIn(existing, api), state: { api, desired, existing } },
    objections: changes.length === 0 ? [] : ownersOf(api, desired, existing),
  }
}

/** A deployment to a stage with a canary release would change what its requests get. */
function canaryFault(changes: readonly Change[], { stage }: Existing): string[] {
  if (stage === null || stage.canary === null || !changes.some(isDeployment)) return []
  return [
    `--stage ${stage.name}: it has a canary release, which a deployment would change: promote or delete it first`,
  ]
}

/** Looks how far a new API was made. @throws SetupFaults, CannotLookError, Error */
export async function lookAtNewApi(
  reads: RestApiReads,
  environment: GatewayConfig,
  { name, stage }: { name: string; stage: string },
  options: SetupOptions,
): Promise<Look> {
  const { api, ids, skeleton, existing } = await readNewApi(reads, environment, name, stage)
  const { desired, faults } = desire(options, existing)
  if (faults.length > 0) throw new SetupFaults(faults)
  const changes = planChanges(desired, existing, skeleton)
  return {
    changes,
    objections: [],
    seen: new Set([...seenIn(existing, api), ...ids]),
    state: { api, desired, existing },
  }
}

/** Looks what is there of a new API, to remove it. @throws CannotLookError, Error */
export async function lookAtRemoval(reads: RestApiReads, name: string): Promise<Look> {
  return { ...(await planRemoval(reads, name)), seen: new Set(), state: null }
}

function seenIn({ plans }: Existing, api: RestApi | null): Set<string> {
  return new Set([...plans.map(({ usagePlanId }) => usagePlanId), ...(api === null ? [] : [api.id])])
}

/** Names the CloudFormation stacks that what is changed belongs to. */
function ownersOf(api: RestApi, { plans }: Desired, existing: Existing): string[] {
  const owned = [
    { what: `the API ${api.id}`, tags: api.tags },
    { what: `the stage ${existing.target.stage}`, tags: existing.stage?.tags ?? {} },
    ...existing.plans
      .filter(({ usagePlanId }) => plans.some((plan) => plan.usagePlanId === usagePlanId))
      .map(({ usagePlanId, tags }) => ({ what: `the usage plan ${usagePlanId}`, tags })),
  ]
  return owned.flatMap(({ what, tags }) => {
    const stack = stackOf(tags)
    return stack === undefined ? [] : [`${what} belongs to the CloudFormation stack ${stack}`]
  })
}
