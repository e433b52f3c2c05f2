import { type Command, InvalidArgumentError, Option } from 'commander'
import { issueBootstrapToken } from '../auth/bootstrap-token.ts'
import { systemClock } from '../clock.ts'
import { PLAN_NAME } from '../config.ts'
import { redact } from '../log.ts'
import { readVisibleText } from '../registration/visible-text.ts'
import type { Actor } from '../store/audit.ts'
import type { BootstrapToken } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { duration } from './arguments.ts'
import { formatDuration } from './duration.ts'
import { formatRecord, formatTable, isoTime, printJson, showTime } from './format.ts'
import { revokeKeys } from './revoke.ts'
import { withDeps } from './with-deps.ts'
import { withStore } from './with-store.ts'

interface CreateOptions {
  readonly label: string
  readonly plan: string[]
  readonly maxUses?: number
  readonly expires?: number
  readonly keyTtl?: number
  readonly namePrefix: string
  readonly rate?: number
  readonly json?: true
}

interface OutputOptions {
  readonly json?: true
}

/** Adds `firstkey tokens create|list|show|revoke`. */
export function addTokenCommands(program: Command): void {
  const tokens = program
    .command('tokens')
    .description('manage bootstrap tokens, which callers need to register')

  tokens
    .command('create')
    .description('create a token; its secret is printed once, and is the only output on stdout')
    .requiredOption('--label <text>', 'a label by which you recognize the token', label)
    .addOption(
      new Option(
        '--plan <name>',
        'a plan that the token allows (not checked against USAGE_PLANS); repeatable, the first is its default',
      )
        .argParser(collectPlan)
        .default([], "the service's default plan"),
    )
    .option('--max-uses <n>', 'how many registrations the token allows (default: unlimited)', count)
    .option('--expires <duration>', 'how long the token is valid, such as 7d (default: unlimited)', duration)
    .option(
      '--key-ttl <duration>',
      'how long each of its keys is valid, such as 30d (default: unlimited)',
      duration,
    )
    .addOption(
      new Option('--name-prefix <text>', 'a prefix that the names of its registrations must have')
        .argParser(namePrefix)
        .default('', 'none'),
    )
    .option('--rate <n>', 'how many requests a minute the token allows (default: unlimited)', count)
    .option('--json', 'print JSON, including the secret')
    .action((options: CreateOptions) =>
      withStore((store, actor) => create(store, actor, options), { create: true }),
    )

  tokens
    .command('list')
    .description('list all tokens, newest first')
    .option('--json', 'print JSON')
    .action((options: OutputOptions) => withStore((store) => list(store, options)))

  tokens
    .command('show')
    .description('show one token')
    .argument('<id>', 'token id, tok_…')
    .option('--json', 'print JSON')
    .action((id: string, options: OutputOptions) =>
      withStore(async (store) => print(requireToken(id, await store.getToken(id)), options)),
    )

  tokens
    .command('revoke')
    .description('revoke a token; its keys keep working unless --with-keys is given')
    .argument('<id>', 'token id, tok_…')
    .option('--with-keys', 'also revoke all registrations created with it, and delete their keys')
    .option('--json', 'print JSON')
    .action(async (id: string, { withKeys, ...options }: OutputOptions & { withKeys?: true }) => {
      const revoke = async (store: Store, actor: Actor) =>
        print(requireToken(id, await store.revokeToken(id, actor, systemClock())), options)
      if (!withKeys) return withStore(revoke)
      return withDeps(async (deps, actor) => {
        await revoke(deps.store, actor)
        await revokeKeys(deps, actor, { token: id })
      })
    })
}

async function create(store: Store, actor: Actor, options: CreateOptions): Promise<void> {
  const now = systemClock()
  const { token, secret } = await issueBootstrapToken(
    store,
    {
      label: options.label,
      plans: options.plan,
      maxUses: options.maxUses ?? null,
      expiresAt: options.expires === undefined ? null : now + options.expires,
      keyTtlMs: options.keyTtl ?? null,
      namePrefix: options.namePrefix,
      ratePerMinute: options.rate ?? null,
    },
    actor,
    now,
  )
  if (options.json) {
    printJson({ ...tokenJson(token, now), secret })
    return
  }
  process.stderr.write(`${describeToken(token, now)}\nThe secret is shown only once:\n`)
  process.stdout.write(`${secret}\n`)
}

async function list(store: Store, { json }: OutputOptions): Promise<void> {
  const now = systemClock()
  const tokens = await store.listTokens()
  if (json) {
    printJson(tokens.map((token) => tokenJson(token, now)))
  } else if (tokens.length === 0) {
    process.stderr.write('There are no tokens. Create one: firstkey tokens create --label …\n')
  } else {
    const rows = tokens.map((token) => [
      token.id,
      status(token, now),
      uses(token),
      showTime(token.expiresAt),
      plans(token),
      token.label,
    ])
    process.stdout.write(formatTable(['ID', 'STATUS', 'USES', 'EXPIRES', 'PLANS', 'LABEL'], rows))
  }
}

function print(token: BootstrapToken, { json }: OutputOptions): void {
  const now = systemClock()
  if (json) printJson(tokenJson(token, now))
  else process.stdout.write(describeToken(token, now))
}

function requireToken(id: string, token: BootstrapToken | undefined): BootstrapToken {
  if (token === undefined)
    throw new Error(`there is no token ${id} in this store: firstkey tokens list lists all`)
  return token
}

function describeToken(token: BootstrapToken, now: number): string {
  return formatRecord([
    ['id', token.id],
    ['label', token.label],
    ['status', status(token, now)],
    ['plans', plans(token)],
    ['uses', uses(token)],
    ['created', showTime(token.createdAt)],
    ['expires', showTime(token.expiresAt)],
    ['revoked', showTime(token.revokedAt)],
    ['key ttl', token.keyTtlMs === null ? 'unlimited' : formatDuration(token.keyTtlMs)],
    ['name prefix', token.namePrefix === '' ? 'none' : token.namePrefix],
    ['rate', token.ratePerMinute === null ? 'unlimited' : `${token.ratePerMinute} a minute`],
  ])
}

/** The JSON of a token, without its secret and the hash of it. */
function tokenJson(token: BootstrapToken, now: number): object {
  return {
    id: token.id,
    label: token.label,
    status: status(token, now),
    plans: token.plans,
    max_uses: token.maxUses,
    uses: token.uses,
    created_at: isoTime(token.createdAt),
    expires_at: isoTime(token.expiresAt),
    revoked_at: isoTime(token.revokedAt),
    key_ttl_seconds: token.keyTtlMs === null ? null : token.keyTtlMs / 1_000,
    name_prefix: token.namePrefix,
    rate_per_minute: token.ratePerMinute,
  }
}

function status(token: BootstrapToken, now: number): 'revoked' | 'expired' | 'exhausted' | 'usable' {
  if (token.revokedAt !== null) return 'revoked'
  if (token.expiresAt !== null && token.expiresAt <= now) return 'expired'
  return token.maxUses !== null && token.uses >= token.maxUses ? 'exhausted' : 'usable'
}

const plans = (token: BootstrapToken) => token.plans.join(',') || '(default)'
const uses = (token: BootstrapToken) => `${token.uses}/${token.maxUses ?? 'unlimited'}`

function label(text: string): string {
  if (redact(text) !== text)
    throw new InvalidArgumentError('It looks like a secret, and labels are stored in plain text.')
  if (text === '') throw new InvalidArgumentError('Expected 1 to 100 printable characters.')
  return visibleText(text, 'printable characters')
}

function namePrefix(text: string): string {
  // A prefix may end with a space, a whole name may not.
  const name = text.replace(/(?<=.) $/su, '')
  return visibleText(name, 'the beginning of a name') + text.slice(name.length)
}

/** Reads an argument of at most 100 characters. @throws InvalidArgumentError with the rule that it breaks */
function visibleText(text: string, expected: string): string {
  const result = readVisibleText(text, 100)
  if ('text' in result) return result.text
  throw new InvalidArgumentError(`Expected ${expected}: it ${result.fault}.`)
}

function collectPlan(name: string, previous: string[]): string[] {
  if (!PLAN_NAME.test(name)) throw new InvalidArgumentError('Expected a plan name, as in USAGE_PLANS.')
  return [...previous, name]
}

function count(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('Expected a whole number from 1 to 999999999.')
}
