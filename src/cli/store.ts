import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { readStoreLocation, type StoreLocation } from '../config.ts'
import { cloudFormation } from '../store/dynamodb/table.ts'
import { openStore } from '../store/open.ts'
import { printJson } from './format.ts'
import { operator, recordCommand } from './operator.ts'

/** `firstkey store init|copy`. The SDK of DynamoDB is loaded only where it is used. */
export function addStoreCommands(program: Command): void {
  const store = program.command('store').description('where everything is remembered')

  store
    .command('init')
    .description(
      'make the table of DynamoDB that STORE names: on demand, with expiry, recovery, deletion protection',
    )
    .option('--cloudformation', 'print it as a CloudFormation template instead')
    .action(init)

  store
    .command('copy')
    .description('copy everything into a table of DynamoDB, and compare; can be repeated until that is used')
    .requiredOption('--from <store>', 'as in sqlite:./data/firstkey.db; no server may be running on it')
    .requiredOption('--to <store>', 'as in dynamodb:firstkey; made with: firstkey store init')
    .action(copy)
}

async function init({ cloudformation }: { cloudformation?: true }): Promise<void> {
  const location = readStoreLocation(process.env)
  if (location.kind !== 'dynamodb')
    throw new Error('STORE names a file, which is made by itself: for a table it is dynamodb:TABLE')
  const { table, region } = location
  if (cloudformation) return printJson(cloudFormation(table))
  const { initTable } = await import('../store/dynamodb.ts')
  const { made, recovery } = await initTable(location)
  process.stderr.write(
    made
      ? `The table ${table} in ${region} is made.\n`
      : `The table ${table} in ${region} is there already.\n`,
  )
  if (!recovery) process.stderr.write('This endpoint knows no point-in-time recovery: there is none.\n')
}

async function copy({ from, to }: { from: string; to: string }): Promise<void> {
  const [source, target] = [locate('--from', from), locate('--to', to)]
  if (target.kind !== 'dynamodb') throw new Error('--to must be dynamodb:TABLE')
  if (source.kind === 'sqlite' && !existsSync(source.path))
    throw new Error(`--from: there is no file ${source.path}`)
  const store = await openStore(source)
  try {
    // Recorded where it comes from, and so copied with all that is there.
    await recordCommand(store, operator())
    const { copyStore } = await import('../store/copy.ts')
    const copied = await copyStore(store, target, systemClock, showProgress)
    const { tokens, registrations, audit, sha256 } = copied
    process.stderr.write(
      `${process.stderr.isTTY ? '\n' : ''}${tokens} tokens, ${registrations} registrations and rotations, ${audit} audit entries are in ` +
        `${target.table}, the same on both sides (SHA-256 ${sha256.slice(0, 16)}…).\n` +
        `Now start the servers with STORE=${to}.\n`,
    )
  } finally {
    await store.close()
  }
}

/** What an option names, as `STORE` would. */
function locate(option: string, text: string): StoreLocation {
  try {
    return readStoreLocation({ ...process.env, STORE: text })
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new Error(`${option} ${text}: ${reason}`, { cause: error })
  }
}

function showProgress(done: number, all: number): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${all} writes`)
}
