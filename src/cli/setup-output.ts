import type { UnfinishedError } from '../setup/apply.ts'
import type { Target } from '../setup/base-url.ts'
import type { Change } from '../setup/changes.ts'
import type { Diagnosis } from '../setup/diagnose.ts'
import type { PolicyDocument } from '../setup/iam-policy.ts'
import type { Look } from '../setup/look.ts'
import { toPatch } from '../setup/patches/patch.ts'
import { type PatchTool, printPatch } from '../setup/patches/print-patch.ts'
import type { ServiceEnvironment } from '../setup/service-environment.ts'
import { shellQuote } from '../shell-quoting.ts'
import { diagnosisJson, noteDiagnosis } from './doctor.ts'
import { endDryRun } from './dry-run.ts'
import { formatJson, printable } from './format.ts'
import { note, print, printJson, write } from './output.ts'
import { type SetupArguments, wordsOf } from './setup-arguments.ts'
import { commandLine } from './shell-quoting.ts'

export function describeUnfinished({ message, done, left }: UnfinishedError): string {
  if (done.length + left.length === 0) return message
  const list = (changes: readonly Change[]) => [...new Set(changes.map(({ title }) => title))].join('; ')
  return [
    message,
    `  done: ${done.length === 0 ? 'nothing' : list(done)}`,
    ...(left.length === 0 ? [] : [`  left: ${list(left)}`]),
    'Run the same command again: it goes on where this run ended.',
  ].join('\n')
}

/** Prints as JSON what {@link describeUnfinished} says. */
export function printUnfinished({ message, done, left }: UnfinishedError): void {
  printJson({ dry_run: false, changes: done.map(changeJson), left: left.map(changeJson), error: message })
}

export function showDryRun(look: Look, options: SetupArguments): void {
  if (options.json) printJson({ ...targetJson(look), dry_run: true, changes: look.changes.map(changeJson) })
  else for (const change of look.changes) write(`${formatChange(change)}\n\n`)
  for (const objection of look.objections) note(`Careful: ${objection}.`)
  if (look.objections.length > 0 && look.state !== null) note(PATCH_INSTEAD)
  endDryRun(wordsOf(options), look.objections.length > 0 ? ['--force'] : [])
}

const PATCH_INSTEAD =
  'A change by hand differs from its template, and the next deployment of the stack may undo it. Print the patch for the ' +
  'template instead: add --print cloudformation, --print cdk or --print sam.'

export function refusal({ objections, state }: Look, options: SetupArguments): string {
  const force = commandLine([...wordsOf(options), '--yes', '--force'])
  return [
    `refused without --force: ${objections.join('; ')}`,
    ...(state === null ? [] : [PATCH_INSTEAD]),
    `To change it by hand anyway: firstkey ${force}`,
  ].join('\n')
}

/** Prints what is desired for another tool. What the tool owns is its own business, so nothing speaks against it. */
export function showPatch(tool: PatchTool, { state }: Look): void {
  if (state === null || state.api === null) return
  const { api, desired, existing } = state
  write(printPatch(tool, toPatch(desired, { api, methods: existing.methods, plans: existing.plans })))
}

/** The state that a run led to. */
export interface Result {
  readonly target: Target
  readonly diagnosis: Diagnosis
  readonly variables: ServiceEnvironment
  readonly policy: PolicyDocument
}

/**
 * Prints what a run changed and led to. Without `--json`, stdout is an env file.
 * @param result `null`: all was removed
 */
export function showResult(done: readonly Change[], result: Result | null, { json }: SetupArguments): void {
  if (json) printJson({ ...resultJson(result), dry_run: false, changes: done.map(changeJson) })
  else if (result === null)
    note(done.length === 0 ? 'There is nothing left to remove.' : 'All of it is removed.')
  else {
    note(done.length === 0 ? 'Everything is set up already: nothing was changed.' : 'All changes are made.')
    note('')
    note('The IAM policy of the role of firstkey:')
    for (const line of formatJson(result.policy).split('\n')) note(line)
    note('')
    noteDiagnosis(result.diagnosis)
    note('')
    printEnvironment(result.variables)
  }
}

function resultJson(result: Result | null): object {
  if (result === null) return {}
  const { target, diagnosis, variables, policy } = result
  return {
    ...{ api: target.api, stage: target.stage, doctor: diagnosisJson(diagnosis) },
    ...{ environment: variables, iam_policy: policy },
  }
}

function printEnvironment(variables: ServiceEnvironment): void {
  print('# The environment of firstkey, for an env file, or for a shell after "set -a":')
  const entries = Object.entries(variables)
  for (const [name, value] of entries) print(`${name}=${shellQuote(value)}`)
  if (entries.some(([, value]) => shellQuote(value) !== value))
    note('Quotes are for a shell: remove them from a file for docker --env-file, which takes them literally.')
  if (variables.USAGE_PLANS === '')
    note(
      'No usage plan of the stage has a name that USAGE_PLANS can have: give it one, as in --plan gold=id:abc123.',
    )
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
