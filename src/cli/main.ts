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
  .description("The operator's commands. They use the store that STORE names, also beside a running server.")
  .version(pkg.version)
  .showHelpAfterError('(add --help for the options)')
addTokenCommands(program)
addRegistrationCommands(program)
addReconcileCommand(program)
addAuditCommand(program)
addStoreCommands(program)

try {
  await program.parseAsync()
} catch (error) {
  // Somebody may have pasted a secret where an id belongs.
  process.stderr.write(`firstkey: ${redact(error instanceof Error ? error.message : String(error))}\n`)
  process.exitCode = 1
}
