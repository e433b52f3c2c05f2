#!/usr/bin/env node
import { Command } from 'commander'
import pkg from '../../package.json' with { type: 'json' }
import { redact } from '../log.ts'
import { addAuditCommand } from './audit.ts'
import { addDoctorCommand } from './doctor.ts'
import { isPrintable, printable } from './format.ts'
import { note, watchOutput } from './output.ts'
import { addPoolCommand } from './pool.ts'
import { addReconcileCommand } from './reconcile.ts'
import { addRegistrationCommands } from './registrations.ts'
import { addSetupCommand } from './setup.ts'
import { addSmokeCommand } from './smoke.ts'
import { addStoreCommands } from './store.ts'
import { addTokenCommands } from './tokens.ts'
import { addTrustCommands } from './trust.ts'

watchOutput()
const program = new Command('firstkey')
  .description(
    'Operator commands for firstkey. They work on the store that STORE names, even while a server is running; setup and ' +
      'doctor need no store.',
  )
  .version(pkg.version)
  .showHelpAfterError('(add --help to see the options)')
  .addHelpText('afterAll', ({ command }) =>
    // They print no times, and have exit codes of their own.
    command.name() === 'doctor' || command.name() === 'setup'
      ? ''
      : '\nTimes are ISO 8601, UTC unless they have an offset, and are printed in UTC.' +
        '\nExit codes: 0 done, or a dry run; 1 not done, or wrong usage; 130 stopped by Ctrl-C.',
  )
  // Usage errors quote their argument, which may be a secret. Commands that are added later inherit this.
  .configureOutput({ writeErr: (text) => void process.stderr.write(redact(text)) })
addTokenCommands(program)
addTrustCommands(program)
addRegistrationCommands(program)
addReconcileCommand(program)
addPoolCommand(program)
addAuditCommand(program)
addStoreCommands(program)
addSmokeCommand(program)
addDoctorCommand(program)
addSetupCommand(program)

try {
  requirePrintable(process.argv.slice(2))
  await program.parseAsync()
} catch (error) {
  // The message may quote a secret that was pasted in place of an id.
  const message = redact(error instanceof Error ? error.message : String(error))
  for (const line of `firstkey: ${message}`.split('\n')) note(line)
  process.exitCode = 1
}

/** Checks the arguments once for all commands, whose messages and audit entries quote them. @throws Error */
function requirePrintable(words: readonly string[]): void {
  for (const [i, word] of words.entries()) {
    const at = [...word].findIndex((character) => !isPrintable(character))
    if (at === -1) continue
    const place = i === 0 ? 'the first argument' : `the argument after "${words[i - 1]}"`
    const code = [...word][at]?.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')
    throw new Error(
      `${place} must have only printable characters: it is "${printable(word)}"; character ${at + 1} is U+${code}`,
    )
  }
}
