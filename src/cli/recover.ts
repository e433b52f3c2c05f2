import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import type { Deps } from '../deps.ts'
import { createLeaderLease } from '../registration/jobs/leader-lease.ts'
import { planRecovery, type Recovered, type RecoveryPlan, recover } from '../registration/jobs/recover.ts'
import { type Settled, settleDoubts } from '../registration/jobs/settle-doubts.ts'
import { needsRecovery, type RecoveryAction } from '../registration/lifecycle.ts'
import type { Registration } from '../store/records.ts'
import type { AbandonedUses, UpkeepQueries } from '../store/upkeep.ts'
import { describeDoubt, doubtJson, listDoubts } from './doubts.ts'
import { finishWork } from './finish-work.ts'
import { printJson } from './format.ts'
import { requireRightClock, withDeps } from './with-deps.ts'
import { withStore } from './with-store.ts'

interface RecoverOptions {
  readonly yes?: true
  readonly json?: true
}

/** The names of the actions in the output. `--json` prints the actions themselves. */
const NAMES: Record<RecoveryAction, string> = { adopt: 'adopt', undo: 'undo', sweep: 'late-key check' }

const MAY_BE_MORE = 'There may be more: run the same command again afterwards.\n'

/** Adds `firstkey registrations recover`, and its former name `reconcile`, which no help mentions. */
export function addRecoverCommand(registrations: Command): void {
  define(registrations.command('recover'))
  define(registrations.command('reconcile', { hidden: true }))
}

function define(command: Command): void {
  command
    .description(
      'complete or undo unfinished registrations and rotations, settle those that have been in doubt for a day, and ' +
        'refund uses of registrations that were never recorded, as a running server does automatically; dry run ' +
        'unless --yes',
    )
    .option('--yes', 'recover them instead of listing them')
    .option('--json', 'print JSON')
    .action((options: RecoverOptions) =>
      options.yes ? recoverNow(options) : withStore((store) => preview(store, options)),
    )
}

/** Prints the work of recovery without doing it. Reads only. */
async function preview(store: UpkeepQueries, { json }: RecoverOptions): Promise<void> {
  const now = systemClock()
  const { registrations, abandonedUses, mayBeMore } = await planRecovery(store, now)
  const doubts = await listDoubts(store, now)
  report(
    {
      registrations: registrations.map((one) => ({ ...one, done: false })),
      refunds: abandonedUses.map((one) => ({ ...one, done: false })),
      doubts,
      settled: [],
    },
    json,
  )
  if (registrations.length + abandonedUses.length > 0 || doubts.some(({ doubt }) => doubt.until <= now))
    process.stderr.write('Nothing was changed. To recover them, run: firstkey registrations recover --yes\n')
  if (mayBeMore) process.stderr.write(MAY_BE_MORE)
}

/** Recovers what is listed now: by a running server, otherwise by this command. */
function recoverNow({ json }: RecoverOptions): Promise<void> {
  return withDeps(async (deps) => {
    await requireRightClock(deps)
    const { clock, store, timing } = deps
    // As a server does: it undoes what no retry can ask for any more.
    await store.forgetIdempotency(clock() - timing.idempotency)
    const { registrations, abandonedUses, mayBeMore } = await planRecovery(store, clock())
    const { unfinished, interrupted } = await finishWork<Planned | AbandonedUses>(deps, {
      items: [...registrations, ...abandonedUses],
      name: 'registrations',
      async isDone(item) {
        if ('count' in item) {
          const left = await planRecovery(store, clock())
          return !left.abandonedUses.some(({ tokenId }) => tokenId === item.tokenId)
        }
        const record = await store.getRegistration(item.registration.id)
        return record === undefined || !needsRecovery(record, clock())
      },
      round: (_unfinished, _leaderLease, stop) => recover(deps, stop),
    })
    const settled = await settleAlone(deps)
    const left = new Set(unfinished)
    report(
      {
        registrations: registrations.map((one) => ({ ...one, done: !left.has(one) })),
        refunds: abandonedUses.map((one) => ({ ...one, done: !left.has(one) })),
        doubts: await listDoubts(store, clock()),
        settled,
      },
      json,
    )
    if (mayBeMore) process.stderr.write(MAY_BE_MORE)
    if (left.size > 0 && !interrupted)
      throw new Error(
        'some registrations could not be recovered; the log above, or that of the server, says why',
      )
  })
}

/** Settles what has been in doubt long enough, unless a server runs: it does so every minute. */
async function settleAlone(deps: Deps): Promise<Settled[]> {
  const leaderLease = createLeaderLease(deps)
  if (!(await leaderLease.isHeld())) return []
  try {
    return await settleDoubts(deps)
  } finally {
    await leaderLease.release()
  }
}

type Planned = RecoveryPlan['registrations'][number]

interface Report {
  readonly registrations: readonly Recovered[]
  readonly refunds: readonly (AbandonedUses & { readonly done: boolean })[]
  /** Those that are still in doubt. */
  readonly doubts: Awaited<ReturnType<typeof listDoubts>>
  readonly settled: readonly Settled[]
}

function report({ registrations, refunds, doubts, settled }: Report, json: true | undefined): void {
  const done = settled.filter(({ outcome }) => outcome !== 'open')
  if (json) {
    printJson([
      ...registrations.map(({ registration, action, done }) => ({ id: registration.id, action, done })),
      ...refunds.map(({ tokenId, done, count }) => ({ id: tokenId, action: 'refund', done, count })),
      ...done.map(({ registration: { id }, outcome }) => ({ id, action: 'settle', done: true, outcome })),
      ...doubts.map(({ registration: { id }, doubt }) => ({
        ...doubtJson(id, doubt),
        action: 'settle',
        done: false,
      })),
    ])
    return
  }
  if (registrations.length + refunds.length + doubts.length + done.length === 0)
    process.stderr.write('There is nothing to recover.\n')
  for (const { registration, action, done } of registrations) {
    process.stdout.write(line(registration.id, NAMES[action], done, effectOf(registration, action, done)))
  }
  for (const { tokenId, count, done } of refunds) {
    const [uses, are] = count === 1 ? ['use', 'is'] : ['uses', 'are']
    const meaning = `${count} ${uses} that a stopped process spent without recording a registration ${are} refunded`
    process.stdout.write(line(tokenId, 'refund', done, meaning))
  }
  for (const { registration, outcome } of done) {
    const meaning =
      outcome === 'undone' ? effectOf(registration, 'undo', true) : 'its caller received the key'
    process.stdout.write(line(registration.id, 'in doubt', true, meaning))
  }
  for (const { registration, doubt } of doubts)
    process.stdout.write(line(registration.id, 'in doubt', false, describeDoubt(doubt)))
}

/** Returns the effect of an action in words: as a plan, or as far as it is known once the action is done. */
function effectOf({ rotation }: Registration, action: RecoveryAction, done: boolean): string {
  if (action === 'sweep') return 'it failed; if its key was created late, the key is deleted'
  if (action === 'undo') {
    return rotation === null
      ? 'its key is deleted and the use is refunded'
      : 'its key is deleted; the registration keeps its present key'
  }
  return done
    ? 'its key is attached and kept for a retry, or it was undone because it has no usable key'
    : 'its key is attached to the plan and kept for a retry; if it has no key, it is undone'
}

function line(id: string, action: string, done: boolean, meaning: string): string {
  return `${id}  ${action}${done ? ' (done)' : ''}: ${meaning}\n`
}
