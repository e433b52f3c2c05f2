import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const TYPES = {
  'code.js': 'text/javascript; charset=utf-8',
  'copy.js': 'text/javascript; charset=utf-8',
  'error-messages.js': 'text/javascript; charset=utf-8',
  'form.js': 'text/javascript; charset=utf-8',
  'icon.svg': 'image/svg+xml',
  'key.js': 'text/javascript; charset=utf-8',
  'manage.js': 'text/javascript; charset=utf-8',
  'register.js': 'text/javascript; charset=utf-8',
  'request.js': 'text/javascript; charset=utf-8',
  'sign-in.js': 'text/javascript; charset=utf-8',
  'style.css': 'text/css; charset=utf-8',
} as const

/** The files that the pages load, by their names below `/assets/`. They are served as they are in the repository. */
export const assets: ReadonlyMap<string, { readonly type: string; readonly content: Buffer }> = new Map(
  Object.entries(TYPES).map(([name, type]) => [
    name,
    { type, content: readFileSync(join(import.meta.dirname, 'assets', name)) },
  ]),
)
