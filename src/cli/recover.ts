import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import type { Deps } from '../deps.ts'
import { forgetOld } from '../registration/idempotency/forget-old.ts'
import { deleteDueKeys } from '../registration/jobs/delete-keys.ts'
import { createLeaderLease } from '../registration/jobs/leader-lease.ts'
import {
  type Decision,
  decideLeft,
  type LeftKey,
  listLeft,
  lookAtLeft,
  planDecision,
} from '../registration/jobs/left.ts'
import { planRecovery, type Recovered, type RecoveryPlan, recover } from '../registration/jobs/recover.ts'
import { type Settled, settleDoubts } from '../registration/jobs/settle-doubts.ts'
import { mayHaveKey, needsRecovery, type RecoveryAction } from '../registration/lifecycle.ts'
import type { Actor } from '../store/audit.ts'
import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import type { AbandonedUses } from '../store/upkeep.ts'
import { describeDoubt, doubtJson, listDoubts } from './doubts.ts'
import { endDryRun } from './dry-run.ts'
import { finishWork } from './finish-work.ts'
import { showTime } from './format.ts'
import { note, print, printJson } from './output.ts'
import { describeUse, summarizeUse } from './usage-days.ts'
import { isConfigured, requireRightClock, withDeps } from './with-deps.ts'
import { withStore } from './with-store.ts'

interface RecoverOptions {
  readonly yes?: true
  readonly keep?: true
  readonly json?: true
}

/** The most keys whose end has come that are listed at once. */
const MOST_DUE = 1_000

/** The names of the actions in the output. `--json` prints the actions themselves. */
const NAMES: Record<RecoveryAction, string> = { adopt: 'adopt', undo: 'undo', sweep: 'late-key check' }

/** The effects of the decisions in the output. */
const EFFECTS: Record<Decision, string> = {
  kept: 'its key is kept, and counts as delivered',
  undone: 'it is undone, and its use is refunded',
  released:
    'it is treated like any other, and undone a day after it was made unless a caller shows that it has the key',
  open: 'nothing is decided; add --keep to keep its key',
}

const REASONS = { expired: 'has expired', rotated: 'was replaced', revoked: 'was revoked' } as const

const MAY_BE_MORE = 'There may be more: run the same command again afterwards.'

/** Adds `firstkey registrations recover`, and its former name `reconcile`, which no help mentions. */
export function addRecoverCommand(registrations: Command): void {
  define(registrations.command('recover'))
  define(registrations.command('reconcile', { hidden: true }))
}

function define(command: Command): void {
  command
    .description(
      'complete or undo unfinished registrations and rotations, settle those that have been in doubt for a day, ' +
        'refund uses of registrations that were never recorded, and delete keys that were revoked, were replaced or ' +
        'have expired, as a running server does automatically; dry run unless --yes',
    )
    .option(
      '--yes',
      'recover them instead of listing them; of those that wait for you, keep the keys that were used and undo the others',
    )
    .option('--keep', 'with --yes: keep also the keys that were not used, of those that wait for you')
    .option('--json', 'print JSON')
    .action((options: RecoverOptions) => (options.yes ? recoverNow(options) : preview(options)))
}

/** Prints the work of recovery without doing it. Reads only. */
async function preview(options: RecoverOptions): Promise<void> {
  let needsLook = false
  await withStore(async (store) => {
    const waiting = await listLeft(store, systemClock())
    needsLook = waiting.length > 0 && isConfigured()
    if (!needsLook) await previewOf(store, waiting.map(unseen), options)
  })
  if (!needsLook) return
  await withDeps(async (deps) => {
    const { store, clock } = deps
    const looks = await lookAtLeft(deps, await listLeft(store, clock()))
    const planned = looks.map((one) => ({
      ...one,
      decision: planDecision(one, options.keep === true),
      done: false,
    }))
    await previewOf(store, planned, options)
  })
}

const unseen = (registration: Registration): Left => ({ registration, done: false })

async function previewOf(store: Store, left: readonly Left[], { json }: RecoverOptions): Promise<void> {
  const now = systemClock()
  const { registrations, abandonedUses, mayBeMore } = await planRecovery(store, now)
  const doubts = await listOtherDoubts(store, left, now)
  const due = await store.listDue(now, MOST_DUE)
  report(
    {
      left,
      registrations: registrations.map((one) => ({ ...one, done: false })),
      due: due.map((registration) => ({ registration, done: false })),
      refunds: abandonedUses.map((one) => ({ ...one, done: false })),
      doubts,
      settled: [],
    },
    json,
  )
  if (left.length > 0)
    note(
      'Of those that wait for you, --yes keeps the keys that were used and undoes the others; --yes --keep keeps them all.',
    )
  const isRestored = (await store.findRestore()) !== null
  const work = left.length + registrations.length + abandonedUses.length + due.length
  if (isRestored || work > 0 || doubts.some(({ doubt }) => doubt.until <= now))
    endDryRun(['registrations', 'recover'])
  if (mayBeMore || due.length === MOST_DUE) note(MAY_BE_MORE)
}

/** Recovers what is listed now: by a running server, otherwise by this command. */
function recoverNow({ json, keep }: RecoverOptions): Promise<void> {
  return withDeps(async (deps, actor) => {
    await requireRightClock(deps)
    const { clock, store } = deps
    const left = await decideAll(deps, keep === true, actor)
    // As a server does: it undoes what no retry can ask for any more.
    await forgetOld(deps, clock())
    const { registrations, abandonedUses, mayBeMore } = await planRecovery(store, clock())
    const due = (await store.listDue(clock(), MOST_DUE)).map((registration) => ({ registration }))
    const { unfinished, interrupted } = await finishWork<Planned | AbandonedUses | Due>(deps, {
      items: [...registrations, ...abandonedUses, ...due],
      name: 'registrations',
      async isDone(item) {
        if ('count' in item) {
          const now = await planRecovery(store, clock())
          return !now.abandonedUses.some(({ tokenId }) => tokenId === item.tokenId)
        }
        const record = await store.getRegistration(item.registration.id)
        if (record === undefined) return true
        return 'action' in item ? !needsRecovery(record, clock()) : !mayHaveKey(record)
      },
      async round(_unfinished, leaderLease, stop) {
        // First: of keys that expired before a caller received them, it leaves the registrations to recovery.
        await deleteDueKeys(deps, leaderLease, stop)
        await recover(deps, stop)
      },
    })
    const settled = await settleAlone(deps)
    const undone = new Set(unfinished)
    report(
      {
        left,
        registrations: registrations.map((one) => ({ ...one, done: !undone.has(one) })),
        due: due.map((one) => ({ ...one, done: !undone.has(one) })),
        refunds: abandonedUses.map((one) => ({ ...one, done: !undone.has(one) })),
        doubts: await listDoubts(store, clock()),
        settled,
      },
      json,
    )
    if (mayBeMore || due.length === MOST_DUE) note(MAY_BE_MORE)
    if (left.some(({ done }) => !done))
      throw new Error('some registrations still wait for you: see above, and run the same command again')
    if (undone.size > 0 && !interrupted)
      throw new Error(
        'some registrations could not be recovered; the log above, or that of the server, says why',
      )
  })
}

/** Decides about all that waits for an operator. When nothing waits any more, the store is treated like any other. */
async function decideAll(deps: Deps, keep: boolean, actor: Actor): Promise<Decided[]> {
  const { store, clock } = deps
  const restoredAsOf = await store.findRestore()
  const decided: Decided[] = []
  for (const one of await lookAtLeft(deps, await listLeft(store, clock()))) {
    const decision = await decideLeft(deps, one, keep, actor)
    decided.push({ ...one, decision, done: decision !== 'open' })
  }
  if (restoredAsOf !== null && decided.every(({ done }) => done)) {
    await store.acceptRestore(restoredAsOf)
    note('The restore is dealt with: from now on the store is treated like any other.')
  }
  return decided
}

/** The doubts, without those that wait for an operator. */
async function listOtherDoubts(store: Store, left: readonly Left[], now: number) {
  const ids = new Set(left.map(({ registration }) => registration.id))
  return (await listDoubts(store, now)).filter(({ registration }) => !ids.has(registration.id))
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

type Decided = LeftKey & { readonly decision: Decision; readonly done: boolean }
/** One that waits for an operator, before AWS is asked about its key or after. */
type Left = Decided | { readonly registration: Registration; readonly done: false }

/** A registration or rotation whose key is to be deleted because its end has come. */
interface Due {
  readonly registration: Registration
}

interface Report {
  /** Those that wait for an operator, or did. */
  readonly left: readonly Left[]
  readonly registrations: readonly Recovered[]
  readonly refunds: readonly (AbandonedUses & { readonly done: boolean })[]
  readonly due: readonly (Due & { readonly done: boolean })[]
  /** Those that are still in doubt. */
  readonly doubts: Awaited<ReturnType<typeof listDoubts>>
  readonly settled: readonly Settled[]
}

function report(
  { left, registrations, refunds, due, doubts, settled }: Report,
  json: true | undefined,
): void {
  const done = settled.filter(({ outcome }) => outcome !== 'open')
  if (json) {
    printJson([
      ...left.map(leftJson),
      ...registrations.map(({ registration, action, done }) => ({ id: registration.id, action, done })),
      ...refunds.map(({ tokenId, done, count }) => ({ id: tokenId, action: 'refund', done, count })),
      ...due.map(({ registration: { id }, done }) => ({ id, action: 'delete', done })),
      ...done.map(({ registration: { id }, outcome }) => ({ id, action: 'settle', done: true, outcome })),
      ...doubts.map(({ registration: { id }, doubt }) => ({
        ...doubtJson(id, doubt),
        action: 'settle',
        done: false,
      })),
    ])
    return
  }
  if (left.length + registrations.length + refunds.length + due.length + doubts.length + done.length === 0)
    note('There is nothing to recover.')
  for (const one of left) print(line(one.registration.id, 'waits for you', one.done, describeLeft(one)))
  for (const { registration, action, done } of registrations) {
    print(line(registration.id, NAMES[action], done, effectOf(registration, action, done)))
  }
  for (const { tokenId, count, done } of refunds) {
    const [uses, are] = count === 1 ? ['use', 'is'] : ['uses', 'are']
    const meaning = `${count} ${uses} that a stopped process spent without recording a registration ${are} refunded`
    print(line(tokenId, 'refund', done, meaning))
  }
  for (const { registration, done } of due) {
    const { id, apiKeyId, endReason } = registration
    print(
      line(
        id,
        'delete',
        done,
        `its key ${apiKeyId} is deleted, because it ${REASONS[endReason ?? 'expired']}`,
      ),
    )
  }
  for (const { registration, outcome } of done) {
    const meaning =
      outcome === 'undone' ? effectOf(registration, 'undo', true) : 'its caller received the key'
    print(line(registration.id, 'in doubt', true, meaning))
  }
  for (const { registration, doubt } of doubts)
    print(line(registration.id, 'in doubt', false, describeDoubt(doubt)))
}

function leftJson(one: Left): object {
  const fields = { id: one.registration.id, action: 'decide', done: one.done }
  if (!('decision' in one)) return fields
  const { decision, apiKeyId, daysUsed } = one
  const days = daysUsed === null ? null : summarizeUse(daysUsed).count
  return { ...fields, decision, api_key_id: apiKeyId, days_used: days }
}

/** Describes a registration that waits for an operator, and the decision. */
function describeLeft(one: Left): string {
  const since = `it was unfinished at ${showTime(one.registration.createdAt)} and may have been answered since; `
  if (!('decision' in one)) return `${since}with the server's configuration this command shows its key`
  const { apiKeyId, daysUsed, decision } = one
  const use =
    apiKeyId === null
      ? 'it has no key in AWS'
      : daysUsed === null
        ? `whether its key ${apiKeyId} was used cannot be read`
        : `its key ${apiKeyId} was ${describeUse(daysUsed)}`
  return `${since}${use}: ${EFFECTS[decision]}`
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
  return `${id}  ${action}${done ? ' (done)' : ''}: ${meaning}`
}
