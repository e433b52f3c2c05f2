import type { Command } from 'commander'
import {
  type Discrepancies,
  deleteStrayKey,
  endDeadRecord,
  findDiscrepancies,
  SETTLED_AFTER_MS,
} from '../registration/jobs/reconcile.ts'
import type { Registration } from '../store/records.ts'
import { isoTime, printJson, showTime } from './format.ts'
import { requireRightClock, withDeps } from './with-deps.ts'

interface ReconcileOptions {
  readonly yes?: true
  readonly force?: true
  readonly unmarked?: true
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
      'find keys of this store in AWS that it has no record of, and registrations whose key was deleted, disabled or ' +
        'taken off its usage plan in AWS; dry run unless --yes',
    )
    .option('--yes', 'delete the unknown keys, and record registrations whose key was deleted as revoked')
    .option(
      '--unmarked',
      'with --yes: delete also unknown keys of versions before store ids, which may belong to another store',
    )
    .option('--force', 'delete the keys even if this store knows none of the firstkey keys in AWS')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nThe name of a key starts with reg_ or rot_ and the id of its store. Keys of other' +
        '\nstores, and keys with other names, are never touched. Keys that a version before' +
        '\nstore ids made have no such id: those that this store has no record of are listed' +
        '\napart, because they may belong to another store. --yes leaves them alone.',
    )
    .action(reconcile)
}

function reconcile(options: ReconcileOptions): Promise<void> {
  const { yes, force, unmarked } = options
  return withDeps(async (deps, actor) => {
    await deps.readiness.check() // Fails in the wrong account or Region: the usage plans do not exist there.
    if (yes) await requireRightClock(deps)
    const discrepancies = await findDiscrepancies(deps, new AbortController().signal)
    const { strayKeys, unmarkedKeys, deadRecords, knownKeys } = discrepancies
    const toDelete = unmarked ? [...strayKeys, ...unmarkedKeys] : strayKeys
    const needsForce = toDelete.length > 0 && knownKeys === 0
    report(discrepancies, options)
    if (!yes) {
      if (needsForce) process.stderr.write('The store knows none of these keys: check that STORE is right.\n')
      if (toDelete.length + deadRecords.length > 0) {
        const command = `firstkey reconcile --yes${unmarked ? ' --unmarked' : ''}${needsForce ? ' --force' : ''}`
        process.stderr.write(`Nothing was changed. To make these changes, run: ${command}\n`)
      }
      return
    }
    if (needsForce && !force) {
      throw new Error(
        `this store knows none of the firstkey keys in AWS (${toDelete.length}), so nothing was changed: ` +
          'check STORE, or add --force to delete them',
      )
    }
    for (const key of toDelete) await deleteStrayKey(deps, key, actor, AbortSignal.timeout(deps.timing.undo))
    for (const record of deadRecords) await endDeadRecord(deps, record, actor)
    process.stderr.write(`Keys deleted: ${toDelete.length}. Missing keys recorded: ${deadRecords.length}.\n`)
  })
}

function report(discrepancies: Discrepancies, { yes, json, unmarked }: ReconcileOptions): void {
  const { strayKeys, unmarkedKeys, otherStores, deadRecords, disabledKeys, detachedKeys, youngRecords } =
    discrepancies
  if (json) {
    printJson({
      stray_keys: strayKeys.map(keyJson),
      unmarked_keys: unmarkedKeys.map(keyJson),
      other_stores: [...otherStores].map(([store_id, keys]) => ({ store_id, keys })),
      dead_records: deadRecords.map(recordJson),
      disabled_keys: disabledKeys.map(recordJson),
      detached_keys: detachedKeys.map(recordJson),
      too_young: youngRecords.map((one) => ({ ...recordJson(one), checked_from: isoTime(settlesAt(one)) })),
    })
    return
  }
  const faults = [strayKeys, unmarkedKeys, deadRecords, disabledKeys, detachedKeys, youngRecords]
  if (faults.every((list) => list.length === 0)) process.stderr.write('AWS and the store agree.\n')
  for (const { id, name } of strayKeys) process.stdout.write(`${id}  stray key: ${name}\n`)
  for (const { id, name } of unmarkedKeys)
    process.stdout.write(`${id}  unknown key without a store id: ${name}\n`)
  for (const { id, apiKeyId } of deadRecords)
    process.stdout.write(
      `${id}  its key ${apiKeyId} no longer exists in AWS${yes ? '' : '; --yes records that it has ended'}\n`,
    )
  for (const { id, apiKeyId } of disabledKeys)
    process.stdout.write(`${id}  its key ${apiKeyId} is disabled in AWS, and stays so\n`)
  for (const { id, apiKeyId } of detachedKeys)
    process.stdout.write(`${id}  its key ${apiKeyId} is on no usage plan of the API, and stays so\n`)
  for (const [storeId, keys] of otherStores)
    process.stderr.write(`Keys of another store, ${storeId}: ${keys}. They are left alone.\n`)
  if (unmarkedKeys.length > 0 && !unmarked)
    process.stderr.write(
      `Unknown keys without a store id: ${unmarkedKeys.length}. A version before store ids made them, and they may belong ` +
        'to another store in this account and Region. If none does, delete them with: firstkey reconcile --yes --unmarked\n',
    )
  if (youngRecords.length === 0) return
  for (const one of youngRecords)
    process.stdout.write(
      `${one.id}  AWS does not list its key ${one.apiKeyId} as usable; too young to be judged before ${showTime(settlesAt(one))}\n`,
    )
  const minutes = SETTLED_AFTER_MS / 60_000
  process.stderr.write(
    `Too young to judge: ${youngRecords.length}. AWS may list a key late for ${minutes} minutes: run this command again afterwards.\n`,
  )
}

/** The time from which {@link findDiscrepancies} judges a record. */
const settlesAt = ({ createdAt }: Registration) => createdAt + SETTLED_AFTER_MS

function keyJson({ id, name }: Discrepancies['strayKeys'][number]): object {
  return { api_key_id: id, name }
}

function recordJson({ id, apiKeyId, rotation }: Registration): object {
  return { id, registration_id: rotation?.of ?? id, api_key_id: apiKeyId }
}
