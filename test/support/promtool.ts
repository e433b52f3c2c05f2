import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'

const unpacked = join(import.meta.dirname, '../../.cache/prometheus')
const promtool = [unpacked, ...(process.env['PATH'] ?? '').split(':')]
  .map((folder) => join(folder, 'promtool'))
  .find((file) => {
    try {
      accessSync(file, constants.X_OK)
      return true
    } catch {
      return false
    }
  })

/** The options of a test that needs promtool: it is skipped without it, but not in CI. */
export const needsPromtool =
  promtool === undefined && process.env['CI'] === undefined
    ? { skip: 'promtool is not installed (.ci/prometheus does this)' }
    : {}

/** Runs promtool. Returns its exit code and its output. */
export async function runPromtool(
  args: readonly string[],
  stdin = '',
): Promise<{ code: number | null; output: string }> {
  const child = spawn(promtool ?? 'promtool', args, { stdio: 'pipe' })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output += chunk
    })
  child.stdin.end(stdin)
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  return { code, output }
}
