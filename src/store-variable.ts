import { homedir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'

/** The store as `STORE` names it. `path` is a file, relative to the folder of the process or absolute, or `:memory:`. */
export type NamedStore =
  | { readonly kind: 'sqlite'; readonly path: string }
  | { readonly kind: 'dynamodb'; readonly table: string }

const MEMORY = ':memory:'
/** The syntax of a DynamoDB table name. */
const TABLE_NAME = /^[A-Za-z0-9_.-]{3,255}$/

/** The variable `STORE`. */
export const storeVariable = z.string().transform((text, context): NamedStore => {
  const reject = (message: string) => {
    context.addIssue({ code: 'custom', message })
    return z.NEVER
  }
  if (/^["'`]|["'`]$/.test(text))
    return reject(
      'has quotes, which some files of variables keep: remove them, as in STORE=sqlite:/data/firstkey.db',
    )
  const [, kind, rest = ''] = text.match(/^(sqlite|dynamodb):(.+)$/s) ?? []
  const name = rest.trim()
  if (kind === 'dynamodb' && TABLE_NAME.test(name)) return { kind, table: name }
  if (kind !== 'sqlite' || name === '')
    return reject(
      'must be sqlite:PATH, for example sqlite:./data/firstkey.db, or dynamodb:TABLE, for example dynamodb:firstkey',
    )
  if (name === MEMORY) return { kind, path: MEMORY }
  const fault = pathFault(name)
  return fault === undefined ? { kind, path: name } : reject(fault)
})

/** Returns why a path is hardly the file that was meant, with the remedy: SQLite would create that file. */
function pathFault(path: string): string | undefined {
  if (/\p{Cc}/u.test(path)) return 'contains a control character in its path: remove it'
  if (/^["'`]|["'`]$/.test(path)) return 'has quotes around its path: remove them'
  if (path.startsWith('~')) {
    const instead = /^~(\/|$)/.test(path) ? join(homedir(), path.slice(1)) : '/home/NAME/firstkey.db'
    return `contains ~, which only a shell replaces: write the absolute path, as in sqlite:${instead}`
  }
  if (/\$[A-Za-z_{]/.test(path))
    return 'contains a variable ($…), which only a shell replaces: write the absolute path, as in sqlite:/data/firstkey.db'
  if (/^(\/\/|file:)/.test(path))
    return 'must be a path and no URL: write sqlite:/data/firstkey.db, or sqlite:./firstkey.db for a relative path'
  if (path.startsWith(':')) return `must be sqlite:PATH, or exactly sqlite:${MEMORY} for a store in memory`
  if (path.endsWith('/')) return `names a folder: write the file too, as in sqlite:${path}firstkey.db`
  return undefined
}
