import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { refusesAttacks } from '../support/identity/attack-cases.ts'

refusesAttacks('SQLite', async () => ({
  env: {},
  dump: async (dataDir) =>
    readdirSync(dataDir)
      .map((file) => readFileSync(join(dataDir, file), 'latin1'))
      .join('\n'),
}))
