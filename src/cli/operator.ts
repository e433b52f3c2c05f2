import { userInfo } from 'node:os'
import { systemClock } from '../clock.ts'
import { redact } from '../log.ts'
import type { Actor } from '../store/audit.ts'
import type { Store } from '../store/store.ts'

/** What of a command line goes into the audit trail at most. */
const LONGEST_COMMAND = 1_000

/** Who runs this command: the user of the operating system, and before sudo. */
export function operator(): Actor {
  return {
    kind: 'operator',
    id: process.env['SUDO_USER'] ?? userName(),
    requestId: null,
    clientAddress: null,
  }
}

/** Records this command. What cannot be recorded is not done. @throws ServiceError `store_unavailable` */
export async function recordCommand(store: Store, actor: Actor): Promise<void> {
  const detail = redact(process.argv.slice(2).join(' ')).slice(0, LONGEST_COMMAND)
  const entry = { at: systemClock(), actor, detail, tokenId: null, registrationId: null, apiKeyId: null }
  await store.appendAudit([{ ...entry, action: 'command.run' }])
}

function userName(): string {
  try {
    return userInfo().username
  } catch {
    // A container may run as a number that has no name.
    return `uid ${process.getuid?.() ?? 'unknown'}`
  }
}
