import { type Command, Option } from 'commander'
import { systemClock } from '../clock.ts'
import { isRemembered, isReplayable, recoveryActionOf } from '../registration/lifecycle.ts'
import type { Doubt } from '../registration/queries/doubt.ts'
import {
  listUnfinished,
  type RegistrationView,
  viewRegistration,
} from '../registration/queries/registration-view.ts'
import { defaultTiming } from '../registration/timing.ts'
import { PUBLIC_STATUSES, type PublicStatus } from '../store/operators.ts'
import type { Federation, Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { type FutureTime, futureTime, pageSize } from './arguments.ts'
import { describeDoubt, doubtJson, readDoubt } from './doubts.ts'
import { formatRecord, isoTime, showTime } from './format.ts'
import { showClaims } from './identities.ts'
import { requireKnown } from './known-names.ts'
import { loadRegistration } from './load-registration.ts'
import { inPages, type ListForm, note, printJson, printList, write } from './output.ts'
import { addRecoverCommand } from './recover.ts'
import { addRevokeCommand } from './revoke.ts'
import { addRotateCommand } from './rotate.ts'
import { addStatsCommand } from './stats.ts'
import { addSuspendCommands } from './suspend.ts'
import { withStore } from './with-store.ts'

interface ListOptions {
  readonly status?: PublicStatus
  readonly token?: string
  readonly plan?: string
  readonly expiring?: FutureTime
  readonly inDoubt?: true
  readonly after?: string
  readonly limit: number
  readonly json?: true
}

/** Adds `firstkey registrations list|show|stats|suspend|resume|revoke|rotate|recover`. */
export function addRegistrationCommands(program: Command): void {
  const registrations = program
    .command('registrations')
    .description('manage registrations and their API keys')

  registrations
    .command('list')
    .description('list registrations, newest first')
    .option('--token <id>', 'only registrations created with this token')
    .option('--plan <name>', 'only registrations on this plan')
    .addOption(
      new Option('--status <status>', 'only registrations with this status').choices(PUBLIC_STATUSES),
    )
    .option(
      '--expiring <time>',
      'only registrations whose key expires by this time: within a duration such as 7d, or by a time such as 2026-12-31',
      futureTime,
    )
    .option('--in-doubt', 'only registrations for which it is open whether their caller received the key')
    .option('--limit <n>', 'maximum number of registrations to print', pageSize, 100)
    .option('--after <id>', 'print the page that follows this registration')
    .option('--json', 'print JSON')
    .action((options: ListOptions) => withStore((store) => list(store, options)))

  registrations
    .command('show')
    .description('show one registration')
    .argument('<id>', 'registration id (reg_…), or id or name of its key')
    .option('--json', 'print JSON')
    .action((id: string, options: { json?: true }) => withStore((store) => show(store, id, options)))

  addStatsCommand(registrations)
  addSuspendCommands(registrations)
  addRevokeCommand(registrations)
  addRotateCommand(registrations)
  addRecoverCommand(registrations)
}

const FORM: ListForm<Look> = {
  heading: ['ID', 'STATUS', 'KEY', 'PLAN', 'CREATED', 'EXPIRES', 'NAME'],
  row: ({ registration, current, status, doubt, unfinished }) => [
    registration.id,
    [...new Set([status, ...(doubt === null ? [] : ['in doubt']), ...unfinished.map(noteOf)])].join(', '),
    current.apiKeyId ?? '-',
    current.plan,
    showTime(registration.createdAt),
    showTime(current.expiresAt),
    registration.name,
  ],
  json: registrationJson,
}

async function list(store: Store, options: ListOptions): Promise<void> {
  const { status, token: tokenId, plan, limit, json } = options
  const now = systemClock()
  const after = options.after === undefined ? undefined : await loadRegistration(store, options.after)
  const expiringBy = options.expiring?.(now)
  const inDoubtBy = options.inDoubt ? now - defaultTiming.inDoubtAfter : undefined
  const filter = { status, tokenId, plan, expiringBy, inDoubtBy }
  const federationOf = federations(store)
  const pages = inPages<Look>(limit, async (last, most) => {
    const page = await store.listWithKeys({ ...filter, after: last?.registration ?? after, limit: most }, now)
    return Promise.all(page.map(({ registration }) => look(store, registration, now, federationOf)))
  })
  const { count, last } = await printList(pages, FORM, json === true)
  if (count === 0) await requireKnown(store, { token: tokenId, plan })
  if (json) return
  if (count === 0) note('No registrations match.')
  if (last !== undefined && count === limit)
    note(`There may be more registrations: add --after ${last.registration.id}`)
}

async function show(store: Store, id: string, { json }: { json?: true }): Promise<void> {
  const view = await look(store, await loadRegistration(store, id), systemClock(), federations(store))
  if (json) return printJson(registrationJson(view))
  const { federation, registration: one, current, overlapping, status, doubt, unfinished } = view
  write(
    formatRecord([
      ['id', one.id],
      ['status', one.status === 'failed' ? `failed, ${one.failure}` : status],
      ['name', one.name],
      ['description', one.description || '-'],
      ['plan', `${current.plan} (${current.usagePlanId})`],
      ['key id', current.apiKeyId ?? '-'],
      ['token', one.tokenId],
      ...(federation === null
        ? []
        : [
            ['issuer', federation.issuer] as const,
            ['rule', federation.rule] as const,
            ['identity', showClaims(federation.identity)] as const,
          ]),
      ['suspended', suspensionOf(current)],
      ['created', showTime(one.createdAt)],
      ['rotated', current === one ? 'never' : showTime(current.createdAt)],
      [
        'overlapping key',
        overlapping === null ? '-' : `${overlapping.apiKeyId} until ${showTime(overlapping.endsAt)}`,
      ],
      ['ended', current.status === 'active' ? 'never' : showTime(current.endedAt)],
      ['response sent', showTime(one.answeredAt)],
      ['delivered', one.deliveredAt === null ? 'not recorded' : showTime(one.deliveredAt)],
      ...(doubt === null ? [] : [['in doubt', describeDoubt(doubt)] as const]),
      ['expires', showTime(current.expiresAt)],
      ['replayable', view.replayable ? 'yes' : 'no'],
      ...unfinished.map((part) => ['unfinished', describePart(part)] as const),
    ]),
  )
}

/** The federated identity that registered, as the audit trail has it; `null`: the token is an ordinary one. */
function identityOf(federation: Federation | null): object | null {
  if (federation === null) return null
  const { issuer, rule, identity: claims } = federation
  return { issuer, rule, claims }
}

function suspensionOf({ suspendedAt, switchAt }: Registration): string {
  const since = suspendedAt === null ? 'no' : `since ${showTime(suspendedAt)}`
  return switchAt === null ? since : `${since}; AWS does not have it yet, next attempt ${showTime(switchAt)}`
}

interface Look extends RegistrationView {
  /** A retry of the request gets the credential of the registration. */
  readonly replayable: boolean
  readonly unfinished: readonly Registration[]
  readonly doubt: Doubt | null
  /** The federated identity that registered; `null`: the token is an ordinary one. */
  readonly federation: Federation | null
}

/** Reads the identity of a token from the store, once for each token. */
function federations(store: Store): (tokenId: string) => Promise<Federation | null> {
  const known = new Map<string, Promise<Federation | null>>()
  return (tokenId) => {
    const found = known.get(tokenId) ?? store.getToken(tokenId).then((token) => token?.federation ?? null)
    known.set(tokenId, found)
    return found
  }
}

async function look(
  store: Store,
  registration: Registration,
  now: number,
  federationOf: (tokenId: string) => Promise<Federation | null>,
): Promise<Look> {
  const view = await viewRegistration(store, registration, now)
  const unfinished = await listUnfinished(store, registration)
  const doubt = readDoubt(view.current, now)
  const federation = await federationOf(registration.tokenId)
  return { ...view, unfinished, doubt, federation, replayable: canBeReplayed(registration, now) }
}

function canBeReplayed(one: Registration, now: number): boolean {
  if (!isRemembered(one, now - defaultTiming.idempotency)) return false
  return isReplayable(one, now) || recoveryActionOf(one, now) === 'adopt'
}

function noteOf({ status }: Registration): string {
  if (status === 'pending') return 'pending'
  return status === 'ending' ? 'key not deleted yet' : 'response not sent yet'
}

function describePart(part: Registration): string {
  const key = part.apiKeyId === null ? '' : ` (${part.apiKeyId})`
  const failure = part.failure === null ? '' : `; ${part.failure}, next attempt ${showTime(part.endsAt)}`
  return `${part.id}: ${noteOf(part)}${key}${failure}`
}

/** The JSON of a registration, without secrets and their hashes. */
function registrationJson({
  registration: one,
  current,
  overlapping,
  status,
  expiresSoon,
  unfinished,
  doubt,
  federation,
  replayable,
}: Look): object {
  return {
    id: one.id,
    status,
    failure: one.failure,
    unfinished: unfinished.map((part) => ({
      id: part.id,
      status: part.status,
      api_key_id: part.apiKeyId,
      failure: part.failure,
      ends_at: isoTime(part.endsAt),
    })),
    name: one.name,
    description: one.description,
    plan: current.plan,
    usage_plan_id: current.usagePlanId,
    api_key_id: current.apiKeyId,
    suspended_at: isoTime(current.suspendedAt),
    token_id: one.tokenId,
    identity: identityOf(federation),
    created_at: isoTime(one.createdAt),
    rotated_at: current === one ? null : isoTime(current.createdAt),
    overlapping:
      overlapping === null
        ? null
        : { api_key_id: overlapping.apiKeyId, ends_at: isoTime(overlapping.endsAt) },
    ended_at: isoTime(current.status === 'active' ? null : current.endedAt),
    answered_at: isoTime(one.answeredAt),
    delivered_at: isoTime(one.deliveredAt),
    in_doubt: doubt === null ? null : doubtJson(current.id, doubt),
    expires_at: isoTime(current.expiresAt),
    expires_soon: expiresSoon,
    replayable,
  }
}
