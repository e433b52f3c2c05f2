import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const SOURCE = readFileSync(join(import.meta.dirname, '../client/register.mjs'), 'utf8')
const PLACE = "const SERVICE_URL = ''"

/** The script that registers (`src/client/register.mjs`), which knows where it was fetched from. */
export function registerScript(publicUrl: string): string {
  if (!SOURCE.includes(PLACE)) throw new Error('register.mjs has no place for the URL of the service')
  return SOURCE.replace(PLACE, () => `const SERVICE_URL = ${JSON.stringify(publicUrl)}`)
}
