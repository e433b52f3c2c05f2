import type { Command } from 'commander'
import { type Disagreement, endDead, findDisagreement, removeStray } from '../registration/sweep.ts'
import { printJson } from './format.ts'
import { withDeps } from './with-deps.ts'

interface SweepOptions {
  readonly yes?: true
  readonly json?: true
}

/** `firstkey sweep`. */
export function addSweepCommand(program: Command): void {
  program
    .command('sweep')
    .description(
      'keys in AWS named as firstkey names them that this store has no use for, and registrations whose key is gone; ' +
        'a dry run unless --yes',
    )
    .option('--yes', 'delete those keys, and record those registrations as revoked')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nOther keys are never touched. But a second firstkey with a store of its own in the same account and Region names its' +
        '\nkeys alike, and this store knows none of them: look at the dry run first.',
    )
    .action(sweep)
}

function sweep({ yes, json }: SweepOptions): Promise<void> {
  return withDeps(async (deps, actor) => {
    const disagreement = await findDisagreement(deps, new AbortController().signal)
    const { strayKeys, deadRecords } = disagreement
    report(disagreement, json)
    if (!yes) {
      if (strayKeys.length + deadRecords.length > 0)
        process.stderr.write('Nothing was changed. To do it: firstkey sweep --yes\n')
      return
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
