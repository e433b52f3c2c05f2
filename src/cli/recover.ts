import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { type RecoveryAction, recoveryActionOf } from '../registration/lifecycle.ts'
import { recover } from '../registration/recover.ts'
import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { printJson } from './format.ts'
import { withDeps } from './with-deps.ts'
import { withStore } from './with-store.ts'

interface RecoverOptions {
  readonly yes?: true
  readonly json?: true
}

const MEANING: Record<RecoveryAction, string> = {
  adopt: 'its key is put on the plan and waits for the retry; without a key it is undone',
  undo: 'its key is deleted and the use given back',
  sweep: 'it failed; a key that came late is deleted',
}

/** Adds `firstkey registrations recover`, and its former name `reconcile`, which no help mentions. */
export function addRecoverCommand(registrations: Command): void {
  define(registrations.command('recover'))
  define(registrations.command('reconcile', { hidden: true }))
}

function define(command: Command): void {
  command
    .description('end what was left unfinished, as the server does by itself; a dry run unless --yes')
    .option('--yes', 'do it')
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
    process.stderr.write('Nothing was changed. To do it: firstkey registrations recover --yes\n')
}

function recoverNow({ json }: RecoverOptions): Promise<void> {
  return withDeps(async (deps) => {
    const results = await recover(deps)
    report(results, json)
    if (results.some(({ done }) => !done))
      throw new Error('not everything could be done; the reasons are above')
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
    process.stdout.write(`${registration.id}  ${action}${done ? ' (done)' : ''}: ${MEANING[action]}\n`)
  }
}
