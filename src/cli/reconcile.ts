import type { Command } from 'commander'
import {
  type Discrepancies,
  deleteStrayKey,
  endDeadRecord,
  findDiscrepancies,
  SETTLED_AFTER_MS,
} from '../registration/jobs/reconcile.ts'
import { adoptKeys, lookAtUnknown, mayBeInUse, type UnknownKey } from '../registration/jobs/unknown-keys.ts'
import type { Registration } from '../store/records.ts'
import { endDryRun } from './dry-run.ts'
import { isoTime, showTime } from './format.ts'
import { note, print, printJson } from './output.ts'
import { describeUse, summarizeUse } from './usage-days.ts'
import { requireRightClock, withDeps } from './with-deps.ts'

interface ReconcileOptions {
  readonly yes?: true
  readonly force?: true
  readonly adopt?: true
  readonly delete?: true
  readonly deleteUsed?: true
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
    .option(
      '--yes',
      'make the changes: delete stray keys, record registrations whose key was deleted as revoked, and adopt or delete ' +
        'unknown keys',
    )
    .option('--adopt', 'record the unknown keys as registrations')
    .option('--delete', 'delete the unknown keys that were not used in the last 90 days')
    .option('--delete-used', 'delete all unknown keys, also those that were used')
    .option(
      '--unmarked',
      'treat unknown keys of versions before store ids, which may belong to another store, like those of this store',
    )
    .option('--force', 'delete the keys even if this store knows none of the firstkey keys in AWS')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nThe name of a key starts with reg_, rot_ or pool_ and the id of its store; pool_ is that of a' +
        '\nkey made beforehand, until it is renamed after the registration that has it. Keys of other' +
        '\nstores, and keys with other names, are never touched. A stray key has a record that says' +
        '\nthat it must not exist. An unknown key has no record: the store was restored from a' +
        '\nbackup, and the key was made since. --yes alone leaves it: choose --adopt or --delete. Keys that a version before' +
        '\nstore ids made have no such id: those that this store has no record of are listed' +
        '\napart, because they may belong to another store. --yes leaves them alone.',
    )
    .action(reconcile)
}

function reconcile(options: ReconcileOptions): Promise<void> {
  const { yes, force, unmarked, adopt } = options
  if (adopt && (options.delete || options.deleteUsed))
    throw new Error('--adopt keeps the unknown keys, and --delete deletes them: choose one')
  return withDeps(async (deps, actor) => {
    await deps.readiness.check() // Fails in the wrong account or Region: the usage plans do not exist there.
    if (yes) await requireRightClock(deps)
    const { signal } = new AbortController()
    const discrepancies = await findDiscrepancies(deps, signal)
    const { strayKeys, deadRecords, knownKeys } = discrepancies
    const ofThisStore = unmarked
      ? [...discrepancies.unknownKeys, ...discrepancies.unmarkedKeys]
      : discrepancies.unknownKeys
    const unknownKeys = await lookAtUnknown(deps, ofThisStore, signal)
    const toDelete = [...strayKeys, ...unknownKeys.filter((key) => isToDelete(key, options))]
    const needsForce = toDelete.length + (unmarked ? unknownKeys.length : 0) > 0 && knownKeys === 0
    report(discrepancies, unknownKeys, options)
    if (!yes) {
      if (needsForce) note('The store knows none of these keys: check that STORE is right.')
      advise(unknownKeys, options)
      if (toDelete.length + deadRecords.length + (adopt ? unknownKeys.length : 0) > 0)
        endDryRun(['reconcile'], [...flagsOf(options), ...(needsForce ? ['--force'] : [])])
      return
    }
    if (needsForce && !force) {
      throw new Error(
        `this store knows none of the firstkey keys in AWS (${toDelete.length}), so nothing was changed: ` +
          'check STORE, or add --force to change them',
      )
    }
    // Adopted before anything is deleted.
    const adopted = adopt && unknownKeys.length > 0 ? await adoptKeys(deps, unknownKeys, actor) : undefined
    for (const key of toDelete) await deleteStrayKey(deps, key, actor, AbortSignal.timeout(deps.timing.undo))
    for (const record of deadRecords) await endDeadRecord(deps, record, actor)
    const adoptedKeys =
      adopted === undefined
        ? ''
        : ` Keys adopted, for the token ${adopted.tokenId}: ${adopted.adopted.length}.`
    note(`Keys deleted: ${toDelete.length}.${adoptedKeys} Missing keys recorded: ${deadRecords.length}.`)
    const done = new Set([...toDelete, ...(adopted?.adopted ?? [])].map(({ id }) => id))
    advise(
      unknownKeys.filter(({ id }) => !done.has(id)),
      options,
    )
  })
}

/** Of the unknown keys, those that are deleted: never one that may be in use, unless that is said. */
function isToDelete(key: UnknownKey, options: ReconcileOptions): boolean {
  return options.deleteUsed === true || (options.delete === true && !mayBeInUse(key))
}

/** Says what can be done about unknown keys that are left. */
function advise(left: readonly UnknownKey[], options: ReconcileOptions): void {
  if (left.length === 0) return
  const used = left.filter(mayBeInUse).length
  const command = `firstkey reconcile --yes${options.unmarked ? ' --unmarked' : ''}`
  note(
    `Unknown keys: ${left.length}, of which ${used} were used in the last 90 days, or may have been. The store may be older than they are.`,
  )
  note(`  To keep them as registrations: ${command} --adopt`)
  note(`  To delete those that were not used: ${command} --delete (all of them: --delete-used)`)
  const detached = left.filter(({ plan }) => plan === null).length
  if (detached > 0)
    note(
      `  ${detached} of them are on no usage plan of this service, so they cannot be adopted: put them on one in AWS first.`,
    )
}

/** The options that choose what is changed. */
function flagsOf({ adopt, delete: unused, deleteUsed, unmarked }: ReconcileOptions): string[] {
  return [
    ...(adopt ? ['--adopt'] : []),
    ...(unused ? ['--delete'] : []),
    ...(deleteUsed ? ['--delete-used'] : []),
    ...(unmarked ? ['--unmarked'] : []),
  ]
}

function report(
  discrepancies: Discrepancies,
  unknownKeys: readonly UnknownKey[],
  { yes, json, unmarked }: ReconcileOptions,
): void {
  const { strayKeys, unmarkedKeys, otherStores, deadRecords, disabledKeys, detachedKeys, youngRecords } =
    discrepancies
  if (json) {
    printJson({
      stray_keys: strayKeys.map(keyJson),
      unknown_keys: unknownKeys.map(unknownJson),
      unmarked_keys: unmarkedKeys.map(keyJson),
      other_stores: [...otherStores].map(([store_id, keys]) => ({ store_id, keys })),
      dead_records: deadRecords.map(recordJson),
      disabled_keys: disabledKeys.map(recordJson),
      detached_keys: detachedKeys.map(recordJson),
      too_young: youngRecords.map((one) => ({ ...recordJson(one), checked_from: isoTime(settlesAt(one)) })),
    })
    return
  }
  const faults = [strayKeys, unknownKeys, unmarkedKeys, deadRecords, disabledKeys, detachedKeys, youngRecords]
  if (faults.every((list) => list.length === 0)) note('AWS and the store agree.')
  for (const { id, name } of strayKeys) print(`${id}  stray key: ${name}`)
  for (const key of unknownKeys) print(`${key.id}  unknown key: ${key.name} (${describeUnknown(key)})`)
  for (const { id, name } of unmarked ? [] : unmarkedKeys)
    print(`${id}  unknown key without a store id: ${name}`)
  for (const { id, apiKeyId } of deadRecords)
    print(
      `${id}  its key ${apiKeyId} no longer exists in AWS${yes ? '' : '; --yes records that it has ended'}`,
    )
  for (const { id, apiKeyId } of disabledKeys)
    print(`${id}  its key ${apiKeyId} is disabled in AWS, and stays so`)
  for (const { id, apiKeyId } of detachedKeys)
    print(`${id}  its key ${apiKeyId} is on no usage plan of the API, and stays so`)
  for (const [storeId, keys] of otherStores)
    note(`Keys of another store, ${storeId}: ${keys}. They are left alone.`)
  if (unmarkedKeys.length > 0 && !unmarked)
    note(
      `Unknown keys without a store id: ${unmarkedKeys.length}. A version before store ids made them, and they may belong ` +
        'to another store in this account and Region. If none does, see more with: firstkey reconcile --unmarked',
    )
  if (youngRecords.length === 0) return
  for (const one of youngRecords)
    print(
      `${one.id}  AWS does not list its key ${one.apiKeyId} as usable; too young to be judged before ${showTime(settlesAt(one))}`,
    )
  const minutes = SETTLED_AFTER_MS / 60_000
  note(
    `Too young to judge: ${youngRecords.length}. AWS may list a key late for ${minutes} minutes: run this command again afterwards.`,
  )
}

/** The time from which {@link findDiscrepancies} judges a record. */
const settlesAt = ({ createdAt }: Registration) => createdAt + SETTLED_AFTER_MS

function describeUnknown({ createdAt, plan, enabled, daysUsed }: UnknownKey): string {
  const use = daysUsed === null ? 'its usage cannot be read' : describeUse(daysUsed)
  const created = createdAt === null ? '' : `made ${showTime(createdAt)}, `
  return `${created}${plan === null ? 'on no plan of this service' : plan.name}, ${enabled ? '' : 'disabled, '}${use}`
}

function unknownJson({ id, name, createdAt, plan, enabled, daysUsed }: UnknownKey): object {
  const use = daysUsed === null ? null : summarizeUse(daysUsed)
  return {
    ...{ api_key_id: id, name, created_at: isoTime(createdAt), plan: plan?.name ?? null, enabled },
    ...{ days_used: use?.count ?? null, last_used: use?.last ?? null },
  }
}

function keyJson({ id, name }: Discrepancies['strayKeys'][number]): object {
  return { api_key_id: id, name }
}

function recordJson({ id, apiKeyId, rotation }: Registration): object {
  return { id, registration_id: rotation?.of ?? id, api_key_id: apiKeyId }
}
