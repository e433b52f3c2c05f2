import type { Command } from 'commander'
import { type Disagreement, endDead, findDisagreement, removeStray } from '../registration/sweep.ts'
import { printJson } from './format.ts'
import { withDeps } from './with-deps.ts'

interface ReconcileOptions {
  readonly yes?: true
  readonly force?: true
  readonly json?: true
}

/** Adds `firstkey reconcile`, and its former name `sweep`, which no help mentions. */
export function addReconcileCommand(program: Command): void {
  define(program.command('reconcile'))
  define(program.command('sweep', { hidden: true }))
}

function define(command: Command): void {
  command
    .description(
      'keys in AWS named as firstkey names them that this store has no use for, and registrations whose key is gone; ' +
        'a dry run unless --yes',
    )
    .option('--yes', 'delete those keys, and record those registrations as revoked')
    .option('--force', 'also where this store knows not one of those keys')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nOther keys are never touched. But a second firstkey with a store of its own in the same account and Region names its' +
        '\nkeys alike, and this store knows none of them: look at the dry run first.',
    )
    .action(reconcile)
}

function reconcile({ yes, force, json }: ReconcileOptions): Promise<void> {
  return withDeps(async (deps, actor) => {
    await deps.readiness.check() // In the wrong account or Region the plans are not there.
    const disagreement = await findDisagreement(deps, new AbortController().signal)
    const { strayKeys, deadRecords, knownKeys } = disagreement
    report(disagreement, json)
    if (!yes) {
      if (strayKeys.length + deadRecords.length > 0)
        process.stderr.write('Nothing was changed. To do it: firstkey reconcile --yes\n')
      if (strayKeys.length > 0 && knownKeys === 0)
        process.stderr.write('But this store knows not one of these keys: is STORE the right one?\n')
      return
    }
    if (strayKeys.length > 0 && knownKeys === 0 && !force) {
      throw new Error(
        `this store knows not one of the ${strayKeys.length} keys, so nothing was changed: is STORE the right one? ` +
          'If they are to go all the same, add --force',
      )
    }
    for (const key of strayKeys) await removeStray(deps, key, actor, AbortSignal.timeout(deps.timing.undo))
    for (const record of deadRecords) await endDead(deps, record, actor)
    process.stderr.write(`${strayKeys.length} keys deleted, ${deadRecords.length} registrations ended.\n`)
  })
}

function report({ strayKeys, deadRecords }: Disagreement, json: true | undefined): void {
  if (json) {
    printJson({
      stray_keys: strayKeys.map(({ id, name }) => ({ api_key_id: id, name })),
      dead_records: deadRecords.map(({ id, apiKeyId, rotation }) => ({
        id,
        registration_id: rotation?.of ?? id,
        api_key_id: apiKeyId,
      })),
    })
    return
  }
  if (strayKeys.length + deadRecords.length === 0) process.stderr.write('AWS and the store agree.\n')
  for (const { id, name } of strayKeys) process.stdout.write(`${id}  stray key: ${name}\n`)
  for (const { id, apiKeyId } of deadRecords) process.stdout.write(`${id}  its key ${apiKeyId} is gone\n`)
}
