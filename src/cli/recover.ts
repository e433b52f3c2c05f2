import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { recover } from '../registration/jobs/recover.ts'
import { type RecoveryAction, recoveryActionOf } from '../registration/lifecycle.ts'
import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { printJson } from './format.ts'
import { withDeps } from './with-deps.ts'
import { withStore } from './with-store.ts'

interface RecoverOptions {
  readonly yes?: true
  readonly json?: true
}

/** The name of an action in the output, and what it does. `--json` prints the action itself. */
const WORDS: Record<RecoveryAction, readonly [name: string, meaning: string]> = {
  adopt: ['adopt', 'its key is attached to the plan and kept for a retry; if it has no key, it is undone'],
  undo: ['undo', 'its key is deleted and the use is refunded'],
  sweep: ['late-key check', 'it failed; if its key was created late, the key is deleted'],
}

/** Adds `firstkey registrations recover`, and its former name `reconcile`, which no help mentions. */
export function addRecoverCommand(registrations: Command): void {
  define(registrations.command('recover'))
  define(registrations.command('reconcile', { hidden: true }))
}

function define(command: Command): void {
  command
    .description(
      'complete or undo unfinished registrations and rotations, as a running server does automatically; ' +
        'dry run unless --yes',
    )
    .option('--yes', 'recover them instead of listing them')
    .option('--json', 'print JSON')
    .action((options: RecoverOptions) =>
      options.yes ? recoverNow(options) : withStore((store) => preview(store, options)),
    )
}

async function preview(store: Store, { json }: RecoverOptions): Promise<void> {
  const now = systemClock()
  const open = await store.listRecoverable(now, 1_000)
  report(
    open.map((registration) => ({ registration, action: recoveryActionOf(registration, now), done: false })),
    json,
  )
  if (open.length > 0)
    process.stderr.write('Nothing was changed. To recover them, run: firstkey registrations recover --yes\n')
}

function recoverNow({ json }: RecoverOptions): Promise<void> {
  return withDeps(async (deps) => {
    const results = await recover(deps)
    report(results, json)
    if (results.some(({ done }) => !done))
      throw new Error('some registrations could not be recovered; the log above says why')
  })
}

function report(
  results: readonly { registration: Registration; action: RecoveryAction; done: boolean }[],
  json: true | undefined,
): void {
  if (json) {
    printJson(results.map(({ registration, action, done }) => ({ id: registration.id, action, done })))
    return
  }
  if (results.length === 0) process.stderr.write('There is nothing to recover.\n')
  for (const { registration, action, done } of results) {
    const [name, meaning] = WORDS[action]
    process.stdout.write(`${registration.id}  ${name}${done ? ' (done)' : ''}: ${meaning}\n`)
  }
}
