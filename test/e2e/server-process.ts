import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

const root = join(import.meta.dirname, '../..')

export interface Program {
  readonly child: ChildProcess
  /** Everything written so far. */
  readonly output: { stdout: string; stderr: string }
  /** Resolves when stdout or stderr holds a match, rejects when the program ends without one. */
  seen(pattern: RegExp): Promise<RegExpMatchArray>
  /** The exit code, or the name of the signal that ended it. */
  ended(): Promise<number | string>
}

/** Runs one of the project's programs as a process of its own, with exactly this environment. Ends with the test. */
export function startProgram(
  t: TestContext,
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Program {
  const child = spawn(process.execPath, [join(root, program), ...args], {
    cwd: root,
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exit = once(child, 'close')
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => {
    output.stdout += chunk
  })
  child.stderr.on('data', (chunk) => {
    output.stderr += chunk
  })
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    // A program that it started may hold them open.
    child.stdout.destroy()
    child.stderr.destroy()
    await exit
  })
  return {
    child,
    output,
    async seen(pattern) {
      for (;;) {
        const match = `${output.stdout}\n${output.stderr}`.match(pattern)
        if (match !== null) return match
        const more = Promise.race([
          once(child.stdout, 'data'),
          once(child.stderr, 'data'),
          exit.then(() => 'ended'),
        ])
        if ((await more) === 'ended')
          throw new Error(`ended without ${pattern}:\n${output.stdout}${output.stderr}`)
      }
    },
    async ended() {
      const [code, signal] = await exit
      return code ?? signal
    },
  }
}

/** As {@link startServer}, with times that a test can wait for. */
export const FAST_SERVER = 'test/e2e/fast-server.ts'

/** The service as a process; resolves when it listens. */
export async function startServer(
  t: TestContext,
  env: Readonly<Record<string, string>>,
  main = 'src/start.js',
) {
  const program = startProgram(t, main, [], env)
  const [, url = ''] = await program.seen(/listening on (http:\/\/[\d.:]+)/)
  return { ...program, url }
}

/** Runs one of the operator's commands to its end. */
export async function runCli(t: TestContext, args: readonly string[], env: Readonly<Record<string, string>>) {
  const program = startProgram(t, 'src/cli/main.ts', args, env)
  const code = await program.ended()
  return { code, ...program.output }
}
