import { userInfo } from 'node:os'
import { systemClock } from '../clock.ts'
import { redact } from '../log.ts'
import type { Actor } from '../store/audit.ts'
import type { Store } from '../store/store.ts'
import { printable } from './format.ts'
import { commandLine } from './shell-quoting.ts'

/** The most characters of a command line, and of a claimed user name, that the audit trail keeps. */
const LONGEST_COMMAND = 1_000
const LONGEST_CLAIM = 64

/**
 * Returns the operator as an actor: the operating system's user. `SUDO_USER`, which sudo sets and anyone can set, follows as
 * what it is: a claim of the environment.
 */
export function operator(): Actor {
  const user = userName()
  const claim = printable(process.env['SUDO_USER'] ?? '').slice(0, LONGEST_CLAIM)
  return {
    kind: 'operator',
    id: claim === '' || claim === user ? user : `${user} (SUDO_USER=${claim})`,
    requestId: null,
    clientAddress: null,
    identity: null,
  }
}

/** Records this command in the audit trail. If that fails, the command must not run. @throws ServiceError `store_unavailable` */
export async function recordCommand(store: Store, actor: Actor): Promise<void> {
  const detail = redact(commandLine(process.argv.slice(2))).slice(0, LONGEST_COMMAND)
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
