import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { readStoreLocation, type StoreLocation } from '../config.ts'
import { cloudFormation } from '../store/dynamodb/table.ts'
import { openStore } from '../store/open.ts'
import { operator, recordCommand } from './operator.ts'
import { note, printJson } from './output.ts'
import { withStore } from './with-store.ts'

/** Adds `firstkey store init|copy|backup`. Other commands do not load the DynamoDB SDK. */
export function addStoreCommands(program: Command): void {
  const store = program
    .command('store')
    .description('back up the store, create a DynamoDB table as the store, or copy a store into it')

  store
    .command('init')
    .description(
      'create the DynamoDB table that STORE names: on-demand capacity, expiry of items, point-in-time recovery, ' +
        'deletion protection',
    )
    .option('--cloudformation', 'print a CloudFormation template instead')
    .action(init)

  store
    .command('copy')
    .description(
      'copy all records into a DynamoDB table and verify the copy; can be repeated until a server uses the table',
    )
    .requiredOption('--from <store>', 'source, such as sqlite:./data/firstkey.db; stop its servers first')
    .requiredOption('--to <store>', 'target, such as dynamodb:firstkey; create it with: firstkey store init')
    .action(copy)

  store
    .command('backup')
    .description(
      'copy the SQLite file that STORE names, beside a running server, into a new file, and verify the copy; for a ' +
        'DynamoDB table use point-in-time recovery',
    )
    .argument('<file>', 'a file that does not exist yet')
    .action(backUpStore)
}

async function init({ cloudformation }: { cloudformation?: true }): Promise<void> {
  const location = readStoreLocation(process.env)
  if (location.kind !== 'dynamodb')
    throw new Error(
      'STORE names a file, which firstkey creates when it is needed; to create a table, set STORE=dynamodb:TABLE',
    )
  const { table, region } = location
  if (cloudformation) return printJson(cloudFormation(table))
  const { initTable } = await import('../store/dynamodb.ts')
  const { made, expiryTurnedOn, recovery, isOnDemand, isProtected } = await initTable(location)
  const update = `aws dynamodb update-table --region ${region} --table-name ${table}`
  const lines = [
    made ? `Created table ${table} in ${region}.` : `Table ${table} in ${region} already exists.`,
    `Expiry of items: ${expiryTurnedOn ? 'turned on' : 'on'}.`,
    recovery === 'unsupported'
      ? 'Point-in-time recovery: off, because this endpoint does not support it.'
      : `Point-in-time recovery: ${recovery}.`,
    isProtected
      ? 'Deletion protection: on.'
      : `Deletion protection: off. Turn it on with: ${update} --deletion-protection-enabled`,
    isOnDemand
      ? 'Capacity: on demand.'
      : `Capacity: provisioned, and a burst beyond it is refused. Change that with: ${update} --billing-mode PAY_PER_REQUEST`,
  ]
  for (const line of lines) note(line)
}

async function copy({ from, to }: { from: string; to: string }): Promise<void> {
  const [source, target] = [locate('--from', from), locate('--to', to)]
  if (target.kind !== 'dynamodb') throw new Error('--to must be dynamodb:TABLE')
  if (source.kind === 'sqlite' && !existsSync(source.path))
    throw new Error(`--from: the file ${resolve(source.path)} does not exist`)
  const store = await openStore(source)
  try {
    // Recorded in the source before the copy, so that the copy contains the entry too.
    await recordCommand(store, operator())
    const { copyStore } = await import('../store/copy-store.ts')
    const copied = await copyStore(store, target, systemClock, showProgress)
    const { tokens, registrations, audit, sha256 } = copied
    process.stderr.write(
      `${endOfProgress()}Copied ${tokens} tokens, ${registrations} registrations and rotations, ${audit} audit entries ` +
        `to ${target.table}; the contents are the same on both sides (SHA-256 ${sha256.slice(0, 16)}…).\n` +
        `Now start the servers with STORE=${to}.\n`,
    )
  } finally {
    await store.close()
  }
}

async function backUpStore(file: string): Promise<void> {
  const location = readStoreLocation(process.env)
  if (location.kind === 'dynamodb')
    throw new Error(
      `STORE is the DynamoDB table ${location.table}, whose backup is point-in-time recovery: ` +
        'aws dynamodb restore-table-to-point-in-time makes a new table from it, see docs/for-operators.md',
    )
  const { path } = location
  await withStore(async () => {
    const begun = performance.now()
    const { backUp, sizeOf } = await import('../store/sqlite/backup.ts')
    const { tokens, registrations, audit, storeId } = await backUp(path, file, systemClock(), showProgress)
    const seconds = ((performance.now() - begun) / 1_000).toFixed(1)
    process.stderr.write(
      `${endOfProgress()}Backed up ${tokens} tokens, ${registrations} registrations and rotations, ${audit} audit entries of the store ` +
        `${storeId} to ${resolve(file)} (${sizeOf(file).toLocaleString('en-US')} bytes) in ${seconds} s, and verified the copy.\n`,
    )
  })
}

/** Reads the store that an option names, in the syntax of `STORE`. @throws Error that names the option */
function locate(option: string, text: string): StoreLocation {
  try {
    return readStoreLocation({ ...process.env, STORE: text })
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new Error(`${option} ${text}: ${reason}`, { cause: error })
  }
}

function showProgress(done: number, all: number): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${all}`)
}

const endOfProgress = () => (process.stderr.isTTY ? '\n' : '')
