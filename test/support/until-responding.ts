import type { ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Resolves at the first response of a server that was started as `child`.
 * @param server.name its name, for errors
 * @param server.isUp reports whether a response counts
 * @throws Error with its output if it ends before, or does not respond within `timeoutMs`
 */
export async function untilResponding(
  child: ChildProcess,
  url: string,
  {
    name,
    isUp,
    everyMs,
    timeoutMs,
  }: {
    name: string
    isUp: (response: Response) => boolean
    everyMs: number
    timeoutMs: number
  },
): Promise<void> {
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      printed += chunk
    })
  }
  const deadline = performance.now() + timeoutMs
  while (performance.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`${name} ended before it was ready:\n${printed}`)
    if (await fetch(url).then(isUp, () => false)) return
    await sleep(everyMs)
  }
  throw new Error(`${name} did not respond within ${timeoutMs} ms:\n${printed}`)
}
