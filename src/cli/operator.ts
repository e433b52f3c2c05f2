import { userInfo } from 'node:os'
import { systemClock } from '../clock.ts'
import { redact } from '../log.ts'
import type { Actor } from '../store/audit.ts'
import type { Store } from '../store/store.ts'

/** The most characters of a command line that the audit trail keeps. */
const LONGEST_COMMAND = 1_000

/** Returns the operator as an actor: the operating system's user, or the user who ran sudo. */
export function operator(): Actor {
  return {
    kind: 'operator',
    id: process.env['SUDO_USER'] ?? userName(),
    requestId: null,
    clientAddress: null,
  }
}

/** Records this command in the audit trail. If that fails, the command must not run. @throws ServiceError `store_unavailable` */
export async function recordCommand(store: Store, actor: Actor): Promise<void> {
  const detail = redact(process.argv.slice(2).join(' ')).slice(0, LONGEST_COMMAND)
  const entry = { at: systemClock(), actor, detail, tokenId: null, registrationId: null, apiKeyId: null }
  await store.appendAudit([{ ...entry, action: 'command.run' }])
}

function userName(): string {
  try {
    return userInfo().username
  } catch {
    // In a container the user id may have no name.
    return `uid ${process.getuid?.() ?? 'unknown'}`
  }
}
