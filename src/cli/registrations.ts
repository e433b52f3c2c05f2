import { type Command, InvalidArgumentError, Option } from 'commander'
import { systemClock } from '../clock.ts'
import { readConfig } from '../config.ts'
import { createDeps } from '../deps.ts'
import { createLogger } from '../log.ts'
import { type RecoveryAction, recover, recoveryAction } from '../registration/recover.ts'
import type { Registration, RegistrationStatus, Store } from '../store/store.ts'
import { formatRecord, formatTable, isoTime, printJson, showTime } from './format.ts'
import { withStore } from './with-store.ts'

interface ListOptions {
  readonly status?: RegistrationStatus
  readonly token?: string
  readonly limit: number
  readonly json?: true
}

interface ReconcileOptions {
  readonly yes?: true
  readonly json?: true
}

const MEANING: Record<RecoveryAction, string> = {
  adopt: 'its key is put on the plan and waits for the retry; without a key it is undone',
  undo: 'its key is deleted and the use given back',
  sweep: 'it failed; a key that came late is deleted',
}

/** `firstkey registrations list|show|reconcile`. */
export function addRegistrationCommands(program: Command): void {
  const registrations = program.command('registrations').description('who has which key')

  registrations
    .command('list')
    .description('registrations, newest first')
    .addOption(new Option('--status <status>', 'only these').choices(['pending', 'active', 'failed']))
    .option('--token <id>', 'only those made with this token')
    .option('--limit <n>', 'at most so many', limit, 100)
    .option('--json', 'print JSON')
    .action((options: ListOptions) => withStore((store) => list(store, options)))

  registrations
    .command('show')
    .description('one registration')
    .argument('<id>', 'reg_…')
    .option('--json', 'print JSON')
    .action((id: string, options: { json?: true }) => withStore((store) => show(store, id, options)))

  registrations
    .command('reconcile')
    .description('end what was left unfinished, as the server does by itself; a dry run unless --yes')
    .option('--yes', 'do it')
    .option('--json', 'print JSON')
    .action((options: ReconcileOptions) =>
      options.yes ? reconcile(options) : withStore((store) => preview(store, options)),
    )
}

async function list(store: Store, { status, token, limit, json }: ListOptions): Promise<void> {
  const found = await store.listRegistrations({ status, tokenId: token, limit })
  if (json) return printJson(found.map(registrationJson))
  if (found.length === 0) process.stderr.write('There are none.\n')
  const rows = found.map((one) => [
    one.id,
    one.status,
    one.apiKeyId ?? '-',
    one.plan,
    showTime(one.createdAt),
    showTime(one.expiresAt),
    one.name,
  ])
  process.stdout.write(formatTable(['ID', 'STATUS', 'KEY', 'PLAN', 'CREATED', 'EXPIRES', 'NAME'], rows))
}

async function show(store: Store, id: string, { json }: { json?: true }): Promise<void> {
  const one = await store.getRegistration(id)
  if (one === undefined) throw new Error(`there is no registration ${id} in this store`)
  if (json) return printJson(registrationJson(one))
  process.stdout.write(
    formatRecord([
      ['id', one.id],
      ['status', one.failure === null ? one.status : `${one.status} (${one.failure})`],
      ['name', one.name],
      ['description', one.description || '-'],
      ['plan', `${one.plan} (${one.usagePlanId})`],
      ['key id', one.apiKeyId ?? '-'],
      ['token', one.tokenId],
      ['created', showTime(one.createdAt)],
      ['ended', showTime(one.endedAt)],
      ['answered', showTime(one.answeredAt)],
      ['expires', showTime(one.expiresAt)],
      ['can be replayed', one.idempotency === null ? 'no' : 'yes'],
    ]),
  )
}

async function preview(store: Store, { json }: ReconcileOptions): Promise<void> {
  const open = await store.listRecoverable(systemClock(), 1_000)
  report(
    open.map((registration) => ({ registration, action: recoveryAction(registration), done: false })),
    json,
  )
  if (open.length > 0)
    process.stderr.write('Nothing was changed. To do it: firstkey registrations reconcile --yes\n')
}

async function reconcile({ json }: ReconcileOptions): Promise<void> {
  const config = readConfig(process.env)
  const deps = createDeps(config, createLogger('warn', process.stderr))
  try {
    const results = await recover(deps)
    report(results, json)
    if (results.some(({ done }) => !done))
      throw new Error('not everything could be done; the reasons are above')
  } finally {
    await deps.close()
  }
}

function report(
  results: readonly { registration: Registration; action: RecoveryAction; done: boolean }[],
  json: true | undefined,
): void {
  if (json) {
    printJson(results.map(({ registration, action, done }) => ({ id: registration.id, action, done })))
    return
  }
  if (results.length === 0) process.stderr.write('There is nothing to reconcile.\n')
  for (const { registration, action, done } of results) {
    process.stdout.write(`${registration.id}  ${action}${done ? ' (done)' : ''}: ${MEANING[action]}\n`)
  }
}

/** A registration for programs: no secret, and no hash of one. */
function registrationJson(one: Registration): object {
  return {
    id: one.id,
    status: one.status,
    failure: one.failure,
    name: one.name,
    description: one.description,
    plan: one.plan,
    usage_plan_id: one.usagePlanId,
    api_key_id: one.apiKeyId,
    token_id: one.tokenId,
    created_at: isoTime(one.createdAt),
    ended_at: isoTime(one.endedAt),
    answered_at: isoTime(one.answeredAt),
    expires_at: isoTime(one.expiresAt),
    replayable: one.idempotency !== null,
  }
}

function limit(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('A whole number from 1 to 999999.')
}
