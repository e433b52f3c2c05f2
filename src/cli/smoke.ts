import { type Command, InvalidArgumentError, Option } from 'commander'
import type { AwsCall } from '../aws/client.ts'
import type { Deps } from '../deps.ts'
import { formatDuration } from '../duration.ts'
import type { Actor } from '../store/audit.ts'
import { duration } from './arguments.ts'
import { endDryRun } from './dry-run.ts'
import { note, print, printJson, write } from './output.ts'
import { type CheckedAccount, checkAccount } from './smoke/check-account.ts'
import { describeLeftovers, findLeftovers } from './smoke/leftovers.ts'
import { issueToken, measure, newMeasurements } from './smoke/measure.ts'
import { type Remaining, removeLeftovers } from './smoke/remove.ts'
import { toJson, toTables } from './smoke/report.ts'
import { countFollowed, estimate, type Step, stepsOf } from './smoke/steps.ts'
import { requireRightClock, withDeps } from './with-deps.ts'

interface SmokeOptions {
  readonly keys: number
  readonly plan?: string
  readonly wait: number
  readonly remove?: true
  readonly yes?: true
  readonly json?: true
}

const DEFAULT_KEYS = 100
const DEFAULT_WAIT_MS = 5 * 60_000
/** The part of the configured calls a second that a smoke takes: the quota is the account's, and others use it too. */
const SHARE = 1 / 2

/** The exit codes that a shell reports for programs that these signals ended. */
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const

/** Adds `firstkey smoke`. */
export function addSmokeCommand(program: Command): void {
  program
    .command('smoke')
    .description(
      'measure a real account: register keys as the service does, use them at the API, and delete them again; dry run ' +
        'unless --yes',
    )
    .option(
      '--keys <n>',
      'the size of the largest import; smaller ones of 1, 10, 100, … come first',
      keys,
      DEFAULT_KEYS,
    )
    .option('--plan <name>', 'the plan of the keys, one of USAGE_PLANS (default: the first)')
    .addOption(
      new Option('--wait <duration>', 'how long to wait at most until the API accepts or refuses keys')
        .argParser(duration)
        .default(DEFAULT_WAIT_MS, formatDuration(DEFAULT_WAIT_MS)),
    )
    .option('--remove', 'only remove what earlier runs left')
    .option('--yes', 'do it instead of saying what would be done')
    .option('--json', 'print JSON, which contains no ids, keys, names or URLs; the tables are on stderr then')
    .addHelpText(
      'after',
      '\nIt needs the configuration of the server, and can run beside it. Ctrl-C ends the measurement and removes what was' +
        '\nmade; a second Ctrl-C stops the removal too, and the next run finishes it. Run one at a time: a run removes what' +
        '\nanother one made.',
    )
    .action(smoke)
}

function smoke(options: SmokeOptions): Promise<void> {
  const calls: AwsCall[] = []
  return withDeps(
    async (deps, actor, besideServer) => {
      if (options.yes) await requireRightClock(deps)
      const leftovers = await findLeftovers(deps, new AbortController().signal)
      const left = describeLeftovers(leftovers)
      if (left !== '') note(`Earlier runs left: ${left}.`)
      if (leftovers.ofOtherStores > 0)
        note(
          `Keys that firstkey smoke made with other stores: ${leftovers.ofOtherStores}. To remove them, run it with those.`,
        )
      if (options.remove && !options.yes) return previewRemoval(left)
      const steps = options.remove ? [] : stepsOf(deps.config.mintMode, options.keys)
      const account = options.remove ? null : await checkAccount(deps, options.plan, steps, leftovers)
      if (account !== null && !options.yes)
        return preview(options, { deps, account, steps, besideServer, left })
      const interrupts = watchSignals()
      try {
        if (left !== '') requireNothing(await removeLeftovers(deps, actor, interrupts.again))
        if (account === null || interrupts.first.aborted) return
        await run(options, { deps, actor, account, steps, besideServer, calls, interrupts })
      } finally {
        interrupts.end()
      }
    },
    { share: SHARE, onCall: (call) => void calls.push(call) },
  )
}

interface RunOptions {
  readonly deps: Deps
  readonly actor: Actor
  readonly account: CheckedAccount
  readonly steps: readonly Step[]
  readonly besideServer: boolean
  readonly calls: readonly AwsCall[]
  readonly interrupts: Interrupts
}

/** Measures, removes what that made, and prints the figures. @throws Error if they are not complete, or something is left */
async function run(
  { wait: waitMs, json }: SmokeOptions,
  { deps, actor, account, steps, besideServer, calls, interrupts }: RunOptions,
): Promise<void> {
  const { plan, probe, spacingMs } = account
  const [measured, at, stop] = [newMeasurements(), deps.clock(), interrupts.first]
  const caller = await issueToken(deps, actor, plan, steps)
  const follow = probe && { probe, spacingMs, waitMs }
  const fault = await measure({ deps, actor, caller, plan, steps, follow, calls, stop }, measured).then(
    () => null,
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  )
  if (fault !== null) note(`The measurement failed: ${fault}`)
  note('Removing what was made…')
  const remaining = await removeLeftovers(deps, actor, interrupts.again, caller.token.id)
  const complete = fault === null && !stop.aborted
  const tables = toTables(measured, calls)
  if (json) {
    process.stderr.write(tables)
    const { config } = deps
    printJson(toJson(measured, calls, { config, besideServer, probed: probe !== null, complete, at }))
  } else write(tables)
  requireNothing(remaining)
  note('All that was made is removed.')
  if (fault !== null) throw new Error('the measurement is not complete')
}

interface Preview extends Pick<RunOptions, 'deps' | 'account' | 'steps' | 'besideServer'> {
  /** The leftovers of earlier runs, in words. */
  readonly left: string
}

/** Says what a run would do and cost. */
function preview(
  { keys: largest, wait, json, plan }: SmokeOptions,
  { deps, account: { room, pages, probe }, steps, besideServer, left }: Preview,
): void {
  const { callsPerSecond } = deps.config
  const { keys, calls, seconds } = estimate(steps, callsPerSecond, pages)
  const asked = probe === null ? 0 : countFollowed(steps)
  if (json)
    printJson({
      ...{ dry_run: true, keys, calls, seconds, calls_per_second: callsPerSecond },
      ...{ keys_asked: asked, room_for_keys: room },
    })
  else {
    if (left !== '') print('It would first remove what earlier runs left.')
    print(`It would register ${keys} keys, the largest import with ${largest}, and delete them again.`)
    const propagation =
      asked === 0
        ? ''
        : `, and the time until the API accepts and refuses keys, each at most ${formatDuration(wait)}`
    print(`About ${calls} calls to API Gateway, in about ${seconds} seconds${propagation}.`)
    const rate =
      callsPerSecond === 0
        ? 'as many calls a second as it can (AWS_CALLS_PER_SECOND is 0)'
        : `at most ${callsPerSecond} calls a second`
    const where = besideServer ? ' beside the running server' : ''
    print(
      `Of the quotas that the account shares, it takes ${rate}${where}, and room for ${keys} of ${room} keys.`,
    )
    print('While it imports or attaches keys, other processes cannot: theirs wait, or are retried.')
    if (asked > 0)
      print(`It would send requests with ${asked} of the keys to the API, which count as any others there.`)
  }
  endDryRun(
    ['smoke', ...(largest === DEFAULT_KEYS ? [] : ['--keys', String(largest)])],
    [
      ...(plan === undefined ? [] : ['--plan', plan]),
      ...(wait === DEFAULT_WAIT_MS ? [] : ['--wait', formatDuration(wait)]),
      ...(json ? ['--json'] : []),
    ],
  )
}

function previewRemoval(left: string): void {
  if (left === '') note('Earlier runs left nothing.')
  else endDryRun(['smoke', '--remove'])
}

/** @throws Error that says what is left, and how to remove it */
function requireNothing({ fault, ...leftovers }: Remaining): void {
  const left = describeLeftovers(leftovers)
  if (left === '' && fault === undefined) return
  const unseen =
    fault === undefined ? '' : `; API Gateway cannot be asked for keys without a record: ${fault.message}`
  throw new Error(
    `left: ${left || 'nothing that the store knows of'}${unseen}\n` +
      '  To remove this, run: firstkey smoke --remove --yes\n' +
      '  A server that runs on the store removes the registrations with their keys, too.',
  )
}

/** The user's wish to stop: the first signal ends the measurement, a second one also the removal. */
interface Interrupts {
  readonly first: AbortSignal
  readonly again: AbortSignal
  end(): void
}

function watchSignals(): Interrupts {
  const [first, again] = [new AbortController(), new AbortController()]
  const stop = (signal: keyof typeof SIGNALS) => {
    process.exitCode = SIGNALS[signal]
    if (first.signal.aborted) again.abort()
    else note('Stopped: removing what was made. Ctrl-C again leaves it.')
    first.abort()
  }
  const names = Object.keys(SIGNALS) as (keyof typeof SIGNALS)[]
  for (const name of names) process.on(name, stop)
  return {
    first: first.signal,
    again: again.signal,
    end() {
      for (const name of names) process.off(name, stop)
    },
  }
}

function keys(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('Expected a whole number from 1 to 9999.')
}
