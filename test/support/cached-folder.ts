import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const cache = join(import.meta.dirname, '../../.cache')

/**
 * Returns the folder `.cache/<name>`, filled by `install`; a later call with the same `content` finds it filled.
 * @param content all that the result of `install` depends on, such as the text of a lock file
 */
export async function cachedFolder(
  name: string,
  content: string,
  install: (folder: string) => Promise<unknown>,
): Promise<string> {
  const folder = join(cache, name)
  const stamp = join(folder, 'installed')
  // A virtual environment of Python contains its own path.
  const hash = createHash('sha256').update(`${folder}\n${content}`).digest('hex')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return folder
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  await install(folder)
  writeFileSync(stamp, hash)
  return folder
}
