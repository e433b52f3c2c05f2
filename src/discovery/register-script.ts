import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Identities } from './identities.ts'

const SOURCE = readFileSync(join(import.meta.dirname, '../client/register.mjs'), 'utf8')

/**
 * Returns the registration script (`src/client/register.mjs`) with the URL of this service in it, and the audience that it
 * wants. @param identities `null`: there is no such audience
 */
export function registerScript(publicUrl: string, identities: Identities | null): string {
  const script = fillIn(SOURCE, 'SERVICE_URL', publicUrl)
  return fillIn(script, 'AUDIENCE', identities?.audience ?? '')
}

function fillIn(source: string, name: string, value: string): string {
  const place = `const ${name} = ''`
  if (!source.includes(place)) throw new Error(`register.mjs has no placeholder for ${name}`)
  return source.replace(place, () => `const ${name} = ${JSON.stringify(value)}`)
}
