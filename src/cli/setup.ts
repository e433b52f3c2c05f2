import { type Command, Option } from 'commander'
import type { AwsCall } from '../aws/client.ts'
import { createPace } from '../aws/pace.ts'
import { createRestApiChanges, type RestApiChanges } from '../aws/rest-api-changes.ts'
import { createRestApiReads, type RestApiReads } from '../aws/rest-apis.ts'
import { ConfigError, type GatewayConfig, readGatewayConfig } from '../config.ts'
import { applyChanges, type Progress, UnfinishedError } from '../setup/apply.ts'
import type { Change } from '../setup/changes.ts'
import { type Diagnosis, diagnose } from '../setup/diagnose.ts'
import { SetupFaults } from '../setup/existing.ts'
import { iamPolicy } from '../setup/iam-policy.ts'
import { type Look, lookAtApi, lookAtNewApi, lookAtRemoval, type State } from '../setup/look.ts'
import { DEFAULT_PLAN, DEFAULT_STAGE } from '../setup/new-api.ts'
import { readOptions, type SetupOptions } from '../setup/options.ts'
import { patchTools } from '../setup/patches/print-patch.ts'
import { offerPlans, serviceEnvironment } from '../setup/service-environment.ts'
import { note } from './output.ts'
import { type SetupArguments, usageFaults } from './setup-arguments.ts'
import {
  describeUnfinished,
  printUnfinished,
  type Result,
  refusal,
  showDryRun,
  showPatch,
  showResult,
} from './setup-output.ts'

/** The time limit for one attempt of one call, in milliseconds. */
const CALL_MS = 10_000
/** The time limit of a run: 20 changes of usage plans, and more. */
const RUN_MS = 30 * 60_000
const repeated = (value: string, values: readonly string[]) => [...values, value]

/** Adds `firstkey setup`. */
export function addSetupCommand(program: Command): void {
  program
    .command('setup')
    .description(
      'make an API ready for keys: its usage plans, methods, key source and deployment; dry run unless --yes',
    )
    .option('--api <id>', 'the REST API, as in a1b2c3d4e5')
    .option('--new <name>', 'make a REST API with GET /hello instead')
    .option('--stage <name>', `the stage (default: the only one; of a new API ${DEFAULT_STAGE})`)
    .addOption(
      new Option(
        '--plan <plan>',
        'a usage plan that covers the stage, as in gold=rate:100,burst:250,quota:10000/day; may repeat. ' +
          'Limits that it does not name stay.',
      )
        .argParser(repeated)
        .default([], `those of the stage; of a new API ${DEFAULT_PLAN}`),
    )
    .addOption(
      new Option(
        '--methods <method>',
        "a method that requires a key, as in 'GET /hello', or all (but OPTIONS); may repeat",
      )
        .argParser(repeated)
        .default([], 'those that require one already or, if none does, all'),
    )
    .addOption(
      new Option(
        '--throttle <method>',
        "the limits of one method for these plans, as in 'GET /hello=rate:10,burst:20'; may repeat",
      )
        .argParser(repeated)
        .default([], 'as they are'),
    )
    .option('--delete [name]', 'with --new: remove that API and its usage plans')
    .option('--force', 'change also what belongs to a CloudFormation stack; delete also plans that have keys')
    .option('--yes', 'make the changes instead of showing them')
    .addOption(
      new Option('--print <tool>', 'print the changes as a patch for the tool that owns the API').choices(
        patchTools,
      ),
    )
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
It needs AWS_REGION and AWS credentials, and no store. With --yes, stdout is an env file for the service; the progress, the
faults that are left and the IAM policy of the service are on stderr. With --json, stdout has all of it.

Exit codes: 0 done, or a dry run; 1 not done, faults are left, or wrong usage; 130 stopped by Ctrl-C.

Examples:
  firstkey setup --new hello --yes > firstkey.env
  firstkey setup --api a1b2c3d4e5 --stage prod --plan gold=rate:100,burst:250,quota:10000/day --methods all
  firstkey setup --api a1b2c3d4e5 --plan gold= --print terraform`,
    )
    .action((options: SetupArguments) => setUp(options))
}

async function setUp(options: SetupArguments): Promise<void> {
  const faults = usageFaults(options)
  const plan = options.new !== undefined && options.plan.length === 0 ? [DEFAULT_PLAN] : options.plan
  const read = readOptions({ ...options, plan })
  const environment = readEnvironment([...faults, ...read.faults])
  const gateway = openGateway(environment, createProgress())
  const { reads } = gateway
  const look = chooseLook(reads, environment, options, read.options)
  try {
    const first = await lookFirst(look, [...faults, ...read.faults], faults.length === 0)
    if (options.print !== undefined) return showPatch(options.print, first)
    if (!options.yes && first.changes.length > 0) return showDryRun(first, options)
    const done = await makeChanges(withConsent(look, options), gateway, options)
    const result = await checkAfter(done, done.length === 0 ? async () => first : look, gateway)
    showResult(done, result, options)
    if (result !== null && result.diagnosis.result !== 'healthy') process.exitCode = 1
  } catch (error) {
    if (!(error instanceof UnfinishedError)) throw error
    if (options.json) printUnfinished(error)
    throw new Error(describeUnfinished(error), { cause: error })
  } finally {
    gateway.close()
  }
}

/** Chooses what there is to look at. */
function chooseLook(
  reads: RestApiReads,
  environment: GatewayConfig,
  { api = '', stage, new: name, delete: removal }: SetupArguments,
  options: SetupOptions,
): () => Promise<Look> {
  const removed = removal === true ? name : removal
  if (removed !== undefined) return () => lookAtRemoval(reads, removed)
  if (name === undefined) return lookAtApi(reads, environment, { api, stage }, options)
  return () => lookAtNewApi(reads, environment, { name, stage: stage ?? DEFAULT_STAGE }, options)
}

/** @param faults those of the options, which a fault of the environment must not hide */
function readEnvironment(faults: readonly string[]): GatewayConfig {
  try {
    return readGatewayConfig(process.env)
  } catch (error) {
    if (faults.length === 0 || !(error instanceof ConfigError)) throw error
    throw new Error(`${new SetupFaults(faults).message}\n${error.message}`, { cause: error })
  }
}

/** The connection to API Gateway of one run. */
interface Gateway {
  readonly environment: GatewayConfig
  readonly reads: RestApiReads
  readonly changes: RestApiChanges
  readonly progress: Progress
  readonly signal: AbortSignal
  close(): void
}

function openGateway(environment: GatewayConfig, progress: Progress): Gateway {
  const signal = AbortSignal.timeout(RUN_MS)
  const { region, apiGatewayEndpoint: endpoint, proxies, callsPerSecond } = environment
  const options = { region, endpoint, proxies, callTimeoutMs: CALL_MS, observeDate: () => undefined }
  // The waits of the changes are said where they are made.
  const onCall = ({ operation, status, retryAfter }: AwsCall) => {
    const seconds = Number(retryAfter)
    if (status === 429 && seconds > 0) progress.waits(seconds, `API Gateway throttles ${operation}`)
    else if (status === 429) note(`  API Gateway throttles ${operation}`)
  }
  const pace = createPace(callsPerSecond)
  const reads = createRestApiReads({ ...options, onCall, callsPerSecond, signal }, pace)
  const changes = createRestApiChanges(options, pace)
  return {
    ...{ environment, reads, changes, progress, signal },
    close() {
      reads.close()
      changes.close()
    },
  }
}

/**
 * Looks for the first time, and reports all faults together.
 * @param mayLook `false`: the options do not say at what
 */
async function lookFirst(
  look: () => Promise<Look>,
  faults: readonly string[],
  mayLook: boolean,
): Promise<Look> {
  if (!mayLook) throw new SetupFaults(faults)
  try {
    const first = await look()
    if (faults.length === 0) return first
  } catch (error) {
    if (error instanceof SetupFaults) throw new SetupFaults([...faults, ...error.faults])
    if (faults.length === 0) throw error
    // The known faults are reported even if API Gateway cannot be reached.
  }
  throw new SetupFaults(faults)
}

function createProgress(): Progress {
  const begun = new Set<string>()
  return {
    // A usage plan is removed by two changes of one title.
    begins({ title }) {
      if (!begun.has(title)) note(title)
      begun.add(title)
    },
    waits: (seconds, why) => note(`  waits ${Math.ceil(seconds)} s: ${why}`),
  }
}

/** Refuses changes that have objections, also those that come up during a run, without `--force`. */
function withConsent(look: () => Promise<Look>, options: SetupArguments): () => Promise<Look> {
  return async () => {
    const found = await look()
    if (found.objections.length > 0 && !options.force) throw new SetupFaults([refusal(found, options)])
    return found
  }
}

/** Makes changes. SIGINT or SIGTERM ends the process after it has said what is done and what is left. */
async function makeChanges(
  look: () => Promise<Look>,
  { changes, progress, signal }: Gateway,
  options: SetupArguments,
): Promise<Change[]> {
  const stop = new AbortController()
  const interrupt = (name: NodeJS.Signals) => stop.abort(new Error(`stopped by ${name}`, { cause: name }))
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  try {
    return await applyChanges(look, changes, progress, AbortSignal.any([signal, stop.signal]))
  } catch (error) {
    if (error instanceof UnfinishedError && stop.signal.aborted) {
      if (options.json) printUnfinished(error)
      for (const line of `firstkey: ${describeUnfinished(error)}`.split('\n')) note(line)
      // A shell stops its script only after a program that the signal itself ended.
      process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
      process.kill(process.pid, stop.signal.reason.cause)
    }
    throw error
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  }
}

/**
 * Reads and checks what a run led to.
 * @returns `null` if all was removed
 * @throws UnfinishedError if that fails after changes were made: it names them
 */
async function checkAfter(
  done: readonly Change[],
  look: () => Promise<Look>,
  gateway: Gateway,
): Promise<Result | null> {
  try {
    const { state } = await look()
    return state === null ? null : await conclude(state, gateway)
  } catch (error) {
    if (done.length === 0) throw error
    const why = error instanceof Error ? error.message : String(error)
    throw new UnfinishedError(`All changes are made; the check after them failed: ${why}`, done, [], error)
  }
}

/** Checks what was made, as doctor does with the environment that the service gets. */
async function conclude({ existing, desired }: State, { environment, reads }: Gateway): Promise<Result> {
  const { target, plans, methods } = existing
  const offered = offerPlans(environment, target, desired.plans, plans)
  const variables = serviceEnvironment(environment, target, offered, methods)
  const diagnosis: Diagnosis = await diagnose(
    reads,
    {
      ...environment,
      plans: [...offered].map(([name, usagePlanId]) => ({ name, usagePlanId })),
      apiBaseUrl: variables.API_BASE_URL,
      apiProbePath: variables.API_PROBE_PATH ?? null,
    },
    { ...target, key: null },
  )
  const policy = iamPolicy('service', environment.region, { usagePlanId: [...offered.values()] })
  return { target, diagnosis, variables, policy }
}
