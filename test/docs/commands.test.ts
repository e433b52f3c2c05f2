import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Command } from 'commander'
import { addAuditCommand } from '../../src/cli/audit.ts'
import { addDoctorCommand } from '../../src/cli/doctor.ts'
import { addPoolCommand } from '../../src/cli/pool.ts'
import { addReconcileCommand } from '../../src/cli/reconcile.ts'
import { addRegistrationCommands } from '../../src/cli/registrations.ts'
import { addSetupCommand } from '../../src/cli/setup.ts'
import { addSmokeCommand } from '../../src/cli/smoke.ts'
import { addStoreCommands } from '../../src/cli/store.ts'
import { addTokenCommands } from '../../src/cli/tokens.ts'
import { addTrustCommands } from '../../src/cli/trust.ts'

const root = join(import.meta.dirname, '../..')

/** The documents that name commands as they are; the changelog also names what they were. */
const documents = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md'].concat(
  readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
)

/** Every operator's command that a document names, such as `registrations list`, with the options that it gives. */
function namedCommands(): Map<string, Set<string>> {
  const commands = new Map<string, Set<string>>()
  for (const file of documents) {
    const text = readFileSync(join(root, file), 'utf8')
    const pattern =
      /firstkey (?:-- )?((?:tokens|registrations|store|trust) [a-z]+|audit|pool|reconcile|smoke|doctor|setup)\b([^`\n#|,;]*)/g
    for (const [, command = '', rest = ''] of text.matchAll(pattern)) {
      const options = commands.get(command) ?? new Set()
      for (const [option] of rest.matchAll(/--[a-z-]+/g)) options.add(option)
      commands.set(command, options)
    }
  }
  return commands
}

test('the operator commands that the documents name exist, with their options', () => {
  const program = new Command()
  for (const add of [
    addTokenCommands,
    addTrustCommands,
    addDoctorCommand,
    addRegistrationCommands,
    addReconcileCommand,
    addPoolCommand,
    addAuditCommand,
    addSetupCommand,
    addSmokeCommand,
    addStoreCommands,
  ])
    add(program)
  const named = namedCommands()
  assert.ok(named.size > 10)
  for (const [command, options] of named) {
    let found: Command | undefined = program
    for (const name of command.split(' ')) found = found?.commands.find((one) => one.name() === name)
    assert.ok(found, `there is no command: firstkey ${command}`)
    const known = found.options.map(({ long }) => long)
    for (const option of options) assert.ok(known.includes(option), `firstkey ${command} has no ${option}`)
  }
})
