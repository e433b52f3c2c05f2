import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { formatAge } from '../duration.ts'
import {
  emptyPools,
  type HolderReport,
  type PoolReport,
  reportPool,
} from '../registration/pool/pool-report.ts'
import type { PoolKeyState, PoolStore } from '../store/pool.ts'
import { formatTable, isoTime, showTime } from './format.ts'
import { note, printJson, write } from './output.ts'
import { withStore } from './with-store.ts'

/** In the order of a key's life, with the one that matters most first. */
const COLUMNS: readonly PoolKeyState[] = ['ready', 'warming', 'making', 'discarding']
/** Enough of a holder's random name to tell it from others. */
const SHORT = 6

/** Adds `firstkey pool`. */
export function addPoolCommand(program: Command): void {
  program
    .command('pool')
    .summary('show the keys that are made beforehand')
    .description(
      'Shows the keys that are made beforehand (POOL), by plan and state, and the processes that hold them. It reads only the ' +
        'store. SIZE is the smallest size that these processes have for the plan. READY keys can be handed out, WARMING ones are not ' +
        'yet known to work, MAKING ones are ordered, DISCARDING ones are being deleted. UNHELD keys have no process: they are ' +
        "not handed out, and another process takes them over or deletes them. UNTIL is the end of a process's lease, " +
        'TROUBLE what holds up the filling.',
    )
    .option('--json', 'print JSON')
    .action(({ json }: { json?: true }) =>
      withStore(async (store) => {
        const now = systemClock()
        const report = await readPool(store, now)
        if (json) printJson(reportJson(report, now))
        else show(report, now)
      }),
    )
}

/** Reads the pool of the whole service. @throws ServiceError of the store */
export async function readPool(store: PoolStore, now: number): Promise<PoolReport> {
  const holders = await store.listPoolHolders()
  return reportPool(await store.listPoolKeys(), holders, now)
}

/** The JSON of the plans: numbers of keys, and ages in seconds. */
export function plansJson({ plans }: PoolReport, now: number): object[] {
  const seconds = (at: number | null) => (at === null ? null : Math.round((now - at) / 1_000))
  return plans.map(({ plan, size, counts, unheld, oldest, newest }) => ({
    plan,
    size,
    ...counts,
    unheld,
    oldest_seconds: seconds(oldest),
    newest_seconds: seconds(newest),
  }))
}

function reportJson(report: PoolReport, now: number): object {
  return {
    plans: plansJson(report, now),
    holders: report.holders.map((holder) => ({
      holder: shortName(holder),
      live: holder.isLive,
      until: isoTime(holder.until),
      keys: holder.keys,
      sizes: holder.sizes,
      trouble: holder.trouble,
    })),
  }
}

function show(report: PoolReport, now: number): void {
  const age = (at: number | null) => (at === null ? '' : formatAge(now - at))
  const { plans, holders } = report
  const rows = plans.map(({ plan, size, counts, unheld, oldest, newest }) => [
    plan,
    ...[size, ...COLUMNS.map((state) => counts[state]), unheld].map(String),
    age(oldest),
    age(newest),
  ])
  if (rows.length > 0)
    write(
      formatTable(
        ['PLAN', 'SIZE', ...COLUMNS.map((state) => state.toUpperCase()), 'UNHELD', 'OLDEST', 'NEWEST'],
        rows,
      ),
    )
  const processes = holders.map((holder) => [
    shortName(holder),
    String(holder.keys),
    `${showTime(holder.until)}${holder.isLive ? '' : ' (expired)'}`,
    Object.entries(holder.sizes)
      .map(([plan, size]) => `${plan}:${size}`)
      .join(','),
    holder.trouble ?? '',
  ])
  if (rows.length > 0 && processes.length > 0) write('\n')
  if (processes.length > 0) write(formatTable(['HOLDER', 'KEYS', 'UNTIL', 'POOL', 'TROUBLE'], processes))
  for (const plan of emptyPools(report))
    note(
      `No key of the pool of plan ${plan} is ready: a key that is made now works only after API Gateway's delay.`,
    )
  if (!holders.some(({ isLive }) => isLive)) note('No running server has POOL set.')
}

const shortName = ({ owner }: HolderReport) => owner.slice(0, SHORT)
