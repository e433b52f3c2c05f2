import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { type Service, tempDir } from './service.ts'

export interface Run {
  readonly child: ChildProcess
  /** All output so far. */
  readonly output: { stdout: string; stderr: string }
  /** Resolves when the output contains a match, in stderr or stdout; rejects when the script ends without one. */
  seen(pattern: RegExp): Promise<RegExpMatchArray>
  /** Resolves at the end of the script. */
  ended(): Promise<{ code: number | null; stdout: string; stderr: string }>
}

export interface StartOptions {
  /** How the program is called, in place of `node ../register.mjs`. */
  readonly command?: readonly [string, ...string[]]
  /** Sent as the standard input, which then ends. Without it there is none, except with `pipe`, which stays open. */
  readonly input?: string | 'pipe'
}

/**
 * Fetches the script from the service, as a user does, and runs it in an empty folder.
 * @param edit changes the script
 */
export async function fetchScript(
  t: TestContext,
  service: Pick<Service, 'url'>,
  edit: (script: string) => string = (script) => script,
) {
  const dir = join(tempDir(t), 'work')
  mkdirSync(dir)
  const response = await fetch(`${service.url}/register.mjs`)
  if (!response.headers.get('content-type')?.startsWith('text/javascript'))
    throw new Error(`no script: ${response.status}`)
  writeFileSync(join(dir, '../register.mjs'), edit(await response.text()))

  const start = (
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
    { command = [process.execPath, '../register.mjs'], input }: StartOptions = {},
  ): Run => {
    const [program, ...rest] = command
    const child = spawn(program, [...rest, ...args], {
      cwd: dir,
      env: { PATH: process.env['PATH'], FIRSTKEY_URL: service.url, ...env },
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    })
    t.after(() => child.kill('SIGKILL'))
    if (input !== undefined && input !== 'pipe') child.stdin?.end(input)
    const output = { stdout: '', stderr: '' }
    const watchers = new Set<() => void>()
    for (const name of ['stdout', 'stderr'] as const)
      child[name]?.on('data', (chunk) => {
        output[name] += chunk
        for (const look of watchers) look()
      })
    const closed = new Promise<void>((resolve) => child.on('close', () => resolve()))
    return {
      child,
      output,
      seen(pattern) {
        const match = () => output.stderr.match(pattern) ?? output.stdout.match(pattern)
        return new Promise((resolve, reject) => {
          const look = () => {
            const found = match()
            if (found !== null) resolve(found)
          }
          watchers.add(look)
          look()
          void closed.then(() =>
            reject(new Error(`ended without ${pattern}:\n${output.stdout}${output.stderr}`)),
          )
        })
      },
      async ended() {
        await closed
        return { code: child.exitCode, ...output }
      },
    }
  }
  /** Runs the script to its end. */
  const run = (...args: Parameters<typeof start>) => start(...args).ended()
  /** The names of the files in which it keeps the keys of open requests. */
  const kept = () => readdirSync(dir).filter((name) => name.startsWith('.firstkey-'))
  return { dir, start, run, kept }
}
