import type { Command } from 'commander'
import type { RecordedEntry } from '../store/audit.ts'
import type { Store } from '../store/store.ts'
import { pageSize, pastTime } from './arguments.ts'
import { formatTable, isoTime, printJson, showTime } from './format.ts'
import { withStore } from './with-store.ts'

interface AuditOptions {
  readonly since?: number
  readonly registration?: string
  readonly token?: string
  readonly limit: number
  readonly after?: string
  readonly json?: true
}

/** `firstkey audit`. */
export function addAuditCommand(program: Command): void {
  program
    .command('audit')
    .description(
      'who did what, newest first: registrations, refusals, rotations, ends of keys, tokens, commands',
    )
    .option(
      '--since <time>',
      'no further back than this long, as in 7d, or this time, as in 2026-11-24',
      pastTime,
    )
    .option('--registration <id>', 'only what concerns this registration')
    .option('--token <id>', 'only what concerns this token')
    .option('--limit <n>', 'a page of at most so many', pageSize, 100)
    .option('--after <entry>', 'the next page: what comes after this entry')
    .option('--json', 'print JSON')
    .action((options: AuditOptions) => withStore((store) => show(store, options)))
}

async function show(store: Store, options: AuditOptions): Promise<void> {
  const { since, registration: registrationId, token: tokenId, after, limit, json } = options
  const entries = await store.listAudit({ since, registrationId, tokenId, after, limit })
  if (json) return printJson(entries.map(entryJson))
  if (entries.length === 0) process.stderr.write('There is nothing.\n')
  const rows = entries.map((entry) => [
    showTime(entry.at),
    entry.actor.id === null ? entry.actor.kind : `${entry.actor.kind} ${entry.actor.id}`,
    entry.action,
    entry.registrationId ?? entry.tokenId ?? '-',
    entry.apiKeyId ?? '-',
    entry.actor.clientAddress ?? '-',
    entry.actor.requestId ?? '-',
    entry.detail ?? '',
  ])
  const heading = ['TIME', 'ACTOR', 'ACTION', 'WHICH', 'KEY', 'ADDRESS', 'REQUEST', 'DETAIL']
  process.stdout.write(formatTable(heading, rows))
  const last = entries.at(-1)
  if (last !== undefined && entries.length === limit)
    process.stderr.write(`There may be more: add --after ${last.id}\n`)
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
  }
}
