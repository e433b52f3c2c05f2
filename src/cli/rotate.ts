import { type Command, InvalidArgumentError, Option } from 'commander'
import { systemClock } from '../clock.ts'
import type { Deps } from '../deps.ts'
import { mayHaveKey } from '../registration/lifecycle.ts'
import { viewRegistration } from '../registration/queries/registration-view.ts'
import { rotate } from '../registration/rotate.ts'
import type { Registration } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { duration } from './arguments.ts'
import { areEnded, deleteKeysOf } from './delete-keys.ts'
import { endDryRun } from './dry-run.ts'
import { finishWork } from './finish-work.ts'
import { formatRecord, isoTime, showTime } from './format.ts'
import { loadRegistration, requireKey } from './load-registration.ts'
import { note, printJson, write } from './output.ts'
import { withDeps } from './with-deps.ts'
import { withStore } from './with-store.ts'

interface RotateOptions {
  readonly overlap: number
  readonly yes?: true
  readonly managementToken?: true
  readonly json?: true
}

const HOUR_MS = 3_600_000
const LONGEST_OVERLAP_MS = 7 * 24 * HOUR_MS

/** Adds `firstkey registrations rotate`. */
export function addRotateCommand(registrations: Command): void {
  registrations
    .command('rotate')
    .description(
      'create a new key for a registration and print it once; the current key works until the end of the overlap; ' +
        'without an overlap this is a dry run unless --yes',
    )
    .argument('<id>', 'registration id (reg_…), or id or name of its key')
    .addOption(
      new Option(
        '--overlap <duration>',
        'how long the current key keeps working, at most 7d; 0: it is deleted at once, which needs --yes',
      )
        .argParser(overlap)
        .default(HOUR_MS, '1h'),
    )
    .option('--yes', 'with --overlap 0: rotate instead of saying what would happen')
    .option('--management-token', 'also renew the management token')
    .option('--json', 'print JSON')
    .action((id: string, options: RotateOptions) =>
      options.overlap > 0 || options.yes
        ? rotateKey(id, options)
        : withStore((store) => preview(store, id, options)),
    )
}

async function preview(store: Store, id: string, { managementToken, json }: RotateOptions): Promise<void> {
  const registration = await loadRegistration(store, id)
  requireKey(registration)
  const { current, status } = await viewRegistration(store, registration, systemClock())
  if (status !== 'active')
    throw new Error(`${registration.id} is ${status}: only a registration that is active can be rotated`)
  note(`A new key would be created for ${registration.id}, and its key ${current.apiKeyId} deleted at once.`)
  const options = [...(managementToken ? ['--management-token'] : []), ...(json ? ['--json'] : [])]
  endDryRun(['registrations', 'rotate', id, '--overlap', '0', ...options])
}

function rotateKey(id: string, { overlap, managementToken, json }: RotateOptions): Promise<void> {
  return withDeps(async (deps, actor, isServerRunning) => {
    const registration = await loadRegistration(deps.store, id)
    requireKey(registration)
    const {
      apiKeyId,
      secrets,
      registration: made,
    } = await rotate(
      deps,
      { registration, secret: null },
      { overlapMs: overlap, renewsManagement: managementToken === true, idempotencyKey: undefined },
      { actor, timeoutMs: deps.config.registerTimeoutMs, readyBy: null, isGone: () => false, log: deps.log },
    )
    deps.deliveries.note(made.id) // The command prints it at once.
    const { apiKeyValue } = secrets
    const renewed = managementToken ? secrets.managementToken : undefined
    if (json) {
      printJson({
        registration_id: registration.id,
        api_key_id: apiKeyId,
        api_key_value: apiKeyValue,
        expires_at: isoTime(made.expiresAt),
        ...(renewed === undefined ? {} : { management_token: renewed }),
      })
    } else {
      note('The secrets are shown only once:')
      write(
        formatRecord([
          ['key id', apiKeyId],
          ['key value', apiKeyValue],
          ['expires', showTime(made.expiresAt)],
          ...(renewed === undefined ? [] : [['management token', renewed] as const]),
        ]),
      )
    }
    await endReplaced(deps, registration, isServerRunning)
  })
}

/** Deletes the replaced keys whose end has come, or waits until a running server has, and says when the others end. */
async function endReplaced(deps: Deps, { id }: Registration, isServerRunning: boolean): Promise<void> {
  const { store, clock } = deps
  const root = await store.getRegistration(id)
  const all = [...(root === undefined ? [] : [root]), ...(await store.listRotations(id))]
  const replaced = all.filter((one) => one.endReason === 'rotated' && mayHaveKey(one))
  const { due = [], later = [] } = Object.groupBy(replaced, ({ endsAt }) =>
    endsAt !== null && endsAt > clock() ? 'later' : 'due',
  )
  for (const { apiKeyId, endsAt } of later) {
    const who = isServerRunning
      ? 'the running server deletes it then'
      : 'no server runs now: a server deletes it then, or "firstkey registrations recover --yes"'
    note(`The key ${apiKeyId} works until ${showTime(endsAt)}; ${who}.`)
  }
  const { unfinished, interrupted } = await finishWork(deps, {
    items: due,
    name: 'keys',
    isDone: (one) => areEnded(store, [one.id]),
    onDone: ({ apiKeyId }) => note(`The key ${apiKeyId} is deleted.`),
    round: (left, leaderLease, stop) =>
      deleteKeysOf(
        deps,
        left.map((one) => one.id),
        leaderLease,
        stop,
      ),
  })
  if (unfinished.length === 0 || interrupted) return
  const open = unfinished.map(({ apiKeyId }) => apiKeyId).join(', ')
  throw new Error(
    `the new key works, but not deleted yet: ${open}; a server retries, or "firstkey registrations recover --yes"`,
  )
}

function overlap(text: string): number {
  if (text === '0') return 0
  const ms = duration(text)
  if (ms > LONGEST_OVERLAP_MS) throw new InvalidArgumentError('Expected at most 7d.')
  return ms
}
