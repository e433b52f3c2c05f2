import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Writes a token into a projected volume as the kubelet does: `token` is a link into `..data`, a link to the folder of the newest
 * version, which is replaced by one rename. Call it again to rotate the token.
 * @param dir the folder where the volume is mounted
 */
export function projectToken(dir: string, token: string): void {
  const folder = `..${randomUUID()}`
  mkdirSync(join(dir, folder), { recursive: true })
  writeFileSync(join(dir, folder, 'token'), token)
  symlinkSync(folder, join(dir, '..data_tmp'))
  renameSync(join(dir, '..data_tmp'), join(dir, '..data'))
  if (!existsSync(join(dir, 'token'))) symlinkSync('..data/token', join(dir, 'token'))
}
