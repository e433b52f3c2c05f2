import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { type RegistrationView, viewRegistration } from '../registration/queries/registration-view.ts'
import { resume, suspend } from '../registration/suspend.ts'
import type { PublicStatus } from '../store/operators.ts'
import type { Store } from '../store/store.ts'
import { endDryRun } from './dry-run.ts'
import { loadRegistration } from './load-registration.ts'
import { note, print } from './output.ts'
import { withDeps } from './with-deps.ts'
import { withStore } from './with-store.ts'

interface Change {
  readonly name: 'suspend' | 'resume'
  readonly description: string
  readonly done: 'suspended' | 'resumed'
  /** The status that a registration must have. */
  readonly from: PublicStatus
  readonly run: typeof suspend
}

const SUSPEND: Change = {
  name: 'suspend',
  description:
    'disable the keys of registrations, until they are resumed: their owners cannot rotate them; dry run unless --yes',
  done: 'suspended',
  from: 'active',
  run: suspend,
}
const RESUME: Change = {
  name: 'resume',
  description: 'enable the keys of suspended registrations; dry run unless --yes',
  done: 'resumed',
  from: 'suspended',
  run: resume,
}

/** Adds `firstkey registrations suspend|resume`. */
export function addSuspendCommands(registrations: Command): void {
  for (const change of [SUSPEND, RESUME])
    registrations
      .command(change.name)
      .description(change.description)
      .argument('<ids...>', 'registration ids (reg_…), or ids or names of their keys')
      .option('--yes', `${change.name} them instead of listing them`)
      .action((ids: string[], { yes }: { yes?: true }) =>
        yes ? apply(change, ids) : withStore((store) => preview(store, change, ids)),
      )
}

async function preview(store: Store, change: Change, ids: readonly string[]): Promise<void> {
  const views = await load(store, change, ids)
  for (const view of views) print(line(view))
  note(`${views.length} ${views.length === 1 ? 'registration' : 'registrations'} would be ${change.done}.`)
  endDryRun(['registrations', change.name, ...ids])
}

function apply(change: Change, ids: readonly string[]): Promise<void> {
  return withDeps(async (deps, actor) => {
    const views = await load(deps.store, change, ids)
    let failed = 0
    for (const view of views) {
      try {
        const gone = await change.run(deps, view.registration.id, actor)
        note(`${line(view)}  ${change.done}`)
        for (const keyId of gone)
          note(`The key ${keyId} no longer exists in AWS; firstkey reconcile records that.`)
      } catch {
        failed += 1 // The reason is in the log, on stderr.
        note(`${line(view)}  recorded, but AWS does not have it yet`)
      }
    }
    if (failed > 0)
      throw new Error(
        'AWS does not have some changes yet; a running server retries, or run this command again',
      )
  })
}

/** Reads registrations that the change applies to, or was already recorded for. @throws Error for any other */
async function load(
  store: Store,
  { from, done }: Change,
  ids: readonly string[],
): Promise<RegistrationView[]> {
  const views = new Map<string, RegistrationView>()
  for (const id of ids) {
    const view = await viewRegistration(store, await loadRegistration(store, id), systemClock())
    const { registration, status, current } = view
    const isRecorded = current.switchAt !== null
    if (status !== from && !isRecorded)
      throw new Error(`${registration.id} is ${status}: only a registration that is ${from} can be ${done}`)
    views.set(registration.id, view)
  }
  return [...views.values()]
}

function line({ registration, current }: RegistrationView): string {
  return `${registration.id}  ${current.apiKeyId ?? '-'}  ${current.plan}  ${registration.name}`
}
