import type { Command } from 'commander'
import {
  type Discrepancies,
  deleteStrayKey,
  endDeadRecord,
  findDiscrepancies,
} from '../registration/jobs/reconcile.ts'
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
      'find firstkey keys in AWS that this store does not know, and registrations whose key no longer exists in AWS; ' +
        'dry run unless --yes',
    )
    .option('--yes', 'delete these keys, and record these registrations as revoked')
    .option('--force', 'delete the keys even if this store knows none of the firstkey keys in AWS')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nThe name of a firstkey key starts with its id (reg_… or rot_…) and a space.' +
        '\nOther keys are never touched. Another firstkey with its own store in the same' +
        '\naccount and Region names its keys the same way, and this store does not know' +
        '\nthem: check the dry run before you add --yes.',
    )
    .action(reconcile)
}

function reconcile({ yes, force, json }: ReconcileOptions): Promise<void> {
  return withDeps(async (deps, actor) => {
    await deps.readiness.check() // Fails in the wrong account or Region: the usage plans do not exist there.
    const discrepancies = await findDiscrepancies(deps, new AbortController().signal)
    const { strayKeys, deadRecords, knownKeys } = discrepancies
    report(discrepancies, json)
    if (!yes) {
      if (strayKeys.length + deadRecords.length > 0)
        process.stderr.write('Nothing was changed. To make these changes, run: firstkey reconcile --yes\n')
      if (strayKeys.length > 0 && knownKeys === 0)
        process.stderr.write('This store knows none of the firstkey keys in AWS: check STORE.\n')
      return
    }
    if (strayKeys.length > 0 && knownKeys === 0 && !force) {
      throw new Error(
        `this store knows none of the firstkey keys in AWS (${strayKeys.length}), so nothing was changed: ` +
          'check STORE, or add --force to delete them',
      )
    }
    for (const key of strayKeys) await deleteStrayKey(deps, key, actor, AbortSignal.timeout(deps.timing.undo))
    for (const record of deadRecords) await endDeadRecord(deps, record, actor)
    process.stderr.write(
      `Keys deleted: ${strayKeys.length}. Registrations recorded as revoked: ${deadRecords.length}.\n`,
    )
  })
}

function report({ strayKeys, deadRecords }: Discrepancies, json: true | undefined): void {
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
  for (const { id, apiKeyId } of deadRecords)
    process.stdout.write(`${id}  key ${apiKeyId} no longer exists in AWS\n`)
}
