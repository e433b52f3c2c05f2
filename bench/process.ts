import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export const root = join(import.meta.dirname, '..')

export interface BenchProcess {
  readonly child: ChildProcess
  /** The first URL that the process printed. */
  readonly url: string
  stop(): Promise<void>
}

/** Starts a program of this project as a separate process. Resolves when it has printed its URL on stdout. */
export async function startProcess(
  script: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<BenchProcess> {
  const child = spawn(process.execPath, [join(root, script), ...args], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const url = await new Promise<string>((resolve, reject) => {
    let printed = ''
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      printed += chunk
      const found = printed.match(/https?:\/\/[\d.]+:\d+/)?.[0]
      if (found) resolve(found)
    })
    child.once('exit', (code) => reject(new Error(`${script} exited with ${code} before it was ready`)))
  })
  return {
    child,
    url,
    stop: () => stopProcess(child),
  }
}

export async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGTERM')
  await exit
}

/** Reads a process's resident memory, current or peak, in megabytes (10^6 bytes). Needs /proc (Linux). */
export function memoryMb({ pid }: ChildProcess, when: 'now' | 'peak'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const line = when === 'now' ? /^VmRSS:\s+(\d+) kB/m : /^VmHWM:\s+(\d+) kB/m
  return (Number(status.match(line)?.[1]) * 1_024) / 1e6
}
