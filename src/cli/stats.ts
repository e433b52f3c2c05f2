import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import type { Deps } from '../deps.ts'
import { KEY_QUOTA } from '../key-quota.ts'
import type { PlanPool } from '../registration/pool/pool-report.ts'
import type { Store } from '../store/store.ts'
import { listDoubts } from './doubts.ts'
import { formatTable, isoTime, showTime } from './format.ts'
import { note, printJson, write } from './output.ts'
import { plansJson, readPool } from './pool.ts'
import { isConfigured, withDeps } from './with-deps.ts'
import { withStore } from './with-store.ts'

/** The longest time for which the keys of the account are counted (ms): 20 pages, also beside a server that needs the quota. */
const COUNT_TIMEOUT_MS = 30_000
/** The newest audit entries that are searched for refusals. */
const MOST_REFUSALS = 10_000

interface StatsOptions {
  readonly json?: true
}

/** Adds `firstkey registrations stats`. */
export function addStatsCommand(registrations: Command): void {
  registrations
    .command('stats')
    .description(
      'count registrations by plan and status, and the keys of the account, whose quota they share',
    )
    .option('--json', 'print JSON')
    .action((options: StatsOptions) =>
      isConfigured()
        ? withDeps((deps) => stats(deps.store, () => countAccount(deps), options))
        : withStore((store) =>
            stats(store, async () => 'that needs the whole configuration of the server', options),
          ),
    )
}

/** All keys of the account and Region; a text is the reason why they are not counted. */
type AccountKeys = { readonly count: number; readonly isComplete: boolean } | string

async function countAccount({ lowPriorityApiGateway }: Deps): Promise<AccountKeys> {
  try {
    return await lowPriorityApiGateway.countKeys(AbortSignal.timeout(COUNT_TIMEOUT_MS))
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

async function stats(
  store: Store,
  countKeys: () => Promise<AccountKeys>,
  { json }: StatsOptions,
): Promise<void> {
  const counts = await store.countByStatus(systemClock())
  const active = counts.filter(({ status }) => status === 'active').reduce((sum, { count }) => sum + count, 0)
  const keys = await store.countKeys()
  const inDoubt = (await listDoubts(store, systemClock())).length
  const refusals = await refusalsOfLastHour(store)
  const pool = await readPool(store, systemClock())
  const pooled = pool.plans.reduce((sum, { counts }) => sum + totalOf(counts), 0)
  const account = await countKeys()
  if (json) {
    printJson({
      store_id: store.id,
      active,
      in_doubt: inDoubt,
      keys,
      key_quota: KEY_QUOTA,
      account_keys: typeof account === 'string' ? null : accountJson(account, keys + pooled),
      counts: counts.map(({ plan, status: standing, count }) => ({ plan, standing, count })),
      pool: plansJson(pool, systemClock()),
      refused_last_hour: refusals.map(([code, at]) => ({ code, last_at: isoTime(at) })),
    })
  } else {
    const rows = counts.map(({ plan, status, count }) => [plan, status, String(count)])
    if (rows.length > 0) write(formatTable(['PLAN', 'STATUS', 'COUNT'], rows))
    note(`Active registrations: ${active}. Keys in doubt: ${inDoubt}. Keys of registrations: ${keys}.`)
    note(`Names of this store's keys begin with reg_${store.id}, rot_${store.id} and pool_${store.id}.`)
    for (const { plan, size, counts } of pool.plans)
      note(`Pool of plan ${plan}: ${describePool(size, counts)}.`)
    if (typeof account !== 'string') note(describeAccount(account, keys + pooled))
    for (const [code, at] of refusals) note(`Refused in the last hour: ${code}, last at ${showTime(at)}`)
  }
  if (typeof account === 'string')
    note(
      `The keys of the account, of which ${number(KEY_QUOTA)} can exist in a Region, were not counted: ${account}`,
    )
}

/** `other` and `room` are what the store's keys, with those of the pool, and all keys leave; while keys are made or deleted they are a little off. */
function accountJson({ count, isComplete }: Exclude<AccountKeys, string>, own: number) {
  const [other, room] = [Math.max(0, count - own), Math.max(0, KEY_QUOTA - count)]
  return { total: count, other, room, complete: isComplete }
}

const totalOf = (counts: PlanPool['counts']) => Object.values(counts).reduce((sum, n) => sum + n, 0)

function describePool(size: number, counts: PlanPool['counts']): string {
  const { ready } = counts
  const left = totalOf(counts)
  if (size === 0 && left === 0) return 'none, because a server does not have the plan in POOL'
  if (size === 0) return `none, so its keys are deleted: ${number(left)} left`
  return ready === 0 ? `empty, of ${number(size)} keys` : `${number(ready)} of ${number(size)} keys are ready`
}

function describeAccount(account: Exclude<AccountKeys, string>, own: number): string {
  const { total, other, room, complete } = accountJson(account, own)
  if (!complete)
    return `Keys of the account in this Region: more than ${number(total)}; counting took longer than ${COUNT_TIMEOUT_MS / 1_000} s.`
  return (
    `Keys of the account in this Region: ${number(total)} of ${number(KEY_QUOTA)}, ${number(other)} of them not of this store; ` +
    `room for ${number(room)} more.`
  )
}

const number = (count: number) => count.toLocaleString('en-US')

/** The codes with which requests were refused in the last hour, each with the time of the last one, newest first. */
async function refusalsOfLastHour(store: Store): Promise<[code: string, at: number][]> {
  const entries = await store.listAudit({ since: systemClock() - 3_600_000, limit: MOST_REFUSALS })
  const lastAt = new Map<string, number>()
  for (const { action, detail, at } of entries) {
    // The entry of repeated refusals has their number after the code.
    const [code = ''] = detail?.split(':') ?? []
    if (action === 'request.refused' && !lastAt.has(code)) lastAt.set(code, at)
  }
  return [...lastAt]
}
