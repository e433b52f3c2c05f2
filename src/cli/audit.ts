import type { Command } from 'commander'
import type { AuditIdentity, RecordedEntry } from '../store/audit.ts'
import type { Store } from '../store/store.ts'
import { pageSize, pastTime } from './arguments.ts'
import { isoTime, showTime } from './format.ts'
import { cut, showClaims } from './identities.ts'
import { requireKnown } from './known-names.ts'
import { findRegistration, unknownRegistration } from './load-registration.ts'
import { inPages, type ListForm, note, printList } from './output.ts'
import { withStore } from './with-store.ts'

interface AuditOptions {
  readonly since?: number
  readonly registration?: string
  readonly token?: string
  readonly limit: number
  readonly after?: string
  readonly json?: true
}

/** Adds `firstkey audit`. */
export function addAuditCommand(program: Command): void {
  program
    .command('audit')
    .description(
      'list audit entries, newest first: registrations, rejected requests, rotations, deleted keys, tokens, commands',
    )
    .option(
      '--since <time>',
      'only entries since this time: an age such as 7d, or a time such as 2026-11-24 or 2026-11-24T12:00',
      pastTime,
    )
    .option(
      '--registration <id>',
      'only entries about this registration: its id (reg_…), or the id or name of a key',
    )
    .option('--token <id>', 'only entries about this token')
    .option('--limit <n>', 'maximum number of entries to print', pageSize, 100)
    .option('--after <entry>', 'print the page that follows this entry')
    .option('--json', 'print JSON')
    .action((options: AuditOptions) => withStore((store) => show(store, options)))
}

const FORM: ListForm<RecordedEntry> = {
  heading: ['TIME', 'ACTOR', 'ACTION', 'SUBJECT', 'KEY', 'ADDRESS', 'REQUEST', 'IDENTITY', 'DETAIL'],
  row: ({ at, actor, action, registrationId, tokenId, apiKeyId, detail }) => [
    showTime(at),
    actor.id === null ? actor.kind : `${actor.kind} ${actor.id}`,
    action,
    registrationId ?? tokenId ?? '-',
    apiKeyId ?? '-',
    actor.clientAddress ?? '-',
    actor.requestId ?? '-',
    actor.identity === null ? '-' : cut(describeIdentity(actor.identity)),
    detail ?? '',
  ],
  json: entryJson,
}

/** Describes an identity in a line: the rule or the issuer, and the claims. */
function describeIdentity({ issuer, rule, claims }: AuditIdentity): string {
  const by = rule === null ? `no rule, ${issuer ?? 'no issuer'}` : `rule ${rule}`
  return Object.keys(claims).length === 0 ? by : `${by}: ${showClaims(claims)}`
}

async function show(store: Store, options: AuditOptions): Promise<void> {
  const { since, registration, token: tokenId, after, limit, json } = options
  const about = registration === undefined ? undefined : await findRegistration(store, registration)
  const filter = { since, registrationId: about?.id ?? registration, tokenId }
  const pages = inPages<RecordedEntry>(limit, (last, most) =>
    store.listAudit({ ...filter, after: last?.id ?? after, limit: most }),
  )
  const { count, last } = await printList(pages, FORM, json === true)
  if (count === 0) {
    await requireKnown(store, { token: tokenId })
    if (registration !== undefined && about === undefined) throw unknownRegistration(registration)
    if (!json) note('No audit entries match.')
  }
  if (!json && last !== undefined && count === limit)
    note(`There may be more entries: add --after ${last.id}`)
}

function entryJson({ actor, ...entry }: RecordedEntry): object {
  return {
    id: entry.id,
    at: isoTime(entry.at),
    actor: { type: actor.kind, id: actor.id },
    action: entry.action,
    detail: entry.detail,
    token_id: entry.tokenId,
    registration_id: entry.registrationId,
    api_key_id: entry.apiKeyId,
    request_id: actor.requestId,
    client_address: actor.clientAddress,
    identity: actor.identity,
  }
}
