#!/usr/bin/env node
import { Command } from 'commander'
import pkg from '../../package.json' with { type: 'json' }
import { redact } from '../log.ts'
import { addAuditCommand } from './audit.ts'
import { addReconcileCommand } from './reconcile.ts'
import { addRegistrationCommands } from './registrations.ts'
import { addStoreCommands } from './store.ts'
import { addTokenCommands } from './tokens.ts'

const program = new Command('firstkey')
  .description(
    'Operator commands for firstkey. They work on the store that STORE names, even while a server is running.',
  )
  .version(pkg.version)
  .showHelpAfterError('(add --help to see the options)')
  // Usage errors quote their argument, which may be a secret. Commands that are added later inherit this.
  .configureOutput({ writeErr: (text) => void process.stderr.write(redact(text)) })
addTokenCommands(program)
addRegistrationCommands(program)
addReconcileCommand(program)
addAuditCommand(program)
addStoreCommands(program)

try {
  await program.parseAsync()
} catch (error) {
  // The message may quote a secret that was pasted in place of an id.
  process.stderr.write(`firstkey: ${redact(error instanceof Error ? error.message : String(error))}\n`)
  process.exitCode = 1
}
