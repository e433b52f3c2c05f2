import type { Command } from 'commander'
import type { AwsCall } from '../aws/client.ts'
import { createPace } from '../aws/pace.ts'
import { createRestApiChanges, type RestApiChanges } from '../aws/rest-api-changes.ts'
import { createRestApiReads, type RestApiReads } from '../aws/rest-apis.ts'
import { ConfigError, type GatewayConfig, readGatewayConfig } from '../config.ts'
import { applyChanges, type Progress, UnfinishedError } from '../setup/apply.ts'
import type { Change } from '../setup/changes.ts'
import { SetupFaults } from '../setup/existing.ts'
import { iamPolicy } from '../setup/iam-policy.ts'
import { type Look, lookAtApi, lookAtNewApi, lookAtRemoval } from '../setup/look.ts'
import { DEFAULT_PLAN, DEFAULT_STAGE } from '../setup/new-api.ts'
import { readOptions, type SetupOptions } from '../setup/options.ts'
import { offerPlans, type ServiceEnvironment, serviceEnvironment } from '../setup/service-environment.ts'
import { endDryRun } from './dry-run.ts'
import { formatJson, printable } from './format.ts'
import { note, print, printJson, write } from './output.ts'
import { commandLine } from './shell-quoting.ts'

interface Options {
  readonly api?: string
  readonly new?: string
  readonly stage?: string
  readonly plan: readonly string[]
  readonly methods: readonly string[]
  readonly throttle: readonly string[]
  readonly delete?: string | true
  readonly force?: true
  readonly yes?: true
  readonly json?: true
}

/** The time limit for one attempt of one call, in milliseconds. */
const CALL_MS = 10_000
/** The time limit of a run: 20 changes of usage plans, and more. */
const RUN_MS = 30 * 60_000
const API_ID = /^[A-Za-z0-9]{1,64}$/
const STAGE_NAME = /^[A-Za-z0-9_-]{1,128}$/
/** The name of a new API, which is also the value of a tag. */
const API_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/

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
    .option(
      '--plan <plan>',
      'a usage plan that covers the stage, as in gold=rate:100,burst:250,quota:10000/day; may repeat. ' +
        'Limits that it does not name stay.',
      repeated,
      [],
    )
    .option(
      '--methods <method>',
      "a method that requires a key, as in 'GET /hello', or all (but OPTIONS); may repeat. Left out: those that require one " +
        'already or, if none does, all.',
      repeated,
      [],
    )
    .option(
      '--throttle <method>',
      "the limits of one method for these plans, as in 'GET /hello=rate:10,burst:20'; may repeat",
      repeated,
      [],
    )
    .option('--delete [name]', 'with --new: remove that API and its usage plans')
    .option('--force', 'change also what belongs to a CloudFormation stack; delete also plans that have keys')
    .option('--yes', 'make the changes instead of showing them')
    .option('--json', 'print JSON')
    .action((options: Options) => setUp(options))
}

async function setUp(options: Options): Promise<void> {
  const faults = usageFaults(options)
  const plan = options.new !== undefined && options.plan.length === 0 ? [DEFAULT_PLAN] : options.plan
  const read = readOptions({ ...options, plan })
  const environment = readEnvironment([...faults, ...read.faults])
  const gateway = openGateway(environment, createProgress())
  const { reads } = gateway
  const look = chooseLook(reads, environment, options, read.options)
  try {
    const first = await lookFirst(look, [...faults, ...read.faults], faults.length === 0)
    if (options.yes && first.objections.length > 0 && !options.force) throw new Error(refusal(first, options))
    if (!options.yes && first.changes.length > 0) return showDryRun(first, options)
    const done = await makeChanges(look, first, gateway)
    await end(done.length === 0 ? first : await look(), done, gateway, options)
  } finally {
    gateway.close()
  }
}

/** Chooses what there is to look at. */
function chooseLook(
  reads: RestApiReads,
  environment: GatewayConfig,
  { api = '', stage, new: name, delete: removal }: Options,
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

/** Finds what is wrong with the options themselves. */
function usageFaults({ api, new: name, stage, delete: removal, plan, methods, throttle }: Options): string[] {
  const faults: string[] = []
  if (removal === undefined && (api === undefined) === (name === undefined))
    faults.push('name either an API, --api ID, or a new one, --new NAME')
  if (removal !== undefined && api !== undefined)
    faults.push('--delete removes only what --new made: an API of your own stays')
  if (removal === true && name === undefined) faults.push('--delete needs the name: --new NAME --delete')
  if (typeof removal === 'string' && name !== undefined && removal !== name)
    faults.push(`--delete ${removal} and --new ${name} are different APIs`)
  if (removal !== undefined && [...plan, ...methods, ...throttle].length > 0)
    faults.push('--delete takes no --plan, --methods and --throttle: it removes all that --new made')
  if (api !== undefined && !API_ID.test(api))
    faults.push(`--api "${api}" is not the id of an API, which is like a1b2c3d4e5`)
  for (const [option, one] of [
    ['--new', name],
    ['--delete', removal],
  ] as const)
    if (typeof one === 'string' && !API_NAME.test(one))
      faults.push(`${option} "${one}" is not a name like hello: it has letters, digits, dots, - and _`)
  if (stage !== undefined && !STAGE_NAME.test(stage))
    faults.push(`--stage "${stage}" is not a name of a stage, which is like ${DEFAULT_STAGE}`)
  return faults
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
  const options = {
    ...{ region, endpoint, proxies, callTimeoutMs: CALL_MS, observeDate: () => undefined },
    onCall({ operation, status, retryAfter }: AwsCall) {
      if (status === 429) progress.waits(Number(retryAfter) || 1, `API Gateway throttles ${operation}`)
    },
  }
  const pace = createPace(callsPerSecond)
  const reads = createRestApiReads({ ...options, callsPerSecond, signal }, pace)
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
    // Without API Gateway, the faults that are known are still worth to be told.
  }
  throw new SetupFaults(faults)
}

function createProgress(): Progress {
  return {
    begins: ({ title }) => note(title),
    waits: (seconds, why) => note(`  waits ${Math.ceil(seconds)} s: ${why}`),
  }
}

async function makeChanges(look: () => Promise<Look>, first: Look, gateway: Gateway): Promise<Change[]> {
  const { changes, progress, signal } = gateway
  if (first.changes.length === 0) return []
  try {
    return await applyChanges(look, changes, progress, signal)
  } catch (error) {
    if (error instanceof UnfinishedError) throw new Error(describeUnfinished(error), { cause: error })
    throw error
  }
}

function describeUnfinished({ message, done, left }: UnfinishedError): string {
  const list = (changes: readonly Change[]) => [...new Set(changes.map(({ title }) => title))].join('; ')
  return [
    message,
    `  done: ${done.length === 0 ? 'nothing' : list(done)}`,
    ...(left.length === 0 ? [] : [`  left: ${list(left)}`]),
    'Run the same command again: it goes on where this run ended.',
  ].join('\n')
}

function showDryRun(look: Look, options: Options): void {
  if (options.json) printJson({ ...targetJson(look), dry_run: true, changes: look.changes.map(changeJson) })
  else for (const change of look.changes) write(`${formatChange(change)}\n\n`)
  for (const objection of look.objections) note(`Careful: ${objection}.`)
  if (look.objections.length > 0 && look.state !== null) note(PATCH_INSTEAD)
  endDryRun(wordsOf(options), look.objections.length > 0 ? ['--force'] : [])
}

const PATCH_INSTEAD =
  'A change by hand differs from its template, and the next deployment of the stack may undo it. Print the patch for the ' +
  'template instead: add --print cloudformation, --print cdk or --print sam.'

function refusal({ objections, state }: Look, options: Options): string {
  const force = commandLine([...wordsOf(options), '--yes', '--force'])
  return [
    `nothing was changed: ${objections.join('; ')}`,
    ...(state === null ? [] : [PATCH_INSTEAD]),
    `To do it nevertheless: firstkey ${force}`,
  ].join('\n')
}

/** Returns the words of the command without `firstkey`, `--yes` and `--force`. */
function wordsOf(options: Options): string[] {
  const { api, new: name, stage, plan, methods, throttle, delete: removal } = options
  const pairs: [option: string, values: readonly (string | undefined)[]][] = [
    ['--api', [api]],
    ['--new', [name]],
    ['--stage', [stage]],
    ['--plan', plan],
    ['--methods', methods],
    ['--throttle', throttle],
  ]
  return [
    'setup',
    ...pairs.flatMap(([option, values]) =>
      values.flatMap((value) => (value === undefined ? [] : [option, value])),
    ),
    ...(removal === undefined ? [] : removal === true ? ['--delete'] : ['--delete', removal]),
  ]
}

/** Ends a run that has nothing left to do. */
async function end(look: Look, done: readonly Change[], gateway: Gateway, options: Options): Promise<void> {
  const { state } = look
  if (state === null) {
    if (options.json) printJson({ dry_run: false, changes: done.map(changeJson) })
    note(done.length === 0 ? 'There is nothing left to remove.' : 'All of it is removed.')
    return
  }
  const { existing, desired } = state
  const { environment } = gateway
  const variables = serviceEnvironment(
    environment,
    existing.target,
    desired.plans,
    existing.plans,
    existing.methods,
  )
  const policy = iamPolicy('service', environment.region, {
    usagePlanId: [...offerPlans(environment, existing.target, desired.plans, existing.plans).values()],
  })
  if (options.json) {
    printJson({
      ...targetJson(look),
      dry_run: false,
      changes: done.map(changeJson),
      environment: variables,
      iam_policy: policy,
    })
    return
  }
  note(done.length === 0 ? 'Everything is set up already: nothing was changed.' : 'All changes are made.')
  printEnvironment(variables)
  write(`\n# The IAM policy of its role:\n${formatJson(policy)}\n`)
}

function printEnvironment(variables: ServiceEnvironment): void {
  print('# The environment of firstkey, for an env file, or for a shell after "set -a":')
  for (const [name, value] of Object.entries(variables)) print(`${name}=${value}`)
  if (variables.API_PROBE_PATH === undefined)
    note(
      'No method can be asked with a key alone, so API_PROBE_PATH is not set: callers cannot wait until their key works.',
    )
}

function targetJson({ state }: Look): object {
  return state === null ? {} : { api: state.api?.id ?? null, stage: state.existing.target.stage }
}

function changeJson({ title, steps, notes }: Change): object {
  return { title, steps, notes }
}

/** Formats a change as a title, and a line for each thing that it sets. */
function formatChange({ title, steps, notes }: Change): string {
  const width = Math.max(...steps.map(({ what }) => what.length))
  return [
    printable(title),
    ...steps.map(({ what, before, after }) =>
      printable(`  ${what.padEnd(width)}  ${before || '(none)'} → ${after || '(none)'}`),
    ),
    ...notes.map((text) => printable(`  ${text}`)),
  ].join('\n')
}
