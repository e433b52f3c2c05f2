import { type Command, InvalidArgumentError, Option } from 'commander'
import { rotate } from '../registration/rotate.ts'
import { duration } from './arguments.ts'
import { formatRecord, isoTime, printJson, showTime } from './format.ts'
import { loadRegistration, requireKey } from './load-registration.ts'
import { withDeps } from './with-deps.ts'

interface RotateOptions {
  readonly overlap: number
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
      'create a new key for a registration and print it once; the current key is deleted after the overlap',
    )
    .argument('<id>', 'registration id (reg_…), or id or name of its key')
    .addOption(
      new Option(
        '--overlap <duration>',
        'how long the current key keeps working, at most 7d; 0: it ends at once, and is deleted by a running server ' +
          'within seconds',
      )
        .argParser(overlap)
        .default(HOUR_MS, '1h'),
    )
    .option('--management-token', 'also renew the management token')
    .option('--json', 'print JSON')
    .action((id: string, options: RotateOptions) => rotateKey(id, options))
}

function rotateKey(id: string, { overlap, managementToken, json }: RotateOptions): Promise<void> {
  return withDeps(async (deps, actor) => {
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
      return
    }
    process.stderr.write('The secrets are shown only once:\n')
    process.stdout.write(
      formatRecord([
        ['key id', apiKeyId],
        ['key value', apiKeyValue],
        ['expires', showTime(made.expiresAt)],
        ...(renewed === undefined ? [] : [['management token', renewed] as const]),
      ]),
    )
  })
}

function overlap(text: string): number {
  if (text === '0') return 0
  const ms = duration(text)
  if (ms > LONGEST_OVERLAP_MS) throw new InvalidArgumentError('Expected at most 7d.')
  return ms
}
