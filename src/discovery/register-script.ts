import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const SOURCE = readFileSync(join(import.meta.dirname, '../client/register.mjs'), 'utf8')
const PLACE = "const SERVICE_URL = ''"

/** Returns the registration script (`src/client/register.mjs`) with the URL of this service in it. */
export function registerScript(publicUrl: string): string {
  if (!SOURCE.includes(PLACE)) throw new Error('register.mjs has no placeholder for the URL of the service')
  return SOURCE.replace(PLACE, () => `const SERVICE_URL = ${JSON.stringify(publicUrl)}`)
}
