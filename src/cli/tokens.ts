import { type Command, InvalidArgumentError, Option } from 'commander'
import { issueBootstrapToken } from '../auth/bootstrap-token.ts'
import { readVisibleText } from '../auth/visible-text.ts'
import { systemClock } from '../clock.ts'
import { PLAN_NAME, readPlanNames } from '../config.ts'
import { formatDuration } from '../duration.ts'
import { containsSecret } from '../log.ts'
import { tokensWithoutPlan } from '../registration/queries/tokens-without-plan.ts'
import { missingPlans, tokenStatus } from '../registration/token-policy.ts'
import type { Actor } from '../store/audit.ts'
import { type BootstrapToken, type Federation, mostUses } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { duration, type FutureTime, futureTime } from './arguments.ts'
import { endDryRun } from './dry-run.ts'
import { formatRecord, isoTime, showTime } from './format.ts'
import { cut, federationJson, showClaims } from './identities.ts'
import { requireOffered, unknownToken } from './known-names.ts'
import { hasRule } from './known-rules.ts'
import { type ListForm, note, print, printJson, printList, write } from './output.ts'
import { previewRevocation, revokeKeys } from './revoke.ts'
import { withDeps } from './with-deps.ts'
import { withStore } from './with-store.ts'

interface CreateOptions {
  readonly label: string
  readonly plan: string[]
  readonly maxUses?: number
  readonly expires?: FutureTime
  readonly keyTtl?: number
  readonly namePrefix: string
  readonly rate?: number
  readonly json?: true
}

interface OutputOptions {
  readonly json?: true
}

interface ListOptions extends OutputOptions {
  readonly identities?: true
  readonly rule?: string
}

interface RevokeOptions extends OutputOptions {
  readonly withKeys?: true
  readonly yes?: true
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
        'a plan that the token allows, one of USAGE_PLANS; repeatable, the first is its default',
      )
        .argParser(collectPlan)
        .default([], "the service's default plan"),
    )
    .option('--max-uses <n>', 'how many registrations the token allows (default: unlimited)', count)
    .option(
      '--expires <time>',
      'the end of its validity: a duration such as 7d or 1y, or a time such as 2026-12-31 (default: unlimited)',
      futureTime,
    )
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
    .action((options: CreateOptions) => {
      checkPlans(options.plan)
      return withStore((store, actor) => create(store, actor, options), { create: true })
    })

  tokens
    .command('list')
    .description('list all tokens, and the identities that registered without one, newest first')
    .option('--identities', 'only identities, which an issuer of TRUST_FILE vouches for')
    .option('--rule <id>', 'only identities that this rule of TRUST_FILE let in')
    .option('--json', 'print JSON')
    .action((options: ListOptions) => withStore((store) => list(store, options)))

  tokens
    .command('show')
    .description('show one token, or one identity')
    .argument('<id>', 'token id, tok_…')
    .option('--json', 'print JSON')
    .action((id: string, options: OutputOptions) =>
      withStore(async (store) => printToken(requireToken(id, await store.getToken(id)), options)),
    )

  tokens
    .command('revoke')
    .description(
      'revoke a token or an identity, at once; its keys keep working unless --with-keys is given, which is a dry run unless --yes',
    )
    .argument('<id>', 'token id, tok_…')
    .option('--with-keys', 'also revoke all registrations created with it, and delete their keys')
    .option('--yes', 'with --with-keys: revoke them instead of listing them')
    .option('--json', 'print JSON')
    .action((id: string, options: RevokeOptions) => revoke(id, options))
}

function revoke(id: string, { withKeys, yes, ...options }: RevokeOptions): Promise<void> {
  const revokeToken = async (store: Store, actor: Actor) => {
    const { revokedAt } = requireToken(id, await store.getToken(id))
    if (revokedAt !== null) note(`${id} was already revoked at ${showTime(revokedAt)}.`)
    const token = requireToken(id, await store.revokeToken(id, actor, systemClock()))
    printToken(token, options)
    if (token.federation !== null)
      note(`Rule ${token.federation.rule} refuses this identity from now on, with any token of its issuer.`)
  }
  if (!withKeys) return withStore(revokeToken)
  if (!yes)
    return withStore(async (store) => {
      const { revokedAt } = requireToken(id, await store.getToken(id))
      if (revokedAt === null) note(`${id} would be revoked.`)
      else note(`${id} was already revoked at ${showTime(revokedAt)}.`)
      const { revocable } = await previewRevocation(store, { token: id })
      note(`Registrations that would be revoked, and their keys deleted: ${revocable}.`)
      endDryRun(['tokens', 'revoke', id, '--with-keys'])
    })
  return withDeps(async (deps, actor) => {
    await revokeToken(deps.store, actor)
    await revokeKeys(deps, actor, { token: id })
  })
}

/** Checks the plans of a new token, where this deployment's plans are known. @throws Error that names them */
function checkPlans(plans: readonly string[]): void {
  const unchecked = plans.filter((plan) => !requireOffered(plan))
  if (unchecked.length > 0)
    note(`USAGE_PLANS is not set here, so it was not checked that the service has: ${unchecked.join(', ')}`)
}

async function create(store: Store, actor: Actor, options: CreateOptions): Promise<void> {
  const now = systemClock()
  const { token, secret } = await issueBootstrapToken(
    store,
    {
      label: options.label,
      plans: options.plan,
      maxUses: options.maxUses ?? null,
      expiresAt: options.expires?.(now) ?? null,
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
  process.stderr.write(`${describeToken(token, now)}\n`)
  note('The secret is shown only once:')
  print(secret)
}

async function list(store: Store, { json, identities, rule }: ListOptions): Promise<void> {
  const [now, offered] = [systemClock(), readPlanNames(process.env)]
  const all = await store.listTokens()
  const selected = all.filter(({ federation }) => {
    if (rule !== undefined) return federation?.rule === rule
    return !identities || federation !== null
  })
  const [ordinary, virtual] = [
    selected.filter(({ federation }) => federation === null),
    selected.filter(({ federation }) => federation !== null),
  ]
  if (json) await printList([selected], tokenForm(now, offered), true)
  else {
    await printList([ordinary], tokenForm(now, offered), false)
    if (ordinary.length > 0 && virtual.length > 0) print('')
    await printList([virtual], identityForm(now, offered), false)
    if (selected.length === 0) note(noneOf(rule, identities === true))
  }
  for (const { id, plans } of offered === undefined ? [] : tokensWithoutPlan(selected, offered, now))
    note(`${id} is usable, but USAGE_PLANS has no ${plans.join(', ')}: registrations on it are refused.`)
}

function noneOf(rule: string | undefined, identities: boolean): string {
  if (rule !== undefined) return `No identity has registered by the rule ${rule}.`
  if (identities) return 'No identity has registered.'
  return 'There are no tokens. Create one: firstkey tokens create --label …'
}

function tokenForm(now: number, offered: readonly string[] | undefined): ListForm<BootstrapToken> {
  return {
    heading: ['ID', 'STATUS', 'USES', 'EXPIRES', 'PLANS', 'LABEL'],
    row: (token) => [
      token.id,
      tokenStatus(token, now),
      uses(token),
      showTime(token.expiresAt),
      plans(token, offered),
      token.label,
    ],
    json: (token) => tokenJson(token, now),
  }
}

/** The table of the tokens that stand for an identity: of these the uses are the keys that live now. */
function identityForm(now: number, offered: readonly string[] | undefined): ListForm<BootstrapToken> {
  return {
    heading: ['ID', 'STATUS', 'LIVE', 'PLANS', 'RULE', 'ISSUER', 'IDENTITY'],
    row: (token) => [
      token.id,
      tokenStatus(token, now),
      uses(token),
      plans(token, offered),
      token.federation === null ? '-' : ruleOf(token.federation),
      token.federation?.issuer ?? '-',
      cut(showClaims(token.federation?.identity ?? {})),
    ],
    json: (token) => tokenJson(token, now),
  }
}

/** The rule of an identity, marked if the trust file does not have it any more, so that the identity cannot register by it. */
function ruleOf(federation: Federation): string {
  return hasRule(federation) === false ? `${federation.rule} (gone)` : federation.rule
}

function printToken(token: BootstrapToken, { json }: OutputOptions): void {
  const now = systemClock()
  if (json) printJson(tokenJson(token, now))
  else write(describeToken(token, now))
}

function requireToken(id: string, token: BootstrapToken | undefined): BootstrapToken {
  if (token === undefined) throw unknownToken(id)
  return token
}

function describeToken(token: BootstrapToken, now: number): string {
  const { federation, namePrefix } = token
  type Line = readonly [name: string, value: string]
  const ofIdentity = (lines: (federation: Federation) => readonly Line[]) =>
    federation === null ? [] : lines(federation)
  const name = federation?.nameIsExact ? 'name' : 'name prefix'
  return formatRecord([
    ['id', token.id],
    ['label', token.label],
    ...ofIdentity((federation) => [
      ['issuer', federation.issuer],
      ['rule', ruleOf(federation)],
      ['identity', showClaims(federation.identity)],
    ]),
    ['status', tokenStatus(token, now)],
    ['plans', plans(token, readPlanNames(process.env))],
    [federation === null ? 'uses' : 'live keys', uses(token)],
    ['created', showTime(token.createdAt)],
    ['expires', showTime(token.expiresAt)],
    ['revoked', showTime(token.revokedAt)],
    ['key ttl', token.keyTtlMs === null ? 'unlimited' : formatDuration(token.keyTtlMs)],
    [name, namePrefix === '' ? 'none' : namePrefix],
    ['rate', token.ratePerMinute === null ? 'unlimited' : `${token.ratePerMinute} a minute`],
    ...ofIdentity(({ onRepeat, overlapMs }) => [
      ['on repeat', onRepeat === 'rotate' ? `rotate, overlap ${formatDuration(overlapMs)}` : onRepeat],
    ]),
  ])
}

/** The JSON of a token, without its secret and the hash of it. */
function tokenJson(token: BootstrapToken, now: number): object {
  return {
    id: token.id,
    label: token.label,
    status: tokenStatus(token, now),
    plans: token.plans,
    unknown_plans: unknownPlans(token),
    max_uses: token.maxUses,
    uses: token.uses,
    created_at: isoTime(token.createdAt),
    expires_at: isoTime(token.expiresAt),
    revoked_at: isoTime(token.revokedAt),
    key_ttl_seconds: token.keyTtlMs === null ? null : token.keyTtlMs / 1_000,
    name_prefix: token.namePrefix,
    rate_per_minute: token.ratePerMinute,
    identity: token.federation === null ? null : federationJson(token.federation, token.uses),
  }
}

/** The plans of a token, those that this service does not have marked. @param offered `undefined`: not known here */
function plans({ plans }: BootstrapToken, offered: readonly string[] | undefined): string {
  const mark = (plan: string) => (offered?.includes(plan) === false ? `${plan} (unknown)` : plan)
  return plans.map(mark).join(',') || '(default)'
}

/** @returns `null`: the plans of the service are not known here */
function unknownPlans(token: BootstrapToken): string[] | null {
  const offered = readPlanNames(process.env)
  return offered === undefined ? null : missingPlans(token, offered)
}

const uses = (token: BootstrapToken) => `${token.uses}/${mostUses(token) ?? 'unlimited'}`

function label(text: string): string {
  if (containsSecret(text))
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
