import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { allowOnlyServiceOf } from './service-policy.ts'

const root = join(import.meta.dirname, '../..')
/** Node.js keeps compiled code here: a command of the CLI starts in a third of the time. */
const compileCache = join(root, '.cache/compile')

export interface Program {
  readonly child: ChildProcess
  /** All output so far. */
  readonly output: { stdout: string; stderr: string }
  /** Resolves when stdout or stderr contains a match; rejects when the program ends without one. */
  seen(pattern: RegExp): Promise<RegExpMatchArray>
  /** Resolves at the end of the program, with its exit code or the name of the signal that ended it. */
  ended(): Promise<number | string>
}

/** Runs one of the project's programs with only this environment, `PATH` and no home, and kills it after the test. */
export function startProgram(
  t: TestContext,
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Program {
  const child = spawn(process.execPath, [join(root, program), ...args], {
    cwd: root,
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', NODE_COMPILE_CACHE: compileCache, ...env },
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
    // Otherwise a child process of the program could hold them open.
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

/** The `main` for {@link startServer} with short timings. */
export const FAST_SERVER = 'test/support/fast-server.ts'

/** Starts the service as a process, with what it may do on a gateway of this process. Resolves when it listens. */
export async function startServer(
  t: TestContext,
  env: Readonly<Record<string, string>>,
  main = 'src/start.js',
) {
  allowOnlyServiceOf(env)
  const program = startProgram(t, main, [], env)
  const [, url = ''] = await program.seen(/listening on (http:\/\/[\d.:]+)/)
  return { ...program, url }
}

/** Runs a command of the operator's CLI to its end. */
export async function runCli(t: TestContext, args: readonly string[], env: Readonly<Record<string, string>>) {
  const program = startProgram(t, 'src/cli/main.ts', args, env)
  const code = await program.ended()
  return { code, ...program.output }
}
