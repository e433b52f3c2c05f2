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

/** Adds `firstkey audit`. */
export function addAuditCommand(program: Command): void {
  program
    .command('audit')
    .description(
      'list audit entries, newest first: registrations, rejected requests, rotations, deleted keys, tokens, commands',
    )
    .option(
      '--since <time>',
      'only entries since this time: an age such as 7d, or a date such as 2026-11-24',
      pastTime,
    )
    .option('--registration <id>', 'only entries about this registration')
    .option('--token <id>', 'only entries about this token')
    .option('--limit <n>', 'maximum number of entries to print', pageSize, 100)
    .option('--after <entry>', 'print the page that follows this entry')
    .option('--json', 'print JSON')
    .action((options: AuditOptions) => withStore((store) => show(store, options)))
}

async function show(store: Store, options: AuditOptions): Promise<void> {
  const { since, registration: registrationId, token: tokenId, after, limit, json } = options
  const entries = await store.listAudit({ since, registrationId, tokenId, after, limit })
  if (json) return printJson(entries.map(entryJson))
  if (entries.length === 0) {
    process.stderr.write('No audit entries match.\n')
    return
  }
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
  const heading = ['TIME', 'ACTOR', 'ACTION', 'SUBJECT', 'KEY', 'ADDRESS', 'REQUEST', 'DETAIL']
  process.stdout.write(formatTable(heading, rows))
  const last = entries.at(-1)
  if (last !== undefined && entries.length === limit)
    process.stderr.write(`There may be more entries: add --after ${last.id}\n`)
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
